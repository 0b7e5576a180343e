"""What lies in a folder: files, through links, without those that the system hides."""

import os
from pathlib import Path

from genrev.data.formats import is_image
from genrev.errors import GenrevError

__all__ = ["file_identity", "find_images", "is_hidden", "list_files"]

_OF_THE_SYSTEM = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir"))


def list_files(root: Path) -> list[Path]:
    """List all files below ``root``, sorted; hidden ones and hidden folders are left out.

    Links to folders are followed, but for those that lead back. A link that leads nowhere is
    listed as a file.

    Raises:
        GenrevError: If a folder cannot be read.
    """
    found: list[Path] = []
    _walk(root, frozenset(), found)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _walk(folder: Path, above: frozenset[tuple[int, int]], found: list[Path]) -> None:
    try:
        stat = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        raise GenrevError(
            f"the folder {folder} cannot be read [{error.strerror or error}]; "
            "allow it to be read, or take it out of the data"
        ) from error
    own = (stat.st_dev, stat.st_ino)
    if own in above:  # a link that leads back
        return
    for entry in entries:
        if is_hidden(entry.name):
            continue
        # Links last, for they cost a look at the disk each.
        path = folder / entry.name
        if path.is_dir() if entry.is_symlink() else entry.is_dir():
            _walk(path, above | {own}, found)
        else:
            found.append(path)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over without a word."""
    return name.startswith((".", "__MACOSX")) or name.lower() in _OF_THE_SYSTEM


def find_images(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Tell images from other files.

    Args:
        files: What ``list_files`` returned.

    Returns:
        The images, among them links that are called like one and lead nowhere (to be reported as
        images that cannot be read), and the other files.

    Raises:
        GenrevError: If another link leads nowhere: it may have been a folder of a class.
    """
    images: list[Path] = []
    others: list[Path] = []
    for path in files:
        if is_image(path):
            images.append(path)
        elif path.is_symlink() and not path.exists():
            raise GenrevError(
                f"{path} is a link to {path.readlink()}, which is not there; "
                "restore the folder or file that it led to, or remove the link"
            )
        else:
            others.append(path)
    return images, others


def file_identity(root: Path, files: list[Path]) -> dict[str, object]:
    """Name, size and time of last change of every file: what the cache takes for their content."""
    entries: list[list[object]] = []
    for path in files:
        try:
            stat = path.stat()
        except OSError:  # a link that leads nowhere, which is reported when it is read
            entries.append([path.relative_to(root).as_posix(), None, None])
        else:
            entries.append([path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns])
    return {"root": str(root.resolve()), "files": entries}
