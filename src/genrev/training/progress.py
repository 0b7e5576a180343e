"""The progress bar: steps, rate and losses."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar

__all__ = ["StepBar"]


class StepBar(TQDMProgressBar):
    """Lightning's bar without epochs, which a run of steps does not have."""

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Say "training" where Lightning says "Epoch 0"."""
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description("training")

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Losses only: there is one version of a run."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics
