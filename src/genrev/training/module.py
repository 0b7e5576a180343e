"""What the LightningModules of all methods share."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from genrev.errors import GenrevError
from genrev.models import GenerativeModule
from genrev.training.config import ModelConfig

__all__ = ["TrainingModule"]

Config = TypeVar("Config", bound=ModelConfig)


class TrainingModule(pl.LightningModule, Generic[Config]):
    """A ``GenerativeModule`` in training.

    All noise comes from generators seeded by (seed, step) and is drawn for the global batch, of
    which every rank uses its share: one and two ranks then train on the same numbers.

    Args:
        model: what is trained.
        config: weights and rates.
        seed: of all noise.
        gradient_clip: largest gradient norm of the network and its prior; ``None`` does not clip.
    """

    def __init__(
        self, model: GenerativeModule, config: Config, seed: int, gradient_clip: float | None
    ) -> None:
        super().__init__()
        self.model = model
        self.config: Config = config
        self.seed = seed
        self.gradient_clip = gradient_clip
        self._reported: dict[str, Tensor] = {}

    def trains_model(self, step: int) -> bool:
        """Whether a step trains the model, and not something that is trained along with it."""
        del step
        return True

    def weighted_sum(self, parts: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        """The loss of these parts."""
        loss = sum(weights[name] * value for name, value in parts.items())
        assert isinstance(loss, Tensor)
        return loss

    def gather(self, tensor: Tensor) -> Tensor:
        """The rows of all ranks, rank by rank; (n, ...) to (ranks * n, ...).

        Losses that couple points need all of them on every rank. The gather hands each rank's
        gradient back; with DDP's mean it is that of one process.
        """
        if self.trainer.world_size == 1:
            return tensor
        gathered = self.all_gather(tensor, sync_grads=tensor.is_floating_point())
        assert isinstance(gathered, Tensor)  # (ranks, n, ...)
        return gathered.flatten(0, 1)

    def require_finite(self, value: Tensor, name: str, step: int) -> None:
        """Stop the training on all ranks where one has a number that is not finite."""
        bad = not bool(torch.isfinite(value).all())
        if self.trainer.world_size > 1:  # a rank that stopped alone would leave the others waiting
            bad = self.trainer.strategy.reduce_boolean_decision(bad, all=False)
        if bad:
            raise GenrevError(
                f"The {name} stopped being finite at step {step}, so training stopped; start again "
                "in another folder with a lower --model.lr or with --trainer.gradient_clip."
            )

    def report(self, values: dict[str, Tensor], *, off_bar: Sequence[str] = ()) -> None:
        """Log scalars, as means over the ranks; what a step has no value of keeps its last one.

        The last ones go into the checkpoint: a resumed run logs what an uninterrupted one does.

        Args:
            values: scalar tensors by name.
            off_bar: names of those for which the progress bar has no room.
        """
        fresh = torch.stack([value.detach().float() for value in values.values()])
        if self.trainer.world_size > 1:
            fresh = self.trainer.strategy.reduce(fresh, reduce_op="mean")
        self._reported |= dict(zip(values, fresh.unbind(), strict=True))
        # After a checkpoint, old values may lie on another device.
        for name, value in self._reported.items():
            self.log(name, value.to(self.device), prog_bar=name not in off_bar)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip here and not by the trainer, which refuses to under manual optimisation."""
        del gradient_clip_val, gradient_clip_algorithm
        self.clip_gradients(optimizer, self.gradient_clip, "norm")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was logged last."""
        checkpoint["reported"] = self._reported

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore it."""
        self._reported = checkpoint["reported"]
