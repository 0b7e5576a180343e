"""Train from a configuration, or go on with a run that was interrupted."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Timer

from genrev.data import BatchLoader, ImageData, load_images, local_path
from genrev.errors import GenrevError
from genrev.models import GenerativeRevNet, save
from genrev.training.check import check
from genrev.training.checkpointing import CheckpointCallback, require_finite_weights
from genrev.training.config import MatchingConfig, RunConfig
from genrev.training.encodings import build_model
from genrev.training.frechet_curve import FrechetCurve
from genrev.training.matching import MatchingModule
from genrev.training.ranks import is_first_process
from genrev.training.reconstruction import take_over
from genrev.training.run_folder import RunFolder
from genrev.training.trainer import build_trainer, set_threads
from genrev.training.transport import TransportModule

__all__ = ["resume", "train", "with_absolute_paths"]


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
        folder.write_config(asdict(with_absolute_paths(config)))
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
    prepared = _prepare(config, folder, step, resumed=checkpoint is not None)
    if is_first_process():
        if not folder.config.is_file():  # interrupted when the folder was made
            folder.create()
            folder.write_config(asdict(with_absolute_paths(config)))
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


def _prepare(config: RunConfig, folder: RunFolder, step: int = 0, resumed: bool = False) -> _Run:
    check(config)
    set_threads(config.trainer.threads)
    trainer_config = replace(config.trainer, max_steps=config.steps)
    stopper = CheckpointCallback(folder, trainer_config.checkpoint_every, config.steps)
    curve = FrechetCurve(trainer_config)
    trainer = build_trainer(trainer_config, config.engine, folder, stopper, curve, step)
    data = load_images(config.data, "train")
    _check_batch(config, data)
    loader = BatchLoader(
        data,
        config.batch_size,
        config.trainer.max_steps,
        config.seed,
        balanced=config.method == "transport",
        rank=trainer.global_rank,
        world_size=trainer.world_size,
        start=config.first_step,
    )
    pl.seed_everything(config.seed, verbose=False)
    device = trainer.strategy.root_device
    model = _start(config, data, device, resumed)
    curve.prepare(data, device, trainer.is_global_zero)
    return _Run(config, folder, data, model, stopper, trainer, loader)


def _start(
    config: RunConfig, data: ImageData, device: torch.device, resumed: bool
) -> GenerativeRevNet:
    """The model that training begins with, or (resumed) one to load the checkpoint into."""
    other = config.phases.reconstruction
    measure = not resumed and other is None
    model = build_model(config.model, config.engine, data, device, measure)
    if other is not None and not resumed:
        take_over(model, other)
    return model


def _module(run: _Run) -> MatchingModule | TransportModule:
    config, trainer = run.config, run.config.trainer
    steps, clip = trainer.max_steps, trainer.gradient_clip
    if isinstance(config.model, MatchingConfig):
        return MatchingModule(run.model, config.model, config.phases, config.seed, steps, clip)
    return TransportModule(run.model, config.model, run.data, config.seed, steps, clip)


def _fit(run: _Run, checkpoint: Path | None) -> GenerativeRevNet | None:
    max_steps = run.config.steps
    trainer, folder = run.trainer, run.folder
    module = _module(run)
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
    require_finite_weights(module, trainer.global_step)  # the same on all ranks
    if trainer.is_global_zero:
        if trainer.global_step < max_steps:
            print(f"The time limit of --trainer.max_minutes ended the training {reached}.")
        save(run.model, folder.path, _info(run))
    trainer.strategy.barrier("model written")
    return run.model.cpu().eval()


def _check_batch(config: RunConfig, data: ImageData) -> None:
    model, devices = config.model, config.trainer.devices
    if isinstance(model, MatchingConfig):
        if model.matching.startswith("mmd") and config.batch_size < 2:
            raise GenrevError(
                f"--model.matching {model.matching} needs 2 images or more and --batch_size is "
                f"{config.batch_size}; take 128, for example."
            )
        # Debiased transport halves the batch of all devices.
        unit, classes = math.lcm(devices, 2 if model.matching == "transport" else 1), ""
    else:
        # Here it halves the images of a class once more.
        unit = data.num_classes * (2 if model.transport == "debiased" else 1) * devices
        classes = f"{data.num_classes} classes on "
    if config.batch_size < 1 or config.batch_size % unit:
        nearest = max(1, round(config.batch_size / unit)) * unit
        raise GenrevError(
            f"--batch_size is {config.batch_size} and must be a multiple of {unit} for "
            f"{classes}{devices} device(s); take {nearest}."
        )


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same configuration, for a run that can be resumed and evaluated from any folder."""
    path, other = local_path(config.data.source), config.phases.reconstruction
    if path is not None:
        config = replace(config, data=replace(config.data, source=str(path)))
    if other is not None and Path(other).is_dir():
        other = str(Path(other).absolute())
        config = replace(config, phases=replace(config.phases, reconstruction=other))
    features, cache = config.trainer.frechet_features, config.data.cache
    if features is not None:
        features = str(Path(features).expanduser().absolute())
        config = replace(config, trainer=replace(config.trainer, frechet_features=features))
    if cache is not None:
        cache = str(Path(cache).expanduser().absolute())
        config = replace(config, data=replace(config.data, cache=cache))
    return config


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
        "seconds": _training_seconds(run.trainer),
        "seed": run.config.seed,
    }


def _training_seconds(trainer: pl.Trainer) -> float:
    """Wall time of the training, that before an interruption included."""
    (timer,) = (callback for callback in trainer.callbacks if isinstance(callback, Timer))  # type: ignore[attr-defined]
    return round(timer.time_elapsed("train"), 1)
