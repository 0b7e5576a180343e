"""The Lightning trainer of a run."""

import logging
import time
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Timer

from genrev.errors import GenrevError
from genrev.models.devices import choose_device
from genrev.progress import Bar
from genrev.training.config import RunConfig
from genrev.training.reports.drift import DriftMonitor
from genrev.training.reports.measurements import Measurements, MetricsCsv
from genrev.training.reports.tensorboard import EventFile, SampleImages
from genrev.training.run.checkpoints import CheckpointCallback, CheckpointFiles
from genrev.training.steps.module import RevNetAverage

_LOSSES_EVERY = 0.5  # seconds


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
        callbacks.append(StepBar())
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
            enable_progress_bar=False,  # it is among the callbacks
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ModuleNotFoundError, ValueError) as error:
        if options.accelerator in ("cuda", "mps"):  # --device has them; all commands say the same
            choose_device(options.accelerator)
        reason = " ".join(str(error).split()).rstrip(".")
        raise GenrevError(
            f"--trainer.accelerator {options.accelerator} with --trainer.devices {options.devices} "
            f"and --trainer.nodes {options.nodes} cannot be used here "
            f"({reason}); `--trainer.accelerator auto` takes what there is."
        ) from error


class StepBar(pl.Callback):
    """Steps done and to do, with the losses; Lightning's bar counts epochs, which there are not."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Bar | None = None
        self._next = 0.0  # when the losses are asked for again: a GPU has to be waited for

    def on_train_start(self, trainer: pl.Trainer, *rest: Any) -> None:
        """Begin at the step where the run goes on."""
        if trainer.is_global_zero:
            done = trainer.global_step
            self._bar = Bar("training", trainer.max_steps, "steps", done, delay=0, leave=True)

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        """Count on."""
        if self._bar is None:
            return
        if time.monotonic() >= self._next:
            self._bar.set_postfix(trainer.progress_bar_metrics, refresh=False)
            self._next = time.monotonic() + _LOSSES_EVERY
        self._bar.update(trainer.global_step - self._bar.n)

    def on_train_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, trainer: pl.Trainer, *rest: Any) -> None:
        """Leave the bar as it is."""
        self.on_train_end(trainer)


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
