"""The straight line between the encodings of two images, one point of it at a time.

Both ends are encoded once; moving along the line only decodes.
"""

import torch
from torch import Tensor

from genrev.models.inference import inference
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["between", "ends"]


def ends(model: GenerativeAutoencoder, x_a: Tensor, x_b: Tensor, restricted: bool = True) -> Tensor:
    """Encode two images (1, C, H, W) in [0, 1], clamped to the restricted space or not; (2, D)."""
    with inference(model) as device:
        z = model.encode(torch.cat((x_a, x_b)).to(device))
        return model.prior.clamp(z) if restricted else z


def between(model: GenerativeAutoencoder, z: Tensor, t: float) -> Tensor:
    """Decode ``(1 - t) z[0] + t z[1]``, t from 0 to 1; image (C, H, W), not clipped."""
    with inference(model):
        return model.decode(((1 - t) * z[0] + t * z[1]).unsqueeze(0))[0].cpu()
