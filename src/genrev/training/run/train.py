"""Train from a configuration, or go on with a run that was interrupted."""

import errno
import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeGuard

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.seed import isolate_rng
from safetensors import SafetensorError

from genrev.data import (
    BatchLoader,
    DataConfig,
    ImageData,
    ImageStream,
    StreamLoader,
    load_images,
    local_path,
    open_stream,
    sample_stream,
)
from genrev.data.arrays import Splits
from genrev.data.sources.npz import write_npz
from genrev.errors import GenrevError
from genrev.files.locking import is_first_process, require_free
from genrev.files.paths import quoted, reason, writing
from genrev.models import GenerativeModel, load, save
from genrev.models.devices import repeatable_kernels, tf32
from genrev.models.model import require_savable
from genrev.models.saving import WEIGHTS_FILE
from genrev.priors import PRIORS
from genrev.registry import plugin_options
from genrev.threads import choose_threads, free_memory
from genrev.training.config import RunConfig
from genrev.training.methods.method import HeldOut, Method, build_method
from genrev.training.reports.frechet_curve import FrechetCurve
from genrev.training.reports.measurements import Measurements, PeriodicMeasurement
from genrev.training.run import beginning, header
from genrev.training.run.checkpoints import CheckpointCallback, Watch, require_finite_weights
from genrev.training.run.folder import RunFolder
from genrev.training.run.trainer import build_trainer
from genrev.training.start import adopt_prior, build_model, fit_data
from genrev.training.steps.graphs import CudaRecorder
from genrev.training.steps.module import TrainingModule
from genrev.training.steps.step import Step

_VARIABLES = ("OMP_NUM_THREADS", "PL_GLOBAL_SEED", "PL_SEED_WORKERS")  # that a training sets


def train(
    config: RunConfig,
    out: str | Path | None,
    watch: Watch | None = None,
    images: Splits | None = None,
    init: GenerativeModel | None = None,
) -> GenerativeModel | None:
    """Train a model into a new run folder, ``out``, which must not exist yet, or be empty.

    Args:
        config: the whole run.
        out: the run folder; ``None`` takes one that is gone when the training is over.
        watch: see ``Watch``.
        images: by split, in place of those that ``config.data`` names; ``train`` must be there.
            They are kept in the run folder, so that the run can be resumed and evaluated.
        init: a trained model whose network is where the training starts, and its prior as well if
            it is one of the run's kind, size and classes.

    Returns:
        The trained model, on the device of the training, or ``None`` when training was stopped by a
        signal or by ``watch``; the folder then has a checkpoint and `resume` goes on from it.

    Raises:
        GenrevError: unusable configuration, data or folder, a model to start from that does not
            fit, or a loss that is not finite.
    """
    if out is None:
        with TemporaryDirectory(prefix="genrev-", ignore_cleanup_errors=True) as place:
            return _train(config, RunFolder(place, kept=False), watch, images, init)
    folder = RunFolder(out)
    if is_first_process():  # Lightning starts further ranks by the same command
        require_free(folder.path)
    return _train(config, folder, watch, images, init)


def _train(
    config: RunConfig,
    folder: RunFolder,
    watch: Watch | None,
    images: Splits | None,
    init: GenerativeModel | None,
) -> GenerativeModel | None:
    if images is not None:
        config = config.replace(data=_data_of(images, config.data, folder))
    with _process_restored():
        run = _prepare(config, folder, watch=watch, images=images, init=init)
        with folder.held(new=True):  # only now: a run that cannot be trained leaves no folder
            if is_first_process() and folder.kept:
                _keep(folder, images, init)
            return _fit(run, checkpoint=None)


@contextmanager
def _process_restored() -> Iterator[None]:
    """Put back what a training sets for its whole process: threads, seeds, filters of warnings."""
    threads = torch.get_num_threads()
    variables = {name: os.environ.get(name) for name in _VARIABLES}
    try:
        # Not the generators of CUDA: to read them takes memory of every card there is.
        with isolate_rng(include_cuda=False), warnings.catch_warnings():
            yield
    finally:
        torch.set_num_threads(threads)
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def resume(
    config: RunConfig, run: str | Path, watch: Watch | None = None
) -> GenerativeModel | None:
    """Go on with an interrupted run from its newest checkpoint, or from the start without one.

    ``config`` is the run's own, as read from its ``config.yaml``, and ``run`` its folder. The
    result, returned as by `train`, is bit for bit what the run would have given without the
    interruption on the same machine with the same number of threads.

    With a larger ``trainer.max_steps`` than it had, a finished run goes on as well. Phases and
    schedule are then those of the longer run, from the step that was reached.

    Raises:
        GenrevError: the run is complete or somebody else's at the moment, or it began with options
            or data that would make it another one.
    """
    folder = RunFolder(run)
    with folder.held(), _process_restored():
        end = config.trainer.max_steps - build_method(config).first_step
        # From one of the last step nothing can be resumed.
        step, checkpoint = folder.newest_checkpoint(but=end)
        if folder.finished:
            _require_more_steps(config, folder, step, checkpoint)
        damaged = folder.damaged_checkpoints(step) if is_first_process() else {}
        for path, cause in damaged.items():
            instead = "begins again" if checkpoint is None else f"goes on from step {step}"
            warnings.warn(f"{path} cannot be read ({cause}), so the run {instead}", stacklevel=2)
        init = None
        if checkpoint is None and (folder.init / WEIGHTS_FILE).is_file():
            init = load(folder.init)
        return _fit(_prepare(config, folder, step, checkpoint, watch, init=init), checkpoint)


def _require_more_steps(
    config: RunConfig, folder: RunFolder, step: int, checkpoint: Path | None
) -> None:
    """Raise ``GenrevError`` unless a finished run is to go on, for more steps than it was for."""
    asked, run = config.trainer.max_steps, quoted(folder.path)
    began = beginning.read(checkpoint, folder.path) if checkpoint else folder.beginning()
    planned = began.get("config", {}).get("trainer", {}).get("max_steps", asked)
    planned = max(planned, folder.steps_of_model())  # it may have gone on for longer since
    if asked <= planned and step <= folder.steps_of_model():
        raise GenrevError(
            f"{folder.path} is complete, there is nothing left to resume; look at it with "
            f"`genrev sample {run} --out samples.png`, or train it longer with `genrev resume "
            f"{run} --trainer.max_steps N` for an N above {planned}."
        )
    if checkpoint is None:
        raise GenrevError(
            f"{folder.path} has no checkpoint to go on from that can be read; begin another run "
            f"with its weights by `genrev train RECIPE --from {run} --out OUT`."
        )


def _data_of(images: Splits, data: DataConfig, folder: RunFolder) -> DataConfig:
    """What to say of images that a run is given: where it keeps them, as they are."""
    channels, *sizes = images["train"].image_shape
    plain = DataConfig(source=str(folder.arrays), cache=data.cache)
    return plain.replace(channels=channels, image_size=tuple(sizes))


def _keep(folder: RunFolder, images: Splits | None, init: GenerativeModel | None) -> None:
    """Write what a run was given and could not find again."""
    with writing(folder.path):
        if init is not None:
            save(init, folder.init)
        for split, data in (images or {}).items():
            write_npz(data, folder.arrays / f"{split}.npz")


@dataclass(frozen=True)
class _Run:
    """All parts of a run, none of which has written anything yet."""

    config: RunConfig
    method: Method
    folder: RunFolder
    data: ImageData  # all images, or a sample of those that are streamed
    model: GenerativeModel
    stopper: CheckpointCallback
    curve: FrechetCurve
    trainer: pl.Trainer
    loader: BatchLoader | StreamLoader


def _prepare(
    config: RunConfig,
    folder: RunFolder,
    step: int = 0,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
    images: Splits | None = None,
    init: GenerativeModel | None = None,
) -> _Run:
    config.with_absolute_paths()  # fail now where a home folder is missing
    method = build_method(config)
    steps = config.trainer.max_steps - method.first_step
    began = beginning.read(checkpoint, folder.path) if checkpoint else folder.data_before()
    beginning.require_same_config(began, config, folder.path, method.first_step, step)
    if images is None:
        config = fit_data(config)
    load_split = partial(load_images, config.data) if images is None else images.__getitem__
    source = open_stream(config.data) if config.data.streaming else load_split("train")
    data = sample_stream(source) if isinstance(source, ImageStream) else source
    _require_memory(config, data)
    config = _with_threads(config, data, folder)
    curve = FrechetCurve(config.trainer, folder)
    # How many images a stream has is not known before it has been read.
    epoch = len(data) / config.batch_size
    held_out, measuring = method.held_out(), list[Measurements]([curve])
    test = load_split("test") if held_out else None
    if test is not None:
        if PRIORS[config.prior.name].class_conditional:
            test.labels_as(data.class_names)  # fail now where a class is not trained on
        measuring += [_measuring(one, test, math.ceil(epoch)) for one in held_out]
    # As config.yaml has it, or resuming would tell of paths that nobody changed.
    begins = beginning.describe(config.with_absolute_paths(), source, test)
    beginning.require_same_data(began, begins, config, folder.path)
    every = config.trainer.checkpoint_every
    stopper = CheckpointCallback(folder, every, steps, begins, measuring, watch)
    per_epoch = None if config.data.streaming else epoch
    trainer = build_trainer(config, stopper, measuring, step, per_epoch)
    method.check_data(config, data)
    loader = _loader(config, method, source, trainer)
    pl.seed_everything(config.seed, verbose=False)
    device = trainer.strategy.root_device
    if trainer.is_global_zero:  # before the passes over all images, which take their time
        header.announce_start(config, data, device)
    network = method.network_options(config.network.options)
    # A resumed run loads its weights from the checkpoint, so the images need not be encoded.
    model = build_model(config, network, data, device, measure=checkpoint is None, init=init)
    method.prepare(model, data, config.seed)
    if checkpoint is None and not (init is not None and adopt_prior(model, init)):
        method.initialise(model, data)
    model.cpu()
    require_savable(model)  # not only when the training is over
    curve.prepare(data, device, trainer.is_global_zero)
    if trainer.is_global_zero:
        header.announce_run(config, model, step, stopper.max_steps, folder)
    return _Run(config, method, folder, data, model, stopper, curve, trainer, loader)


def _measuring(one: HeldOut, test: ImageData, epoch: int) -> PeriodicMeasurement:
    return PeriodicMeasurement(one.name, one.every or epoch, lambda model: one.measure(model, test))


def _require_memory(config: RunConfig, data: ImageData) -> None:
    """Check that a batch of images and of latents fits; what a step takes beyond it, it tells."""
    free, batch = free_memory(), config.batch_size // config.trainer.processes
    needed = 2 * 4 * batch * math.prod(data.image_shape)
    if free is not None and needed > free:
        raise GenrevError(
            f"A batch of {batch:,} images takes {needed / 2**30:,.0f} GiB of memory or more, and "
            f"{free / 2**30:,.0f} GiB are free; take a smaller --batch_size."
        )


def _with_threads(config: RunConfig, data: ImageData, folder: RunFolder) -> RunConfig:
    """Choose the threads where nobody has; what a run has chosen once, it keeps."""
    trainer = config.trainer
    threads = trainer.threads or folder.recorded_threads()
    if threads is None:
        pixels = config.batch_size // trainer.processes * math.prod(data.image_shape)
        threads = choose_threads(pixels, trainer.devices)
    torch.set_num_threads(threads)
    if trainer.processes > 1:  # without it, Lightning divides all cores among the ranks
        os.environ["OMP_NUM_THREADS"] = str(threads)
    return config.replace(trainer=trainer.replace(threads=threads))


def _loader(
    config: RunConfig, method: Method, data: ImageData | ImageStream, trainer: pl.Trainer
) -> BatchLoader | StreamLoader:
    asked = (config.batch_size, config.trainer.max_steps, config.seed)
    ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
    if isinstance(data, ImageStream):
        return StreamLoader(data, *asked, **ranks, start=method.first_step)
    return BatchLoader(data, *asked, balanced=method.balanced, **ranks, start=method.first_step)


def _fit(run: _Run, checkpoint: Path | None) -> GenerativeModel | None:
    config, trainer, folder = run.config, run.trainer, run.folder
    if is_first_process():
        folder.write_config(run.stopper.began["config"])
        folder.write_environment(config.seed, run.stopper.began["data"])
    total = config.trainer.max_steps
    prior_lr = getattr(config.prior.options, "lr", None)  # of a prior that learns
    on_cuda = trainer.strategy.root_device.type == "cuda"
    recorder = CudaRecorder() if on_cuda and config.engine.graph else None
    of_run = (config.optimizer, config.seed, total, run.data, prior_lr, recorder)
    step = Step(run.model, run.method, *of_run)
    if recorder and trainer.is_global_zero and (why := step.why_no_graph(trainer.world_size)):
        print(f"Steps run without CUDA graphs, for {why}.", file=sys.stderr)
    module = TrainingModule(step, resident=isinstance(run.loader, BatchLoader))
    run.curve.describe = lambda: _info(run)
    if checkpoint and trainer.is_global_zero and folder.finished:
        _tell_longer(run, step)
    # Our own checkpoints too are read as numbers, never as pickled code.
    weights_only = True if checkpoint else None
    rounded = config.engine.tf32 and not config.engine.exact
    with _on_a_disk_that_may_be_full(folder), tf32(rounded), repeatable_kernels():
        trainer.fit(module, run.loader, ckpt_path=checkpoint, weights_only=weights_only)
    reached = f"after step {trainer.global_step} of {run.stopper.max_steps}"
    if run.stopper.stopped_by is not None:
        if trainer.is_global_zero:
            onward = f"go on with: genrev resume {quoted(folder.path)}{plugin_options()}"
            onward = onward if folder.kept else "nothing was kept, as there was no run folder"
            print(f"Stopped by {run.stopper.stopped_by} {reached}; {onward}")
        return None
    require_finite_weights(module, trainer.global_step)  # the same on all ranks
    unfinished = None
    try:
        run.method.finish(run.model.to(trainer.strategy.root_device), run.data, config.seed)
    except GenrevError as error:  # which may not cost the trained network
        unfinished = error
    run.model.cpu().info = _info(run)
    if trainer.is_global_zero:
        if trainer.global_step < run.stopper.max_steps:
            print(f"The time limit of --trainer.max_minutes ended the training {reached}.")
        if folder.kept and run.curve.best is not None and run.curve.best.is_dir():
            print(
                f"The model of the lowest Fréchet distance, {run.curve.lowest:.4g}, is in "
                f"{run.curve.best}."
            )
        with _on_a_disk_that_may_be_full(folder):
            save(run.model, folder.path)
    trainer.strategy.barrier("model written")
    run.stopper.pass_on()
    if unfinished is not None:
        raise GenrevError(f"{unfinished} The model as trained is in {folder.path}.")
    return run.model.to(trainer.strategy.root_device).eval()


def _tell_longer(run: _Run, step: Step) -> None:
    """Say where a finished run goes on, and with what rates."""
    taken, _ = run.folder.newest_checkpoint(but=run.stopper.max_steps)
    number = run.method.first_step + taken
    print(
        f"{run.folder.path} goes on from step {number:,} to {run.config.trainer.max_steps:,}; "
        "phases and schedule are those of a run of that length, which is now in its phase "
        f"{step.phase(number).name} at {step.rate(number):.0%} of its learning rates.",
        file=sys.stderr,
    )


@contextmanager
def _on_a_disk_that_may_be_full(folder: RunFolder) -> Iterator[None]:
    """Say where to go on when the folder can no longer be written, whoever wanted to."""
    try:
        yield
    except (OSError, SafetensorError, GenrevError) as error:
        cause = error.__cause__ if isinstance(error, GenrevError) else error
        if not _is_of(cause, folder):
            raise
        step = folder.newest_checkpoint()[0]
        raise GenrevError(
            f"{folder.path} cannot be written any more ({reason(cause)}); see to it, and "
            f"`genrev resume {quoted(folder.path)}` goes on from step {step}."
        ) from error


def _is_of(error: BaseException | None, folder: RunFolder) -> TypeGuard[OSError | SafetensorError]:
    if not isinstance(error, OSError):
        return isinstance(error, SafetensorError) and "I/O error" in str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
        return True
    name = error.filename
    return isinstance(name, str | os.PathLike) and Path(name).is_relative_to(folder.path)


def _info(run: _Run) -> dict[str, Any]:
    """What goes with the model wherever it goes: no path, which would tell of a machine only."""
    described, trained_on = run.config.data, run.stopper.began["data"]["train"]
    kept = ("crop", "image_size", "channels", "label", "streaming")
    (timer,) = (callback for callback in run.trainer.callbacks if isinstance(callback, Timer))  # type: ignore[attr-defined]
    return {
        "recipe": run.config.recipe,
        "data": {
            "name": trained_on["name"],
            "fingerprint": trained_on["fingerprint"],
            "source": None if local_path(described.source) else described.source,
            **{name: getattr(described, name) for name in kept},
        },
        "steps": run.trainer.global_step,
        "seconds": round(timer.time_elapsed("train"), 1),  # those before an interruption included
        "seed": run.config.seed,
    }
