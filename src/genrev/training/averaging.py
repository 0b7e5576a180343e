"""Exponential moving average of the RevNet's weights."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EMAWeightAveraging

from genrev.training.module import TrainingModule

__all__ = ["RevNetAverage"]


class RevNetAverage(EMAWeightAveraging):
    """Average over the steps that train the RevNet.

    Steps of the discriminator alone leave the RevNet as it is; counted, they would halve the
    number of updates that the average reaches back over.

    Args:
        decay: of the average at every step that counts.
    """

    def __init__(self, decay: float) -> None:
        # Buffers are indices here, of which there is no average.
        super().__init__(decay=decay, use_buffers=False)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add the weights to the average."""
        assert isinstance(pl_module, TrainingModule)
        if pl_module.trains_model(int(batch["step"])):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
