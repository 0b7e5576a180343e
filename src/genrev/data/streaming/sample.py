"""A few images of a stream as an ordinary data set, for what needs one of a known size.

The start of a training (statistics of the encodings), the Fréchet distance through it, evaluation
and figures go through images that are all there. Of a stream they get a sample.
"""

from dataclasses import replace
from math import prod

import numpy as np

from genrev.data.images import ImageData, fingerprint
from genrev.data.streaming.loader import StreamLoader
from genrev.data.streaming.stream import ImageStream

__all__ = ["sample_stream"]

MOST_IMAGES = 10_000
MOST_BYTES = 1 << 29
BATCH = 250
SEED = 0  # not the run's: runs are measured on the same images


def sample_stream(stream: ImageStream) -> ImageData:
    """Decode 10,000 images of a stream, or all where it has fewer, from all over the data.

    Large images are fewer, such that they take 512 MiB; 256x256 RGB are 2,730. The
    choice depends on the data and its settings only.

    Raises:
        GenrevError: If an image cannot be read.

    Warns:
        UserWarning: If unreadable images were skipped; they are left out.
    """
    bound = max(MOST_BYTES // prod(stream.image_shape), 1)
    count = min(len(stream), MOST_IMAGES, bound)
    size = min(BATCH, count)
    steps = -(-count // size)
    stream = replace(stream, config=replace(stream.config, shuffle_buffer=4 * BATCH))
    batches = list(StreamLoader(stream, size, steps, SEED))
    index = np.concatenate([batch["index"].numpy() for batch in batches])[:count]
    images = np.concatenate([batch["image"].numpy() for batch in batches])[:count]
    # What stands in for an unreadable image is there already.
    first = np.sort(np.unique(index, return_index=True)[1])
    images, labels = images[first], stream.labels[index[first]]
    images.flags.writeable = labels.flags.writeable = False
    name, digest = stream.name, fingerprint(images, labels)
    return ImageData(images, labels, stream.class_names, name, digest, stream.inventory)
