"""Draw samples from a trained model into a picture or an array.

Without --label the classes take turns, and the picture has one row for each of them.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from genrev.cli.arguments import add_label, add_run, check_label
from genrev.cli.terminal import to_path
from genrev.errors import GenrevError
from genrev.figures import sample_sheet, save_image
from genrev.files.paths import writing
from genrev.files.writing import replacing
from genrev.models import load


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    parser.add_argument("-n", type=int, default=64, help="number of samples (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    add_label(parser)
    parser.add_argument(
        "--out", type=to_path, metavar="FILE", help="picture to write (default: samples.png)"
    )
    parser.add_argument(
        "--npz",
        type=to_path,
        metavar="FILE",
        help="also write the samples as uint8 `images` (n, C, H, W) and int64 `labels` (n,)",
    )


def run(options: argparse.Namespace) -> None:
    """Sample."""
    if options.n < 1:
        raise GenrevError(f"-n must be 1 or more and is {options.n}.")
    model = load(options.run).float()
    label = check_label(model, options.label)
    if options.npz is not None:
        generator = torch.Generator().manual_seed(options.seed)
        images = model.sample(options.n, label, generator)
        pixels = (images * 255).round().to(torch.uint8).numpy()
        classes = np.arange(options.n) % model.prior.num_classes
        labels = classes if label is None else np.full(options.n, label)
        _write_npz(options.npz, pixels, labels.astype(np.int64))
        print(f"wrote {options.npz}")
    if options.out is not None or options.npz is None:
        out = options.out or Path("samples.png")
        save_image(sample_sheet(model, options.n, label, options.seed), out)
        print(f"wrote {out}")


def _write_npz(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    with writing(path, "name another file with --npz"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, images=images, labels=labels)
