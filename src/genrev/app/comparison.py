"""One image, what the active dimensions know about it, and what the whole latent space knows."""

from typing import NamedTuple

from torch import Tensor

from genrev.models.inference import inference
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["Comparison", "compare"]


class Comparison(NamedTuple):
    """An image and its two reconstructions, as they are shown: clipped to [0, 1]."""

    original: Tensor
    """(C, H, W)."""
    restricted: Tensor
    """``decode(prior.clamp(encode(x)))``, (C, H, W)."""
    full: Tensor
    """``decode(encode(x))``, (C, H, W)."""
    restricted_error: float
    """Mean over all pixels and channels of |original - restricted|."""
    full_error: float
    """Mean over all pixels and channels of |original - full|."""


def compare(model: GenerativeAutoencoder, x: Tensor) -> Comparison:
    """Reconstruct one image (1, C, H, W) in [0, 1] both ways."""
    with inference(model) as device:
        z = model.encode(x.to(device))
        restricted = model.decode(model.prior.clamp(z))[0].clamp(0, 1).cpu()
        full = model.decode(z)[0].clamp(0, 1).cpu()
    original = x[0].cpu()
    errors = [float((original - other).abs().mean()) for other in (restricted, full)]
    return Comparison(original, restricted, full, *errors)
