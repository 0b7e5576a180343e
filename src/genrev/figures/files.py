"""Samples as single image files, for programs that compare folders of them."""

import csv
import io
import re
from pathlib import Path

from PIL import Image

from genrev.errors import GenrevError
from genrev.evaluation import samples_as_stored
from genrev.files.paths import is_hidden, writing
from genrev.files.writing import replacing, write_text
from genrev.models.checks import class_names_of
from genrev.models.inference import GenerativeAutoencoder
from genrev.progress import track

_LABELS = "labels.csv"
_OURS = re.compile(r"\d{4,}\.png|labels\.csv")


def require_empty(folder: Path, replace: bool = False) -> None:
    """Raise ``GenrevError`` for a folder with files in it, or to be replaced with others' files."""
    if folder.exists() and not folder.is_dir():
        raise GenrevError(f"{folder} is a file; name a folder with --folder.")
    found = folder.iterdir() if folder.is_dir() else ()
    names = [path.name for path in found if not is_hidden(path.name)]
    if not replace and names:
        raise GenrevError(
            f"{folder} has files in it and is kept as it is; name another folder with --folder, or "
            "add --replace to put samples in the place of earlier ones."
        )
    if others := [name for name in names if not _OURS.fullmatch(name)]:
        raise GenrevError(
            f"{folder} has more in it than samples, such as {others[0]!r}, and is kept as it is; "
            "name another folder with --folder."
        )


def write_samples(
    model: GenerativeAutoencoder,
    n: int,
    folder: Path,
    label: int | None = None,
    seed: int = 0,
    replace: bool = False,
) -> None:
    """Write samples as 0000.png, 0001.png, ..., each whole or not at all.

    They are those that ``genrev.evaluate`` measures with the same seed, class after class. Of a
    model with classes, labels.csv has the class of every file; it is written last.

    Args:
        model: what is drawn from.
        n: number of samples, 1 or more.
        folder: made when missing.
        label: of one class only.
        seed: of the noise.
        replace: whether earlier samples in the folder give way.

    Raises:
        GenrevError: the folder has files in it, or cannot be written.
    """
    require_empty(folder, replace)
    images, labels = samples_as_stored(model, n, seed, label)
    width = max(4, len(str(n - 1)))
    names = [f"{number:0{width}}.png" for number in range(n)]
    with writing(folder, "name another folder with --folder"):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if _OURS.fullmatch(old.name) and old.name not in names:
                old.unlink()
        files = zip(names, images.numpy(), strict=True)
        for name, pixels in track(files, "files", "files", n):
            picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
            with replacing(folder / name) as temporary:
                picture.save(temporary, "PNG")
        if labels is not None:
            classes = class_names_of(model) or tuple(map(str, range(model.prior.num_classes)))
            table = io.StringIO()
            rows = csv.writer(table, lineterminator="\n")
            rows.writerow(["file", "label"])
            rows.writerows(
                [name, classes[number]] for name, number in zip(names, labels, strict=True)
            )
            write_text(folder / _LABELS, table.getvalue())
