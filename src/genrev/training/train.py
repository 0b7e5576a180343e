"""Train from a configuration, or go on with a run that was interrupted."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from genrev.data import BatchLoader, ImageData, load_images, local_path
from genrev.errors import GenrevError
from genrev.models import GenerativeRevNet, save
from genrev.training.check import check
from genrev.training.checkpointing import CheckpointCallback
from genrev.training.config import RunConfig
from genrev.training.encodings import build_model
from genrev.training.ranks import is_first_process
from genrev.training.run_folder import RunFolder
from genrev.training.trainer import build_trainer, set_threads
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
    folder = RunFolder(out)
    # Lightning starts further ranks by running the same command again: the folder is theirs too.
    if is_first_process():
        folder.require_free()
    run = _prepare(config, folder)
    if is_first_process():  # only now, so that a run that cannot be trained leaves no folder
        folder.create()
        folder.write_config(asdict(_with_absolute_path(config)))
        folder.write_environment(config.seed)
    return _fit(run, checkpoint=None)


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
    folder = RunFolder(run)
    if folder.finished:
        raise GenrevError(
            f"{folder.path} is complete, there is nothing left to resume; look at it with "
            f"`genrev sample {folder.path} --out samples.png`."
        )
    step, checkpoint = folder.newest_checkpoint()
    prepared = _prepare(config, folder, step)
    if is_first_process():
        folder.write_environment(config.seed)
    return _fit(prepared, checkpoint)


@dataclass(frozen=True)
class _Run:
    """All parts of a run, none of which has written anything yet."""

    config: RunConfig
    folder: RunFolder
    data: ImageData
    model: GenerativeRevNet
    stopper: CheckpointCallback
    trainer: pl.Trainer
    loader: BatchLoader


def _prepare(config: RunConfig, folder: RunFolder, step: int = 0) -> _Run:
    check(config)
    set_threads(config.trainer.threads)
    trainer_config = config.trainer
    stopper = CheckpointCallback(folder, trainer_config.checkpoint_every, trainer_config.max_steps)
    trainer = build_trainer(trainer_config, config.engine, folder, stopper, step)
    data = load_images(config.data, "train")
    _check_batch(config, data)
    loader = BatchLoader(
        data,
        config.batch_size,
        trainer_config.max_steps,
        config.seed,
        balanced=True,
        rank=trainer.global_rank,
        world_size=trainer.world_size,
    )
    pl.seed_everything(config.seed, verbose=False)
    model = build_model(config.model, config.engine, data)
    return _Run(config, folder, data, model, stopper, trainer, loader)


def _fit(run: _Run, checkpoint: Path | None) -> GenerativeRevNet | None:
    max_steps = run.config.trainer.max_steps
    trainer, folder = run.trainer, run.folder
    module = TransportModule(run.model, run.config.model, run.data, run.config.seed, max_steps)
    # Our own checkpoints too are read as numbers, never as pickled code.
    trainer.fit(module, run.loader, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    reached = f"after step {trainer.global_step} of {max_steps}"
    if run.stopper.stopped_by is not None:
        if trainer.is_global_zero:
            print(
                f"Stopped by {run.stopper.stopped_by} {reached}; "
                f"go on with: genrev resume {folder.path}"
            )
        return None
    if trainer.is_global_zero:
        if trainer.global_step < max_steps:
            print(f"The time limit of --trainer.max_minutes ended the training {reached}.")
        save(run.model, folder.path, _info(run))
    trainer.strategy.barrier("model written")
    return run.model.cpu().eval()


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


def _with_absolute_path(config: RunConfig) -> RunConfig:
    """So that the run can be resumed and evaluated from any folder."""
    path = local_path(config.data.source)
    if path is None:
        return config
    return replace(config, data=replace(config.data, source=str(path)))


def _info(run: _Run) -> dict[str, Any]:
    """What goes with the model wherever it goes: no path, which would tell of a machine only."""
    described = run.config.data
    return {
        "recipe": run.config.recipe,
        "data": {
            "name": run.data.name,
            "fingerprint": run.data.fingerprint,
            "source": None if local_path(described.source) else described.source,
            "crop": described.crop,
            "image_size": described.image_size,
            "channels": described.channels,
            "label": described.label,
        },
        "steps": run.trainer.global_step,
        "seed": run.config.seed,
    }
