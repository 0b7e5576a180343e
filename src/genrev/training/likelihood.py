"""Training by maximum likelihood: the LightningModule of NICE and Real NVP.

The loss is the mean number of bits per dimension that the model needs for dequantised images
(``genrev.objectives.likelihood``); there is nothing else in it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from genrev.models import GenerativeRevNet, log_density
from genrev.objectives import bits_per_dim
from genrev.training.config import LikelihoodConfig
from genrev.training.flows import dequantised
from genrev.training.module import TrainingModule
from genrev.training.schedule import rate_factor

__all__ = ["LikelihoodModule"]


class LikelihoodModule(TrainingModule[LikelihoodConfig]):
    """Loss, optimiser and schedule around a bijective ``GenerativeRevNet``.

    Args:
        model: what is trained; its prior has no parameters.
        config: rates.
        seed: of the dequantisation.
        max_steps: length of the run, for the schedule.
        gradient_clip: largest gradient norm; ``None`` does not clip.
    """

    model: GenerativeRevNet

    def __init__(
        self,
        model: GenerativeRevNet,
        config: LikelihoodConfig,
        seed: int,
        max_steps: int,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(model, config, seed, gradient_clip)
        self.max_steps = max_steps

    def configure_optimizers(self) -> Optimizer:
        """Adam for the network."""
        return Adam(self.model.parameters(), self.config.lr, self.config.betas)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Set the learning rate of this step."""
        del batch_idx
        factor = rate_factor(self.config.schedule, int(batch["step"]), self.max_steps)
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        for group in optimizer.param_groups:
            group["lr"] = factor * self.config.lr

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Bits per dimension of this batch, once dequantised."""
        del batch_idx
        step = int(batch["step"])
        ranks = self.trainer.world_size
        x = dequantised(batch["image"], self.seed, step, self.global_rank, ranks)  # (n, C, H, W)
        density = log_density(self.model, x)  # (n,)
        # A sum over all dimensions needs float32, whatever f and g run in.
        with torch.autocast(self.device.type, enabled=False):
            loss = bits_per_dim(density.float(), x[0].numel()).mean()
        self.require_finite(loss, "loss", step)
        self.report({"loss": loss})
        return loss
