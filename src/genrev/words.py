"""Things and their numbers as sentences say them."""

from collections.abc import Iterable

LARGEST_SEED = 2**32 - 1
"""What a seed of a run, of samples or of a fit is at most; 0 at least."""


def counted(n: int, one: str, many: str | None = None) -> str:
    """A number with its noun, which has an s in the plural unless ``many`` says otherwise.

    >>> counted(1, "image"), counted(2000, "image"), counted(2, "class", "classes")
    ('1 image', '2,000 images', '2 classes')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def kind_of(shape: tuple[int, ...]) -> str:
    """What has such a shape: signals (C, L), images (C, H, W) or volumes (C, D, H, W)."""
    return {2: "signals", 3: "images", 4: "volumes"}.get(len(shape), "data")


def spelled(sources: Iterable[str]) -> str:
    """What ``--data`` takes, by the names of all sources; those with a / are other folders.

    >>> spelled(["digits", "folder/", ".parquet", ".npz"])
    'digits, a folder of images, or a folder or file of .parquet or .npz'
    """
    names = [name for name in sources if not name.endswith("/")]
    endings = [name for name in names if name.startswith(".")]
    named = ", ".join(name for name in names if name not in endings)
    return f"{named}, a folder of images, or a folder or file of {' or '.join(endings)}"
