"""How exactly a model inverts itself: decode(encode(x)) against x over a whole data set.

For a RevNet the two agree up to rounding, which grows with depth and size of the weights; for
an autoencoder with a bottleneck the same numbers say how much its bottleneck loses. Values are
in units of the image's range [0, 1]: half a grey level is 1 / 510, about 2e-3. Nothing is clipped.
"""

import torch

from genrev.data import ImageData
from genrev.evaluation.batches import batches
from genrev.models.inference import inference
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["inversion_error"]


def inversion_error(
    model: GenerativeAutoencoder,
    images: ImageData,
    batch_size: int = 250,
    dtype: torch.dtype = torch.float32,
) -> dict[str, float | int | str]:
    """Mean and largest absolute difference between decode(encode(x)) and x.

    Args:
        model: Any model with ``encode`` and ``decode``; its weights have to be of ``dtype``.
        images: The data set; all of it is used.
        batch_size: Number of images encoded at a time.
        dtype: Type the images are given in; the difference is taken in float64.

    Returns:
        ``mean_l1`` (mean over all pixels and images), ``max_abs``, ``dtype`` and ``count``. A
        pixel that comes back as NaN or infinite makes both numbers NaN or infinite.
    """
    total, worst, pixels = 0.0, torch.tensor(0.0, dtype=torch.float64), 0
    with inference(model) as device:
        for indices in batches(images, batch_size):
            x = images.tensor(indices).to(device, dtype)
            back = model.decode(model.encode(x))
            difference = (back.cpu().double() - x.cpu().double()).abs()
            total += float(difference.sum())
            worst = torch.maximum(worst, difference.max())  # unlike max(), keeps a NaN
            pixels += difference.numel()
    return {
        "mean_l1": total / pixels,
        "max_abs": float(worst),
        "dtype": str(dtype).removeprefix("torch."),
        "count": len(images),
    }
