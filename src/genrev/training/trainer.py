"""The Lightning trainer of a run."""

import logging
import os
import warnings
from collections.abc import Sequence
from datetime import timedelta

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Timer

from genrev.errors import GenrevError
from genrev.training.averaging import RevNetAverage
from genrev.training.checkpoint_files import CheckpointFiles
from genrev.training.checkpointing import CheckpointCallback
from genrev.training.config import EngineConfig, TrainerConfig
from genrev.training.drift import DriftMonitor
from genrev.training.event_file import EventFile
from genrev.training.metrics_csv import Measurements, MetricsCsv
from genrev.training.progress import StepBar
from genrev.training.run_folder import RunFolder
from genrev.training.sample_images import SampleImages

__all__ = ["build_trainer", "set_threads"]


def build_trainer(
    config: TrainerConfig,
    engine: EngineConfig,
    folder: RunFolder,
    stopper: CheckpointCallback,
    measuring: Sequence[Measurements],
    step: int,
    steps_per_epoch: float | None = None,
) -> pl.Trainer:
    """Trainer with callbacks and loggers; writes nothing yet.

    Args:
        config: length, device and reports.
        engine: when to measure drift, and what to do about it.
        folder: where reports and checkpoints go.
        stopper: the checkpoint callback.
        measuring: callbacks whose results go to ``metrics.csv``, as the drift monitor's do.
        step: the step that training starts or goes on from.
        steps_per_epoch: steps that see every image once; ``None`` if nobody knows.

    Raises:
        GenrevError: an accelerator that does not exist or is not in this machine.
    """
    _quieten()
    try:
        return pl.Trainer(
            max_steps=config.max_steps,
            max_epochs=-1,
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            # A learned prior, or the discriminator, takes no part in some steps.
            strategy="ddp_find_unused_parameters_true" if config.processes > 1 else "auto",
            precision=config.precision,
            log_every_n_steps=config.log_every,
            logger=EventFile(folder.path),
            plugins=[CheckpointFiles()],
            callbacks=_callbacks(config, engine, folder, stopper, measuring, step, steps_per_epoch),
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=config.progress,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ModuleNotFoundError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise GenrevError(
            f"--trainer.accelerator {config.accelerator} with --trainer.devices {config.devices} "
            f"and --trainer.nodes {config.nodes} cannot be used here "
            f"({reason}); `--trainer.accelerator auto` takes what there is."
        ) from error


def set_threads(config: TrainerConfig, threads: int) -> None:
    """CPU threads of this process and of the ranks that Lightning starts from it."""
    torch.set_num_threads(threads)
    if config.processes > 1:  # without it, Lightning divides all cores among the ranks
        os.environ["OMP_NUM_THREADS"] = str(threads)


def _callbacks(
    config: TrainerConfig,
    engine: EngineConfig,
    folder: RunFolder,
    stopper: CheckpointCallback,
    measuring: Sequence[Measurements],
    step: int,
    steps_per_epoch: float | None,
) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = []
    if config.ema is not None:  # first, so that a checkpoint has this step's average already
        callbacks.append(RevNetAverage(config.ema))
    minutes = config.max_minutes
    callbacks.append(Timer(None if minutes is None else timedelta(minutes=minutes)))
    if config.progress:
        callbacks.append(StepBar(refresh_rate=5))
    # The checkpoint comes last: all that belongs to a step is written by then.
    drift = DriftMonitor(engine, config.precision)
    measurements = [drift, *measuring]
    metrics = MetricsCsv(folder.metrics, config.log_every, measurements, step, steps_per_epoch)
    samples = SampleImages(config.sample_every, folder.samples)
    return [*callbacks, *measurements, metrics, samples, stopper]


def _quieten() -> None:
    """Silence notes of the libraries that tell a user of genrev nothing to act on."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*number of training batches.*is smaller than the logging interval.*",
        ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
        ".*was configured so validation.*",
        ".*find_unused_parameters=True was specified.*",
        ".*Checkpoint directory.*exists and is not empty.*",
    ):
        warnings.filterwarnings("ignore", message)
