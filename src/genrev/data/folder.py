"""A folder of image files, labelled by its subfolders where that is possible without doubt."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from genrev.data.files import file_identity, find_images
from genrev.data.labels import NO_LABELS, order_classes
from genrev.data.source import Inventory, Record, Source
from genrev.data.splits import Placed, choose_split, split_files
from genrev.errors import GenrevError

__all__ = ["folder_source"]


def _labelled(files: list[Placed], label: str | None) -> bool:
    """Whether every image is in exactly one folder, that of its class."""
    return label != NO_LABELS and all(len(folders) == 1 for _, folders in files)


def _records(files: list[Placed], classes: tuple[str, ...] | None) -> Iterator[Record]:
    numbers = {name: number for number, name in enumerate(classes or ())}
    for path, folders in files:
        yield Record(str(path), path, numbers[folders[0]] if classes else None)


def folder_source(root: Path, split: str, label: str | None, files: list[Path]) -> Source:
    """Open a split of a folder of images; see ``genrev.data.splits`` for what a split is.

    Subfolders become classes, in the order of ``order_classes``, if every image of the split is in
    exactly one of them and no deeper, folders that all images share apart; the classes of all
    splits are numbered together.

    Args:
        root: The folder.
        split: Which split.
        label: Must be None, ``label`` or ``none``: there are no columns to choose from.
        files: What ``list_files(root)`` returned.

    Raises:
        GenrevError: If there are no images, no such split, splits that can be understood in two
            ways, or a label column is asked for.
    """
    images, others = find_images(files)
    if not images:
        endings = sorted({path.suffix.lower() or "no ending" for path in others})[:5]
        found = f", only files with {', '.join(endings)}," if endings else ""
        raise GenrevError(
            f"the folder {root} has no images in it{found} that can be read; "
            "name one with .png, .jpg, .webp or other image files, or with .parquet files"
        )
    if label not in (None, "label", NO_LABELS):
        raise GenrevError(
            f'the folder {root} has no label column "{label}", '
            "for images in folders are labelled by their subfolders; leave label out"
        )
    splits = split_files(root, images, tables=False)
    _, chosen = choose_split(splits, split, root)
    classes: tuple[str, ...] | None = None
    if _labelled(chosen, label):
        labelled = [files for files in splits.values() if _labelled(files, label)]
        classes = order_classes(folders[0] for files in labelled for _, folders in files)
    paths = [path for path, _ in chosen]
    return Source(
        name=root.resolve().name,
        identity={**file_identity(root, paths), "classes": classes},
        records=partial(_records, chosen, classes),
        total=len(chosen),
        class_names=classes,
        inventory=Inventory(
            splits={name: len(files) for name, files in splits.items() if name},
            total=len(images),
            skipped=tuple(path.relative_to(root).as_posix() for path in others),
        ),
    )
