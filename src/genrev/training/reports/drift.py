"""The drift monitor: how far decode(encode(x)) is from x while the training runs.

With ``memory="reversible"`` the backward pass recovers activations from the output, up to an error
that grows exponentially with the size of the weights; once it is large, gradients are those of
other images. Nothing else in a run shows it.
"""

import math
import warnings

import lightning.pytorch as pl
import torch
from torch import Tensor

from genrev.errors import GenrevError
from genrev.evaluation import lacks_bfloat16, round_trip
from genrev.models import GenerativeModel
from genrev.models.conditions import contexts_of
from genrev.models.inference import inference
from genrev.training.config import EngineOptions
from genrev.training.reports.measurements import Measured, Measurements
from genrev.training.steps.module import model_of

_IMAGES = 64  # of a batch and rank; a measurement then costs a small part of a step
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class DriftMonitor(Measurements):
    """Measure the round trip after every so many steps; past a threshold warn or keep activations.

    Logs ``drift/float32`` and ``drift/bfloat16``, the largest absolute error of a pixel over up to
    64 images of the step's batch on every rank; infinite where it is not finite. The threshold is
    for the run's own precision, and where nothing is recomputed (``memory="stored"``) or nothing
    drifts (``exact``), nothing happens. Models that are not invertible are left alone.
    """

    def __init__(self, config: EngineOptions) -> None:
        super().__init__(config.drift_every)
        self.config = config
        self.own = "bfloat16" if config.precision == "bf16" else "float32"
        self._switched = self._warned = self._told = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Switch a resumed run that had been switched before."""
        if self._switched:
            _keep_activations(model_of(pl_module))

    def state_dict(self) -> dict[str, bool]:
        """Whether activations are kept by now; a resumed run warns again."""
        return {"switched": self._switched}

    def load_state_dict(self, state: dict[str, bool]) -> None:
        self._switched = state["switched"]

    def measure(
        self, trainer: pl.Trainer, model: GenerativeModel, images: Tensor, labels: Tensor
    ) -> Measured:
        if not model.net.reversible:
            return {}
        if (lacking := lacks_bfloat16(images.device)) and not self._told:
            trainer.lightning_module.print(f"drift/bfloat16 is not measured: {lacking}.")
            self._told = True
        measured = {}
        for name in ("float32",) if lacking else _DTYPES:
            error = _largest_error(model, images, _DTYPES[name], labels)
            # All ranks see the same number, so they switch together.
            measured[f"drift/{name}"] = float(trainer.strategy.reduce(error, reduce_op="max"))
        return measured

    def after(self, trainer: pl.Trainer, model: GenerativeModel) -> None:
        error, engine = self.measured[f"drift/{self.own}"], model.net.engine
        if error <= self.config.drift_threshold or engine.memory == "stored" or engine.exact:
            return
        finding = (
            f"After step {trainer.global_step} decode(encode(x)) is off by up to {error:.1e} in "
            f"{self.own}, more than --engine.drift_threshold {self.config.drift_threshold:g}"
        )
        if self.config.on_drift == "stored":
            _keep_activations(model)
            self._switched = True
            told = f"{finding}; from here on activations are kept (memory: stored)."
            trainer.lightning_module.print(told)
        elif not self._warned and trainer.is_global_zero:
            self._warned = True
            warnings.warn(
                f"{finding}, and gradients from recomputed activations with it; train with "
                "--engine.memory stored or --engine.exact true, or lower --optimizer.lr.",
                stacklevel=2,
            )


def _largest_error(
    model: GenerativeModel, images: Tensor, dtype: torch.dtype, labels: Tensor | None = None
) -> Tensor:
    """Over at most 64 of the images, uint8 (n, C, H, W); a scalar, infinite where it is NaN."""
    # Batches are sorted by class: take images from all over.
    every = math.ceil(len(images) / _IMAGES)
    x = images[::every].float() / 255
    given = contexts_of(model, None if labels is None else labels[::every], len(x))
    try:
        with inference(model):
            error = (round_trip(model, x, dtype, *given) - x).abs().max()
    except GenrevError:  # exact=True refuses numbers past its range
        error = x.new_tensor(math.inf)
    return error.float().nan_to_num(nan=math.inf, posinf=math.inf)


def _keep_activations(model: GenerativeModel) -> None:
    model.net.set_engine(model.net.engine.replace(memory="stored"))
