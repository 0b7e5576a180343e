"""Train from a configuration, or go on with a run that was interrupted."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Timer

from genrev.data import (
    BatchLoader,
    ImageData,
    ImageStream,
    StreamLoader,
    announce,
    load_images,
    local_path,
    open_stream,
    sample_stream,
)
from genrev.errors import GenrevError
from genrev.models import GenerativeModule, save
from genrev.threads import choose_threads
from genrev.training.check import check
from genrev.training.checkpointing import CheckpointCallback, require_finite_weights
from genrev.training.config import RunConfig
from genrev.training.frechet_curve import FrechetCurve
from genrev.training.methods import PROCEDURES
from genrev.training.ranks import is_first_process
from genrev.training.run_folder import RunFolder
from genrev.training.trainer import build_trainer, set_threads

__all__ = ["resume", "train", "with_absolute_paths"]


def train(config: RunConfig, out: str | Path) -> GenerativeModule | None:
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
        folder.write_config(asdict(with_absolute_paths(run.config)))
        folder.write_environment(config.seed)
    return _fit(run, checkpoint=None)


def resume(config: RunConfig, run: str | Path) -> GenerativeModule | None:
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
            folder.write_config(asdict(with_absolute_paths(prepared.config)))
        folder.write_environment(config.seed)
    return _fit(prepared, checkpoint)


@dataclass(frozen=True)
class _Run:
    """All parts of a run, none of which has written anything yet."""

    config: RunConfig
    folder: RunFolder
    data: ImageData
    """All images, or a sample of those that are streamed."""
    model: GenerativeModule
    stopper: CheckpointCallback
    curve: FrechetCurve
    trainer: pl.Trainer
    loader: BatchLoader | StreamLoader


def _prepare(config: RunConfig, folder: RunFolder, step: int = 0, resumed: bool = False) -> _Run:
    check(config)
    stream = open_stream(config.data, "train") if config.data.streaming else None
    data = load_images(config.data, "train") if stream is None else sample_stream(stream)
    config = _with_threads(config, data, folder)
    trainer_config = replace(config.trainer, max_steps=config.steps)
    stopper = CheckpointCallback(folder, trainer_config.checkpoint_every, config.steps)
    curve = FrechetCurve(trainer_config, folder)
    method = PROCEDURES[config.method]
    measuring = [curve, *method.measurements(config, data)]
    # How many images a stream has is not known before it has been read.
    epoch = None if stream is not None else len(data) / config.batch_size
    trainer = build_trainer(trainer_config, config.engine, folder, stopper, measuring, step, epoch)
    method.check_data(config, data)
    loader = _loader(config, data if stream is None else stream, trainer)
    pl.seed_everything(config.seed, verbose=False)
    device = trainer.strategy.root_device
    # What is resumed is loaded into the model next, so it need not look at the images.
    model = method.build_model(config, data, device, not resumed)
    curve.prepare(data, device, trainer.is_global_zero)
    if trainer.is_global_zero:
        announce(data)
    return _Run(config, folder, data, model, stopper, curve, trainer, loader)


def _with_threads(config: RunConfig, data: ImageData, folder: RunFolder) -> RunConfig:
    """Choose the threads where nobody has; what a run has chosen once, it keeps."""
    trainer = config.trainer
    threads = trainer.threads or folder.recorded_threads()
    if threads is None:
        pixels = config.batch_size // trainer.processes * math.prod(data.image_shape)
        threads = choose_threads(pixels, trainer.devices)
    set_threads(trainer, threads)
    return replace(config, trainer=replace(trainer, threads=threads))


def _loader(
    config: RunConfig, data: ImageData | ImageStream, trainer: pl.Trainer
) -> BatchLoader | StreamLoader:
    if isinstance(data, ImageStream):
        return StreamLoader(
            data,
            config.batch_size,
            config.trainer.max_steps,
            config.seed,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            start=config.first_step,
        )
    return BatchLoader(
        data,
        config.batch_size,
        config.trainer.max_steps,
        config.seed,
        balanced=PROCEDURES[config.method].balanced,
        rank=trainer.global_rank,
        world_size=trainer.world_size,
        start=config.first_step,
    )


def _fit(run: _Run, checkpoint: Path | None) -> GenerativeModule | None:
    max_steps = run.config.steps
    trainer, folder = run.trainer, run.folder
    module = PROCEDURES[run.config.method].build_module(run.config, run.model, run.data)
    run.curve.describe = lambda: _info(run)
    # Our own checkpoints too are read as numbers, never as pickled code.
    weights_only = True if checkpoint else None
    try:
        trainer.fit(module, run.loader, ckpt_path=checkpoint, weights_only=weights_only)
    except UnpicklingError as error:
        raise GenrevError(
            f"{checkpoint} holds more than numbers and was not read; delete it, and `genrev resume "
            f"{folder.path}` goes on from the one before."
        ) from error
    reached = f"after step {trainer.global_step} of {max_steps}"
    if run.stopper.stopped_by is not None:
        if trainer.is_global_zero:
            print(
                f"Stopped by {run.stopper.stopped_by} {reached}; "
                f"go on with: genrev resume {folder.path}"
            )
        return None
    require_finite_weights(module, trainer.global_step)  # the same on all ranks
    unfinished = _finish(run)
    if trainer.is_global_zero:
        if trainer.global_step < max_steps:
            print(f"The time limit of --trainer.max_minutes ended the training {reached}.")
        save(run.model, folder.path, _info(run))
    trainer.strategy.barrier("model written")
    run.stopper.pass_on()
    if unfinished is not None:
        raise GenrevError(f"{unfinished} The model as trained is in {folder.path}.")
    return run.model.cpu().eval()


def _finish(run: _Run) -> GenrevError | None:
    """What the method leaves for the end; no failure of it may cost the trained network."""
    device = run.trainer.strategy.root_device
    try:
        PROCEDURES[run.config.method].finish(run.config, run.model, run.data, device)
    except GenrevError as error:
        return error
    return None


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
    loader = run.loader
    trained_on = loader.stream if isinstance(loader, StreamLoader) else loader.data
    return {
        "recipe": run.config.recipe,
        "data": {
            "name": trained_on.name,
            "fingerprint": trained_on.fingerprint,
            "source": None if local_path(described.source) else described.source,
            "crop": described.crop,
            "image_size": described.image_size,
            "channels": described.channels,
            "label": described.label,
            "streaming": described.streaming,
        },
        "steps": run.trainer.global_step,
        "seconds": _training_seconds(run.trainer),
        "seed": run.config.seed,
    }


def _training_seconds(trainer: pl.Trainer) -> float:
    """Wall time of the training, that before an interruption included."""
    (timer,) = (callback for callback in trainer.callbacks if isinstance(callback, Timer))  # type: ignore[attr-defined]
    return round(timer.time_elapsed("train"), 1)
