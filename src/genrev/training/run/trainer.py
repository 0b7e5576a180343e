"""The Lightning trainer of a run."""

import logging
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Timer, TQDMProgressBar

from genrev.errors import GenrevError
from genrev.training.config import RunConfig
from genrev.training.reports.drift import DriftMonitor
from genrev.training.reports.measurements import Measurements, MetricsCsv
from genrev.training.reports.tensorboard import EventFile, SampleImages
from genrev.training.run.checkpoints import CheckpointCallback, CheckpointFiles
from genrev.training.steps.module import RevNetAverage


def build_trainer(
    config: RunConfig,
    stopper: CheckpointCallback,
    measuring: Sequence[Measurements],
    step: int,
    steps_per_epoch: float | None,
) -> pl.Trainer:
    """Trainer that goes on from ``step`` to the end, if there is its accelerator."""
    _quieten()
    options, folder, callbacks = config.trainer, stopper.folder, list[pl.Callback]()
    if config.optimizer.ema is not None:  # first, so that a checkpoint has this step's average
        callbacks.append(RevNetAverage(config.optimizer.ema))
    minutes = options.max_minutes
    callbacks.append(Timer(None if minutes is None else timedelta(minutes=minutes)))
    if options.progress:
        callbacks.append(StepBar(refresh_rate=5))
    measurements = [DriftMonitor(config.engine), *measuring]
    metrics = MetricsCsv(folder.metrics, options.log_every, measurements, step, steps_per_epoch)
    samples = SampleImages(options.sample_every, folder.samples)
    # The checkpoint comes last: all that belongs to a step is written by then.
    callbacks += [*measurements, metrics, samples, stopper]
    try:
        return pl.Trainer(
            max_steps=stopper.max_steps,
            max_epochs=-1,
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.nodes,
            # A learned prior, or the discriminator, takes no part in some steps.
            strategy="ddp_find_unused_parameters_true" if options.processes > 1 else "auto",
            precision="bf16-mixed" if config.engine.precision == "bf16" else "32-true",
            log_every_n_steps=options.log_every,
            logger=EventFile(folder.path),
            plugins=[CheckpointFiles()],
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=options.progress,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ModuleNotFoundError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise GenrevError(
            f"--trainer.accelerator {options.accelerator} with --trainer.devices {options.devices} "
            f"and --trainer.nodes {options.nodes} cannot be used here "
            f"({reason}); `--trainer.accelerator auto` takes what there is."
        ) from error


class StepBar(TQDMProgressBar):
    """Lightning's bar without epochs, which a run of steps does not have."""

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Say "training" where Lightning says "Epoch 0"."""
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description("training")


def _quieten() -> None:
    """Silence notes of the libraries that tell a user of genrev nothing to act on."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*number of training batches.*is smaller than the logging interval.*",
        ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
        ".*find_unused_parameters=True was specified.*",
    ):
        warnings.filterwarnings("ignore", message)
