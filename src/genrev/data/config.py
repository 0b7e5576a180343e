"""What the user says about the data: where it is and how its images become one shape."""

from dataclasses import dataclass
from typing import Literal

from genrev.errors import GenrevError

__all__ = ["DataConfig"]


@dataclass(frozen=True)
class DataConfig:
    """Where images come from and what is done to each of them before it is stored.

    An image is converted to ``channels``, cropped to ``crop`` and resized to ``image_size``, in
    this order.

    Args:
        source: ``digits`` (bundled with scikit-learn), ``mnist``, ``celeba``,
            ``hub:owner/name`` or ``hub:owner/name@revision`` (Hugging Face hub), a folder of
            images, or a folder or file of parquet, or (streaming) of tar. A known name wins over a
            folder of that name; write ``./mnist`` for the folder.
        crop: Side in pixels of the square cut out of the centre; None or ``none`` keeps the whole
            image. ``celeba`` takes None for 140, the crop of the Wasserstein autoencoder's
            experiments; ``none`` turns it off.
        image_size: Side in pixels of the square the image is resized to with Lanczos filtering
            (an image that is not square is stretched, so crop it first); None keeps its size.
            ``celeba`` uses 64 unless told otherwise.
        channels: 1 (grey) or 3 (RGB); None keeps what the files have.
        limit: Use the first ``limit`` images of the split only.
        on_error: What to do about an image that cannot be read: stop (``raise``), or go on
            without it and warn (``skip``).
        label: Column of a table that holds the class; None takes ``label`` or ``labels`` if there
            is one, ``none`` goes without classes, whatever the source.
        cache: Folder for the decoded images; None means ``$GENREV_CACHE``, and without that
            ``~/.cache/genrev``.
        streaming: Decode images in every epoch anew instead of once into the cache, for data that
            is larger than memory and disk: parquet, of the hub too, and tar files (webdataset).
        shuffle_buffer: Images of a stream, not yet decoded, that wait in memory over all processes
            to be shuffled.
        workers: Threads of each process that read and decode a stream; 0 does it in the thread
            that trains, None takes one per core, but 16 at most.

    Raises:
        GenrevError: If a value is out of range.

    Example:
        >>> DataConfig("celeba", crop=128).crop
        128
    """

    source: str = "digits"
    crop: int | Literal["none"] | None = None
    image_size: int | None = None
    channels: int | None = None
    limit: int | None = None
    on_error: Literal["raise", "skip"] = "raise"
    label: str | None = None
    cache: str | None = None
    streaming: bool = False
    shuffle_buffer: int = 4096
    workers: int | None = None

    def __post_init__(self) -> None:
        for name in ("crop", "image_size", "limit", "shuffle_buffer"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise GenrevError(f"{name} is {value}, but must be at least 1 or left out")
        if self.workers is not None and self.workers < 0:
            raise GenrevError(f"workers is {self.workers}, but must be at least 0 or left out")
        if self.channels not in (None, 1, 3):
            raise GenrevError(
                f"channels is {self.channels}, but must be 1 (grey), 3 (RGB) or left out"
            )
        if self.on_error not in ("raise", "skip"):
            raise GenrevError(f'on_error is "{self.on_error}", but must be "raise" or "skip"')
