"""Things and their numbers as sentences say them."""


def counted(n: int, one: str, many: str | None = None) -> str:
    """A number with its noun, which has an s in the plural unless ``many`` says otherwise.

    >>> counted(1, "image"), counted(2000, "image"), counted(2, "class", "classes")
    ('1 image', '2,000 images', '2 classes')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def kind_of(shape: tuple[int, ...]) -> str:
    """What has such a shape: signals (C, L), images (C, H, W) or volumes (C, D, H, W)."""
    return {2: "signals", 3: "images", 4: "volumes"}.get(len(shape), "data")
