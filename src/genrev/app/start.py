"""Where an exploration starts in the latent space, and where moving the sliders leads.

A slider counts standard deviations of the prior, so the same distance means the same surprise in
every dimension: ``z = start + sum_i offset_i scale_i e_i``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from genrev.models.inference import inference
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["from_image", "from_mean", "from_sample", "moved"]


def from_mean(model: GenerativeAutoencoder, label: int | None = None) -> Tensor:
    """The mean of the prior or of one class, shape (D,)."""
    with inference(model):
        return model.prior.center(label).detach()


def from_sample(model: GenerativeAutoencoder, label: int | None = None, seed: int = 0) -> Tensor:
    """A draw from the prior or from one class, shape (D,)."""
    with inference(model):
        generator = torch.Generator().manual_seed(seed)
        if label is None and model.prior.num_classes > 1:  # else every seed would give class 0
            label = int(torch.randint(model.prior.num_classes, (1,), generator=generator))
        return model.prior.sample(1, label, generator)[0]


def from_image(model: GenerativeAutoencoder, x: Tensor, restricted: bool = True) -> Tensor:
    """The encoding of one image (1, C, H, W), shape (D,).

    Args:
        model: encoder and prior.
        x: the image in [0, 1].
        restricted: project it onto the restricted latent space. ``False`` keeps what the active
            dimensions do not know, so that moving them edits the image itself.
    """
    with inference(model) as device:
        z = model.encode(x.to(device))
        return (model.prior.clamp(z) if restricted else z)[0]


def moved(
    model: GenerativeAutoencoder,
    start: Tensor,
    dims: Sequence[int],
    offsets: Sequence[float],
    label: int | None = None,
) -> Tensor:
    """Decode the start after moving it along single dimensions.

    Args:
        model: decoder and prior.
        start: where to start from, shape (D,).
        dims: the latent dimensions moved.
        offsets: how far each, in standard deviations of the prior (of the class ``label``).
        label: the class.

    Returns:
        Image (C, H, W), not clipped.
    """
    with inference(model) as device:
        z = start.to(device).clone()
        scale = model.prior.scale(label)
        for dim, offset in zip(dims, offsets, strict=True):
            z[dim] += offset * scale[dim]
        return model.decode(z.unsqueeze(0))[0].cpu()
