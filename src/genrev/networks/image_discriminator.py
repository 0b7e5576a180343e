"""The adversary that tells images drawn by the model from images of the data.

Convolutions that halve the map until it is at most four pixels wide, leaky ReLUs between them, then
one linear layer; every weight is divided by its largest singular value as PyTorch's
``spectral_norm`` estimates it. There is no normalisation over the batch, so the score of an image
does not depend on the others.

References: Miyato et al., "Spectral normalization for generative adversarial networks" (2018);
Grover et al., "Flow-GAN" (2018), for what it is used for.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["ImageDiscriminator"]

_SMALLEST_SIDE = 4


class ImageDiscriminator(nn.Module):
    """Scores images, high for those of the data.

    Args:
        image_shape: channels, height and width of the images.
        width: channels after the first convolution; doubled whenever the map is halved.

    Example:
        >>> discriminator = ImageDiscriminator((1, 28, 28), 16)
        >>> discriminator(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5])
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int = 32) -> None:
        super().__init__()
        channels, height, side = image_shape
        layers: list[nn.Module] = [spectral_norm(nn.Conv2d(channels, width, 3, padding=1))]
        layers.append(nn.LeakyReLU(0.1))
        while side > _SMALLEST_SIDE:
            layers.append(spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)))
            layers.append(nn.LeakyReLU(0.1))
            width, height, side = 2 * width, height // 2, side // 2
        self.layers = nn.Sequential(*layers)
        self.score = spectral_norm(nn.Linear(width * height * side, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Score images (N, C, H, W) in [0, 1]: (N,), of any size and sign.

        In training mode this advances the power iteration by one step. It computes in the
        parameters' precision under autocast too, as singular values need it.
        """
        with torch.autocast(x.device.type, enabled=False):
            features = self.layers(2 * x.float() - 1)  # (N, width, h, w)
            return self.score(features.flatten(1)).squeeze(1)
