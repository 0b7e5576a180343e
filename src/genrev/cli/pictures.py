"""The commands that draw: `sample`, `reconstruct`, `interpolate`, `traverse` and `figures`."""

import argparse
import math
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from genrev import figures
from genrev.cli import arguments
from genrev.cli.parsers import given_data
from genrev.cli.terminal import waiting
from genrev.data import DataConfig
from genrev.data.decode import Record, decode, decode_or_skip, find_images
from genrev.data.images import skipped_files
from genrev.errors import GenrevError
from genrev.extras import require
from genrev.files.paths import list_files, writing
from genrev.files.writing import replacing
from genrev.models import GenerativeModel, checks
from genrev.priors.prior import labels_for
from genrev.recipes import read_run_config, train_split
from genrev.training import RunFolder
from genrev.words import counted


def run_sample(options: argparse.Namespace) -> None:
    arguments.require_positive("-n", options.n)
    if options.npz is not None and options.npz.suffix != ".npz":
        raise GenrevError(f"--npz writes a file that ends in .npz, not {options.npz.name!r}.")
    if options.folder is None and options.replace:
        raise GenrevError("--replace is for --folder; leave it out, or name a folder.")
    if options.folder is not None:
        figures.require_empty(options.folder, options.replace)  # before samples are drawn
    model = arguments.load_model(options)
    label = _label(model, options)
    if options.folder is None or options.npz is not None or options.out is not None:
        arguments.require_memory(model, options.n, "take a smaller -n, or --folder alone")
    if options.folder is not None:
        figures.write_samples(
            model, options.n, options.folder, label, options.seed, options.replace
        )
        print(f"wrote {counted(options.n, 'image')} in {options.folder}")
    if options.npz is not None:
        generator = torch.Generator().manual_seed(options.seed)
        images = model.sample(options.n, label, generator)
        pixels = (images * 255).round().to("cpu", torch.uint8).numpy()
        labels = labels_for(options.n, label, checks.num_classes_of(model)).numpy()
        told = waiting(f"writing {options.npz}")
        with told, writing(options.npz, "name another file with --npz"):
            options.npz.parent.mkdir(parents=True, exist_ok=True)
            with replacing(options.npz) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, images=pixels, labels=labels)
        print(f"wrote {options.npz}")
    if options.out is not None or (options.npz is None and options.folder is None):
        sheet = figures.sample_sheet(model, options.n, label, options.seed)
        _write(sheet, options.out or Path("samples.png"))


def run_reconstruct(options: argparse.Namespace) -> None:
    arguments.require_positive("-n", options.n)
    model = arguments.load_model(options)
    _write(
        figures.reconstruction_rows(model, _chosen_images(model, options, options.n)), options.out
    )


def run_interpolate(options: argparse.Namespace) -> None:
    if options.steps < 2 or options.pairs < 1:
        raise GenrevError("--steps must be 2 or more and --pairs 1 or more.")
    model = arguments.load_model(options)
    arguments.require_memory(model, options.steps, "take fewer --steps")
    x = _chosen_images(model, options, 2 * options.pairs)
    walked = len(x) // 2 * options.steps
    arguments.require_memory(model, walked, "take fewer --pairs or --steps")
    if len(x) < 2 or len(x) % 2:
        raise GenrevError(
            f"Interpolation takes pairs of images and got {len(x)}; "
            "name an even number with --images."
        )
    ends = x[0::2], x[1::2]
    _write(figures.interpolation_rows(model, *ends, options.steps, not options.full), options.out)


def run_traverse(options: argparse.Namespace) -> None:
    model = arguments.load_model(options)
    label = _label(model, options)
    # Figure 12 shows all classes, on either side of the mean of each.
    classes = checks.num_classes_of(model) > 1 and label is None and options.image is None
    steps, extent = options.steps, options.extent
    if steps is None:
        steps = 8 if options.plane else 9
    if extent is None:
        extent = 2.0 if options.plane or classes else 3.0
    _check_traversal(model, options, steps, extent)
    arguments.require_memory(model, steps**2 if options.plane else steps, "take fewer --steps")
    widest = options.widest or (options.plane and options.dims is None)
    images = _images_for_widths(model, options) if widest else None
    dims = figures.choose_dims(model, options.dims, widest, images, options.seed)
    if options.plane:
        two = dims if dims is None or options.dims is not None else dims[:2]
        picture = figures.traversal_plane(model, label, steps, extent, two)
    elif classes:
        picture = figures.class_traversals(model, dims, steps, extent)
    else:
        x = None if options.image is None else _read_images(model, [options.image], options)
        if x is not None and len(x) != 1:
            raise GenrevError(f"--image takes one image and {options.image} has {len(x)}.")
        picture = figures.traversal_rows(model, dims, label, steps, extent, x)
    _write(picture, options.out)


def _check_traversal(
    model: GenerativeModel, options: argparse.Namespace, steps: int, extent: float
) -> None:
    if steps < 2:
        raise GenrevError(f"--steps must be 2 or more and is {steps}.")
    if not math.isfinite(extent):
        raise GenrevError(f"--extent must be a finite number and is {extent}.")
    if options.plane and options.image is not None:
        raise GenrevError("--plane starts from the mean of a class; leave --image or --plane out.")
    if options.data is not None and model.prior.num_classes > 1:
        raise GenrevError(
            "--data tells which dimensions are widest, and a prior with classes tells them itself; "
            "leave --data out."
        )
    if options.widest and model.prior.num_classes > 1:
        raise GenrevError(
            "--widest is for models without classes, and this prior has some, which tell their "
            "widest dimensions themselves; leave it out."
        )
    if options.data is not None and not (options.widest or options.plane):
        raise GenrevError(
            "--data tells which dimensions are widest; add --widest, or leave --data out."
        )
    _check_dims(options)


def _images_for_widths(model: GenerativeModel, options: argparse.Namespace) -> Tensor | None:
    """What tells which dimensions are widest; nothing of a model without its data."""
    if model.prior.num_classes > 1:
        return None
    try:
        data = arguments.images_of_run(model, options)
    except GenrevError:
        if options.data is not None:
            raise
        return None
    return figures.images_for_widths(data)


def run_figures(options: argparse.Namespace) -> None:
    _check_dims(options)
    require("train")  # of which plots need a part
    folder = RunFolder(options.run)
    if options.out is None and not folder.path.is_dir():
        raise GenrevError(f"{options.run} is not a run folder; say where to draw with --out.")
    out = options.out or folder.figures
    if seeds := _seeds(folder):
        metrics = {seed.path.name: seed.metrics for seed in seeds}
        curves = figures.curves_of_seeds(metrics, _frechet_settings(seeds[0]))
        with arguments.locked_out(out):
            for name, picture in curves.items():
                print(f"wrote {figures.save_image(picture, out / name)}")
        return
    model = arguments.load_model(options)
    run = figures.FigureRun(
        model,
        arguments.images_of_run(model, options),
        train_split(options.run, given_data(options), model.image_shape),
        options.seed,
        options.dims,
        options.widest,
        folder.samples,
        folder.metrics if folder.metrics.is_file() else None,
        _frechet_settings(folder),
    )
    with arguments.locked_out(out):
        for path in figures.draw_figures(run, out):
            print(f"wrote {path}")


def _seeds(folder: RunFolder) -> list[RunFolder]:
    """The runs RUN/seed0, RUN/seed1, ... of a folder that holds several, in their order."""
    found = [path for path in folder.path.glob("seed*") if path.is_dir()]
    seeds = [path for path in found if re.fullmatch(r"seed\d+", path.name)]
    return [RunFolder(path) for path in sorted(seeds, key=lambda path: int(path.name[4:]))]


def _frechet_settings(run: RunFolder) -> tuple[str | None, int | None]:
    """Name of the features and number of samples, as far as the run's configuration tells."""
    if not run.config.is_file():
        return None, None
    trainer = read_run_config(run.path).trainer
    file = trainer.frechet_features
    # The file itself is a program, maybe a stranger's, and nothing here needs it to run.
    return Path(file).stem if file else "classifier features", trainer.frechet_samples


def _write(picture: Image.Image, out: Path) -> None:
    with waiting(f"writing {out}"):
        figures.save_image(picture, out)
    print(f"wrote {out}")


def _label(model: GenerativeModel, options: argparse.Namespace) -> int | None:
    """Number of the class that --label names."""
    if options.label is not None and checks.num_classes_of(model) == 1:
        raise GenrevError(
            "--label chooses a class, and this model has none, since it was trained without "
            "labels; leave --label out."
        )
    return checks.check_label(model, options.label)


def _check_dims(options: argparse.Namespace) -> None:
    if options.dims is not None and options.widest:
        raise GenrevError("--dims and --widest both choose dimensions; leave one of them out.")


def _chosen_images(model: GenerativeModel, options: argparse.Namespace, n: int) -> Tensor:
    """The images that --images names, or n of --data."""
    if options.images is not None:
        return _read_images(model, options.images, options)
    try:
        data = arguments.images_of_run(model, options)
    except GenrevError as error:
        if options.data is not None:
            raise
        raise GenrevError(f"{str(error).rstrip('.')}; or name images with --images.") from error
    return data.tensor(figures.classes_in_turn(data, n))


def _read_images(model: GenerativeModel, paths: list[str], options: argparse.Namespace) -> Tensor:
    """Image files, and all of folders, in the model's size and colours, (n, C, H, W) in [0, 1]."""
    channels, height, width = model.image_shape
    config = DataConfig(image_size=(height, width)).replace(channels=channels)
    as_they_are = DataConfig(on_error=options.on_error or "raise")
    files = [file for path in paths for file in _files(Path(path))]
    images, others, skipped = list[Tensor](), list[Path](), list[Path]()
    for file in files:
        pixels = decode_or_skip(Record(str(file), file), as_they_are)  # (C, H, W)
        if pixels is None:
            skipped.append(file)
            continue
        if pixels.shape != tuple(model.image_shape):
            others.append(file)
            rows = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
            pixels = decode(Record(str(file), rows), config)
        images.append(torch.from_numpy(pixels.copy()).float() / 255)
    if skipped:
        told = f"{len(skipped)} of {counted(len(files), 'image file')} cannot be read"
        if not images:
            raise GenrevError(f"{told}; name others.")
        warnings.warn(f"{told}, the first of them {skipped[0]}", stacklevel=2)
    if others:
        wanted = "x".join(map(str, model.image_shape))
        told = f"{others[0]} becomes" if len(others) == 1 else f"{len(others)} image files become"
        print(f"data {told} {wanted} (channels x height x width)", file=sys.stderr)
    return torch.stack(images)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise GenrevError(f"There is no image or folder {path}; check --images.")
    if path.is_file():
        return [path]
    found, others = find_images(list_files(path))
    if not found:
        raise GenrevError(f"The folder {path} has no images in it; name another with --images.")
    if others:
        names = tuple(file.relative_to(path).as_posix() for file in others)
        print(f"{path}: {skipped_files(names)}", file=sys.stderr)
    return found
