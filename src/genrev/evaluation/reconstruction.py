r"""How close reconstructions come to the images, through the restricted and the full latent space.

The restricted one, decode(clamp(encode(x))), shows what the prior's few active dimensions hold
(Figure 6, middle row): it is the number to compare with autoencoders that have a bottleneck. The
full one, decode(encode(x)), is exact up to rounding for a RevNet, and the same as the restricted
one for a model whose latent space has no rest.

Reconstructions are clipped to [0, 1] first, since no picture holds other values;
``l1_unclipped`` is the error of what was decoded, as a training loss sees it. With mean squared
error MSE the peak signal-to-noise ratio is :math:`-10 \log_{10} \mathrm{MSE}` decibels.
"""

import math
from typing import Any

import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.evaluation.batches import batches
from genrev.models.inference import inference
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["reconstruction_report"]


def reconstruction_report(
    model: GenerativeAutoencoder, data: ImageData, batch_size: int = 250
) -> dict[str, Any]:
    """Mean errors of restricted and full reconstructions over a data set.

    Args:
        model: The model.
        data: The images; all are reconstructed.
        batch_size: Number of images encoded at a time.

    Returns:
        ``restricted`` and ``full``, each with ``l1`` and ``mse`` (mean absolute and mean squared
        difference over all pixels and images, in pixels of [0, 1]), ``psnr`` (decibels, of that
        ``mse``; None where it is 0) and ``l1_unclipped``. A reconstruction that is not finite makes
        them NaN.
    """
    # Restricted, full; absolute, squared, and absolute without clipping.
    sums = torch.zeros(2, 3, dtype=torch.float64)
    pixels = 0
    with inference(model) as device:
        for indices in batches(data, batch_size):
            x = data.tensor(indices).to(device)
            z = model.encode(x)
            for row, latent in enumerate((model.prior.clamp(z), z)):
                sums[row] += _differences(model.decode(latent), x)
            pixels += x.numel()
    means = (sums / pixels).tolist()
    return {name: _errors(*row) for name, row in zip(("restricted", "full"), means, strict=True)}


def _differences(reconstructed: Tensor, x: Tensor) -> Tensor:
    """Sums of absolute, squared and unclipped absolute differences, float64 (3,) on the CPU."""
    difference = (reconstructed.clamp(0, 1) - x).cpu().double()  # clamp keeps a NaN
    unclipped = (reconstructed - x).cpu().double()
    return torch.stack([difference.abs().sum(), difference.square().sum(), unclipped.abs().sum()])


def _errors(l1: float, mse: float, l1_unclipped: float) -> dict[str, float | None]:
    psnr = None if mse == 0 else -10 * math.log10(mse)
    return {"l1": l1, "mse": mse, "psnr": psnr, "l1_unclipped": l1_unclipped}
