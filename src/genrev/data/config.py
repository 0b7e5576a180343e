"""What the user says about the data: where it is and how its images become one shape."""

from typing import Annotated, Literal

from pydantic import Field

from genrev.options import ONE_FOR_SQUARE, Count, FilePath, Options


class DataConfig(Options):
    """Where images come from and what is done to each of them before it is stored.

    An image is converted to ``channels``, cropped to ``crop`` and resized to ``image_size``, in
    this order.

    Raises:
        OptionError: a value out of range.

    Example:
        >>> DataConfig(source="celeba", crop=128).crop
        128
    """

    source: str = "digits"
    """A name (digits, which is bundled with scikit-learn, mnist, celeba), an address
    (hub:owner/name or hub:owner/name@revision on the Hugging Face hub), a folder of images, or a
    folder or file of parquet, (streaming) tar or npz. A name wins over a folder of that name; write
    ./mnist for the folder."""
    crop: Count | Literal["none"] | None = None
    """Side in pixels of the square cut out of the centre; null or none keeps the whole image.
    celeba takes null for 140, the crop of the Wasserstein autoencoder's experiments."""
    image_size: Annotated[Count | tuple[Count, Count] | None, ONE_FOR_SQUARE] = None
    """Side in pixels of the square the image is resized to with Lanczos filtering, or a list of
    height and width (an image of other proportions is stretched, so crop it first); null keeps its
    size, and celeba takes it for 64."""
    channels: Literal[1, 3] | None = None
    """1 (grey) or 3 (RGB); null keeps what the files have."""
    limit: Count | None = None
    """Use the first images of the split only, as many as this."""
    on_error: Literal["raise", "skip"] = "raise"
    """What to do about an image that cannot be read: stop, or go on without it and warn."""
    label: str | None = None
    """Column of a table that holds the class; null takes label or labels if there is one, none goes
    without classes, whatever the source."""
    cache: FilePath | None = None
    """Folder for the decoded images; null takes $GENREV_CACHE, and without that ~/.cache/genrev."""
    streaming: bool = False
    """Decode images in every epoch anew instead of once into the cache, for data that is larger
    than memory and disk: parquet, of the hub too, and tar files (webdataset)."""
    shuffle_buffer: Count = 4096
    """Undecoded images of a stream that wait in memory to be shuffled, over all processes."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Threads of each process that read and decode a stream; 0 does it in the thread that trains,
    null takes one per core, but 16 at most."""

    @property
    def sizes(self) -> tuple[int, int] | None:
        """Height and width that images are resized to; ``None`` keeps theirs."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size
