"""Reconstructions from the restricted and from the full latent space (Figure 6 of the paper).

A RevNet loses nothing, so the full reconstruction is a check of numerics. The restricted one
shows what the active dimensions alone know about an image.
"""

import torch
from PIL import Image
from torch import Tensor

from genrev.figures.grid import image_grid, tile_pictures
from genrev.models.checks import images_for
from genrev.models.inference import inference
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["reconstruction_rows"]

_COLUMNS = 16  # more images than this go into further bands of three rows
_LARGE = 48  # pixels; wider images than this need half as many columns to be seen well


def reconstruction_rows(model: GenerativeAutoencoder, x: Tensor) -> Image.Image:
    """Three rows: the images, ``decode(prior.clamp(encode(x)))`` and ``decode(encode(x))``.

    Args:
        model: encoder, decoder and prior.
        x: images (N, C, H, W) in [0, 1]; every 16 of them, or 8 if wider than 48
            pixels, start a new band of three rows.

    Raises:
        ValueError: no images, or not of the model's shape.
    """
    x = images_for(model, x, "x")
    with inference(model):
        z = model.encode(x)
        restricted = model.decode(model.prior.clamp(z))
        full = model.decode(z)
    active, dims = len(model.prior.active_dims), model.prior.dim
    labels = ["original", f"restricted\n{active} of {dims} dims", f"full\n{dims} dims"]
    columns = _COLUMNS if x.shape[3] <= _LARGE else _COLUMNS // 2
    bands = [
        image_grid(torch.cat(band), len(band[0]), row_labels=labels)
        for band in zip(*(rows.split(columns) for rows in (x, restricted, full)), strict=True)
    ]
    return tile_pictures(bands, columns=1)
