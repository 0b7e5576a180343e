"""Train from a configuration, or go on with a run that was interrupted."""

import logging
import os
import warnings
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, Timer
from lightning.pytorch.loggers import TensorBoardLogger

from genrev.data import BatchLoader, ImageData, load_images
from genrev.errors import GenrevError
from genrev.models import GenerativeRevNet, save
from genrev.training.checkpointing import CheckpointCallback
from genrev.training.config import RunConfig, TrainerConfig
from genrev.training.encodings import build_model
from genrev.training.metrics_csv import MetricsCsv
from genrev.training.progress import StepBar
from genrev.training.run_folder import RunFolder
from genrev.training.sample_images import SampleImages
from genrev.training.transport import TransportModule

__all__ = ["resume", "train"]


def train(config: RunConfig, out: str | Path) -> GenerativeRevNet | None:
    """Train a model into a new run folder.

    Args:
        config: what to train, on what, for how long.
        out: the run folder; it must not exist yet, or be empty.

    Returns:
        The trained model, or ``None`` when training was stopped by a signal; the folder then
        has a checkpoint and `resume` goes on from it.

    Raises:
        GenrevError: unusable configuration, data or folder, or a loss that is not finite.
    """
    check(config)
    folder = RunFolder(out)
    # Lightning starts further ranks by running the same command again: the folder is theirs too.
    is_first = "LOCAL_RANK" not in os.environ
    if is_first:
        folder.require_free()
    data = load_images(config.data, "train")
    model = _untrained(config, data)
    if is_first:  # only now, so that a configuration that cannot be trained leaves no folder
        folder.create()
        folder.write_config(asdict(config))
        folder.write_environment(config.seed)
    return _fit(config, folder, data, model, checkpoint=None, step=0)


def resume(config: RunConfig, run: str | Path) -> GenerativeRevNet | None:
    """Go on with an interrupted run from its newest checkpoint, or from the start without one.

    The result is, bit for bit, what the run would have given without the interruption on the same
    machine with the same number of threads.

    Args:
        config: the run's own configuration, as read from its ``config.yaml``.
        run: the run folder.

    Returns:
        As `train`.

    Raises:
        GenrevError: no run there, or the run is complete.
    """
    check(config)
    folder = RunFolder(run)
    if folder.finished:
        raise GenrevError(
            f"{folder.path} is complete, there is nothing left to resume; look at it with "
            f"`genrev sample {folder.path} --out samples.png`."
        )
    data = load_images(config.data, "train")
    model = _untrained(config, data)
    step, checkpoint = folder.newest_checkpoint()
    if "LOCAL_RANK" not in os.environ:
        folder.write_environment(config.seed)
    return _fit(config, folder, data, model, checkpoint, step)


def check(config: RunConfig) -> None:
    """Raise ``GenrevError`` for values that no run can have."""
    trainer, model = config.trainer, config.model
    for name in ("max_steps", "devices", "log_every", "sample_every", "checkpoint_every"):
        if getattr(trainer, name) < 1:
            raise GenrevError(
                f"--trainer.{name} must be 1 or more and is {getattr(trainer, name)}."
            )
    if not model.lr > 0 or not model.prior_lr > 0:
        raise GenrevError("--model.lr and --model.prior_lr must be positive.")
    for name in ("transport_memory", "perturbation_std"):
        if getattr(model, name) < 0:
            raise GenrevError(f"--model.{name} must be 0 or more and is {getattr(model, name)}.")
    if not 0 <= model.transport_start <= 1:
        raise GenrevError(
            f"--model.transport_start is a fraction of the steps, from 0 to 1, and is "
            f"{model.transport_start}."
        )


def _untrained(config: RunConfig, data: ImageData) -> GenerativeRevNet:
    _check_batch(config, data)
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    pl.seed_everything(config.seed, verbose=False)
    return build_model(config.model, data)


def _fit(
    config: RunConfig,
    folder: RunFolder,
    data: ImageData,
    model: GenerativeRevNet,
    checkpoint: Path | None,
    step: int,
) -> GenerativeRevNet | None:
    _quieten()
    module = TransportModule(model, config.model, data, config.seed, config.trainer.max_steps)
    stopper = CheckpointCallback(folder, config.trainer.checkpoint_every)
    trainer = _trainer(config.trainer, folder, stopper, step)
    loader = BatchLoader(
        data,
        config.batch_size,
        config.trainer.max_steps,
        config.seed,
        balanced=True,
        rank=trainer.global_rank,
        world_size=trainer.world_size,
    )
    trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    if stopper.stopped_by is not None:
        if trainer.is_global_zero:
            print(
                f"Stopped by {stopper.stopped_by} after step {trainer.global_step}; "
                f"go on with: genrev resume {folder.path}"
            )
        return None
    if trainer.is_global_zero:
        save(model, folder.path, _info(config, data, trainer))
    trainer.strategy.barrier("model written")
    return model.cpu().eval()


def _trainer(
    config: TrainerConfig, folder: RunFolder, stopper: CheckpointCallback, step: int
) -> pl.Trainer:
    callbacks: list[pl.Callback] = []
    if config.ema is not None:  # first, so that a checkpoint has this step's average already
        callbacks.append(EMAWeightAveraging(decay=config.ema))
    # The checkpoint comes last: all that belongs to a step is written by then.
    metrics = MetricsCsv(folder.metrics, config.log_every, resume_step=step)
    callbacks += [metrics, SampleImages(config.sample_every), stopper]
    if config.max_minutes is not None:
        callbacks.append(Timer(timedelta(minutes=config.max_minutes)))
    if config.progress:
        callbacks.append(StepBar(refresh_rate=5))
    return pl.Trainer(
        max_steps=config.max_steps,
        max_epochs=-1,
        accelerator=config.accelerator,
        devices=config.devices,
        # The prior's parameters take no part before transport sets in.
        strategy="ddp_find_unused_parameters_true" if config.devices > 1 else "auto",
        precision=config.precision,
        gradient_clip_val=config.gradient_clip,
        log_every_n_steps=config.log_every,
        logger=TensorBoardLogger(folder.path, name="", version=""),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=config.progress,
        use_distributed_sampler=False,
    )


def _check_batch(config: RunConfig, data: ImageData) -> None:
    # Debiased transport halves the images of a class once more.
    halves = 2 if config.model.transport == "debiased" else 1
    unit = data.num_classes * halves * config.trainer.devices
    if config.batch_size < 1 or config.batch_size % unit:
        nearest = max(1, round(config.batch_size / unit)) * unit
        raise GenrevError(
            f"--batch_size is {config.batch_size} and must be a multiple of {unit} for "
            f"{data.num_classes} classes on {config.trainer.devices} device(s); take {nearest}."
        )


def _info(config: RunConfig, data: ImageData, trainer: pl.Trainer) -> dict[str, Any]:
    source = config.data.source
    return {
        "recipe": config.recipe,
        # A path says something about a machine and nothing to whoever gets the model.
        "data": {
            "name": data.name,
            "source": None if Path(source).exists() else source,
            "fingerprint": data.fingerprint,
        },
        "steps": trainer.global_step,
        "seed": config.seed,
    }


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
