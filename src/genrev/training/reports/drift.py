"""The drift monitor: how far decode(encode(x)) is from x while the training runs.

With ``memory="reversible"`` the backward pass does not have the activations of the forward pass
but recovers them from the output, up to the error of the round trip. That error starts at a few
roundings and grows exponentially with the size of the weights; once it is large, gradients are
those of other images. Nothing else in a run shows it, so it is measured.
"""

import math
import warnings
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from genrev.errors import GenrevError
from genrev.evaluation import lacks_bfloat16, round_trip
from genrev.models import GenerativeModel
from genrev.models.inference import inference
from genrev.training.config import EngineOptions
from genrev.training.reports.measurements import Measurements
from genrev.training.steps.module import model_of

_IMAGES = 64  # of a batch and rank; a measurement then costs a small part of a step
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class DriftMonitor(Measurements):
    """Measure the round trip after every so many steps; past a threshold warn or keep activations.

    Logs ``drift/float32`` and ``drift/bfloat16``, the largest absolute error of a pixel over up to
    64 images of the step's batch on every rank, to the loggers and to ``metrics.csv``. An error
    that is not a finite number counts as infinite. What happens past the threshold depends on the
    error in the run's own precision alone, and where nothing is recomputed (``memory="stored"``)
    or nothing drifts (``exact``), nothing happens. Models that are not invertible are left alone.
    """

    def __init__(self, config: EngineOptions) -> None:
        super().__init__()
        self.config = config
        self.own = "bfloat16" if config.precision == "bf16" else "float32"
        # Not given to ``log``, which repeats a value until the next one: a resumed run does not
        # know it, and would write other rows than an uninterrupted one.
        self.measured: dict[str, float] = {}
        self._switched = False
        self._warned = False
        self._told = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Switch a resumed run that had been switched before."""
        model = model_of(pl_module)
        if self._switched:
            _keep_activations(model)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        self.measured = {}
        every, step, model = self.config.drift_every, trainer.global_step, model_of(pl_module)
        if every is None or step % every or not model.net.reversible:
            return
        for name in self._dtypes(pl_module):
            error = _largest_error(model, rest[1]["image"], _DTYPES[name])
            # All ranks see the same number, so they switch together.
            error = trainer.strategy.reduce(error, reduce_op="max")
            self.measured[f"drift/{name}"] = float(error)
        for logger in trainer.loggers:
            logger.log_metrics(self.measured, step)
        error_here = self.measured[f"drift/{self.own}"]
        if error_here > self.config.drift_threshold and _recomputes(model):
            self._act(pl_module, model, error_here, step)

    def state_dict(self) -> dict[str, bool]:
        """Whether activations are kept by now; a resumed run warns again."""
        return {"switched": self._switched}

    def load_state_dict(self, state: dict[str, bool]) -> None:
        self._switched = state["switched"]

    def _dtypes(self, pl_module: pl.LightningModule) -> list[str]:
        reason = lacks_bfloat16(pl_module.device)
        if reason is None:
            return list(_DTYPES)
        if not self._told:
            pl_module.print(f"drift/bfloat16 is not measured: {reason}.")
            self._told = True
        return ["float32"]

    def _act(
        self, pl_module: pl.LightningModule, model: GenerativeModel, error: float, step: int
    ) -> None:
        finding = (
            f"After step {step} decode(encode(x)) is off by up to {error:.1e} in {self.own}, more "
            f"than --engine.drift_threshold {self.config.drift_threshold:g}"
        )
        if self.config.on_drift == "stored":
            _keep_activations(model)
            self._switched = True
            pl_module.print(f"{finding}; from here on activations are kept (memory: stored).")
        elif not self._warned and pl_module.global_rank == 0:
            self._warned = True
            warnings.warn(
                f"{finding}, and gradients from recomputed activations with it; train with "
                "--engine.memory stored or --engine.exact true, or lower --optimizer.lr.",
                stacklevel=2,
            )


def _largest_error(model: GenerativeModel, images: Tensor, dtype: torch.dtype) -> Tensor:
    """Over at most 64 of the images, uint8 (n, C, H, W); a scalar, infinite where it is NaN."""
    # Batches are sorted by class: take images from all over.
    x = images[:: math.ceil(len(images) / _IMAGES)].float() / 255
    try:
        with inference(model):
            error = (round_trip(model, x, dtype) - x).abs().max()
    except GenrevError:  # exact=True refuses numbers past its range
        error = x.new_tensor(math.inf)
    return error.float().nan_to_num(nan=math.inf, posinf=math.inf)


def _recomputes(model: GenerativeModel) -> bool:
    engine = model.net.engine
    return engine.memory == "reversible" and not engine.exact


def _keep_activations(model: GenerativeModel) -> None:
    model.net.set_engine(model.net.engine.replace(memory="stored"))
