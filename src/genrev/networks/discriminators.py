r"""Adversaries, which tell one kind of points or images from another.

**On active dimensions** (``LatentDiscriminator``, of the paper):

.. math:: D(z) = W_3 \, \mathrm{ReLU}\bigl( W_2 \, \mathrm{CReLU}(W_1 z + b_1) + b_2 \bigr) + b_3

with every W divided by its largest singular value (spectral normalisation). ReLU and CReLU do not
stretch distances either, so D is 1-Lipschitz, and the gradient of a score at most 1 long.

The singular values are estimated by power iteration, 15 steps when the network is made and **one on
every forward pass in training mode**; the estimate is never too large, so D may be slightly steeper
than 1 while the weights move. In evaluation mode nothing is iterated, and equal inputs get equal
scores. The singular vectors travel in the ``state_dict``: a resumed run goes on with the same ones.

**On whole latents** (``WAEDiscriminator``, of the Wasserstein autoencoder): the best logit is
:math:`\log p(z) - \log q(z)`, p the known density of the prior and q that of the encodings. *With
the prior's density*, :math:`-\lVert z \rVert^2 / 2` is added, and the layers learn log q alone.

**On images** (``ImageDiscriminator``): convolutions that halve the map until its shorter side is at
most four pixels, leaky ReLUs between them, then one linear layer, all with spectral normalisation.

**On pairs of image and latent** (``PairDiscriminator``, of ALI and BiGAN): the same convolutions,
a linear layer for either half of the pair, two more for both together.

References: Schirrmeister et al. 2018, Section 3.1 (64 to 400, CReLU, 800 to 800, ReLU, to 1);
Miyato et al., "Spectral normalization for generative adversarial networks" (2018); Shang et al.,
"Understanding and improving convolutional neural networks via concatenated rectified linear units"
(2016); Tolstikhin et al., "Wasserstein auto-encoders" (2018), appendix, with the heuristic of
Mescheder et al., "Adversarial variational Bayes" (2017); Grover et al., "Flow-GAN" (2018), for what
the one on images is used for; Dumoulin et al., "Adversarially learned inference" (2017).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class CReLU(nn.Module):
    r"""Concatenated ReLU: :math:`x \mapsto (\mathrm{ReLU}(x), \mathrm{ReLU}(-x))`.

    It keeps the length of x and is 1-Lipschitz: two numbers of one sign keep their distance, others
    get :math:`\sqrt{a^2 + b^2}` for \|a\| + \|b\|. The authors' code negates the second half, which
    gives the same family of networks, as the next layer's weights can take up the sign.

    Example:
        >>> CReLU()(torch.tensor([[1.0, -2.0]]))
        tensor([[1., 0., 0., 2.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, ...) to (N, 2C, ...)."""
        return torch.cat((F.relu(x), F.relu(-x)), 1)


class LatentDiscriminator(nn.Module):
    """Scores points of the restricted latent space, high for samples of the prior.

    Args:
        dim: number k of active dimensions.
        hidden: width of the first layer, before CReLU doubles it, and of the second. The default
            is the paper's; the authors' code has (200, 400).

    Example:
        >>> LatentDiscriminator(64)(torch.randn(5, 64)).shape
        torch.Size([5])
    """

    def __init__(self, dim: int, hidden: tuple[int, int] = (400, 800)) -> None:
        super().__init__()
        sizes = (dim, hidden[0]), (2 * hidden[0], hidden[1]), (hidden[1], 1)
        first, second, third = (spectral_norm(nn.Linear(*size)) for size in sizes)
        self.layers = nn.Sequential(first, CReLU(), second, nn.ReLU(), third)

    def forward(self, z: Tensor) -> Tensor:
        """Scores (N,) of active dimensions (N, k); in training a step of power iteration."""
        # Singular values of 8-bit mantissas would void the Lipschitz bound, and the network is too
        # small for a gain in speed.
        with torch.autocast(z.device.type, enabled=False):
            return self.layers(_like_weights(z, self)).squeeze(1)


class WAEDiscriminator(nn.Module):
    """Logit that a latent is a sample of the prior.

    ``dim`` latent dimensions enter ``layers`` layers of width ``hidden``; ``with_prior`` adds the
    log-density of the standard normal to their output, up to a constant.

    Example:
        >>> WAEDiscriminator(8)(torch.randn(5, 8)).shape
        torch.Size([5])
    """

    def __init__(
        self, dim: int, hidden: int = 512, layers: int = 4, with_prior: bool = False
    ) -> None:
        super().__init__()
        self.with_prior = with_prior
        widths = [dim, *[hidden] * layers]
        blocks = [module for pair in pairwise(widths) for module in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*blocks, nn.Linear(widths[-1], 1))

    def forward(self, z: Tensor) -> Tensor:
        """Logits (N,) of latents (N, D)."""
        logits = self.layers(z).squeeze(1)
        return logits - z.square().sum(1) / 2 if self.with_prior else logits


class ImageDiscriminator(nn.Module):
    """Scores images, high for those of the data.

    Args:
        image_shape: channels, height and width of the images.
        width: channels after the first convolution; doubled whenever the map is halved.

    Example:
        >>> ImageDiscriminator((1, 28, 28), 16)(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5])
    """

    def __init__(self, image_shape: tuple[int, ...], width: int = 32) -> None:
        super().__init__()
        layers, features = _halving(image_shape, width)
        self.layers = nn.Sequential(*layers)
        self.score = spectral_norm(nn.Linear(features, 1))

    def features(self, x: Tensor) -> list[Tensor]:
        """What each convolution makes of images (N, C, H, W), from fine to coarse."""
        found = []
        with torch.autocast(x.device.type, enabled=False):
            x = self._centred(x)
            for layer in self.layers:
                x = layer(x)
                if isinstance(layer, nn.LeakyReLU):
                    found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N,) of images (N, C, H, W) in [0, 1]; in training a step of power iteration."""
        with torch.autocast(x.device.type, enabled=False):
            features = self.layers(self._centred(x))  # (N, width, h, w)
            return self.score(features.flatten(1)).squeeze(1)

    def _centred(self, x: Tensor) -> Tensor:
        return 2 * _like_weights(x, self) - 1


class PairDiscriminator(nn.Module):
    """Scores pairs of an image and a latent, high for images with their encodings.

    Args:
        image_shape: channels, height and width of the images.
        dim: number k of active dimensions.
        width: channels after the first convolution; doubled whenever the map is halved.
        hidden: width of the linear layers.

    Example:
        >>> PairDiscriminator((1, 8, 8), 6, 4, 16)(torch.rand(5, 1, 8, 8), torch.randn(5, 6)).shape
        torch.Size([5])
    """

    def __init__(
        self, image_shape: tuple[int, ...], dim: int, width: int = 16, hidden: int = 256
    ) -> None:
        super().__init__()
        layers, features = _halving(image_shape, width)
        seen = spectral_norm(nn.Linear(features, hidden))
        self.images = nn.Sequential(*layers, nn.Flatten(), seen, nn.LeakyReLU(0.1))
        self.latents = nn.Sequential(spectral_norm(nn.Linear(dim, hidden)), nn.LeakyReLU(0.1))
        both = spectral_norm(nn.Linear(2 * hidden, hidden))
        score = spectral_norm(nn.Linear(hidden, 1))
        self.score = nn.Sequential(both, nn.LeakyReLU(0.1), score)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Scores (N,) of images (N, C, H, W) in [0, 1], each with its active dimensions (N, k)."""
        with torch.autocast(x.device.type, enabled=False):
            both = self.images(2 * _like_weights(x, self) - 1), self.latents(_like_weights(z, self))
            return self.score(torch.cat(both, 1)).squeeze(1)


def _like_weights(x: Tensor, module: nn.Module) -> Tensor:
    """In the number format of the weights, which autocast may not choose here."""
    return x.to(next(module.parameters()).dtype)


def _halving(image_shape: tuple[int, ...], width: int) -> tuple[list[nn.Module], int]:
    """Convolutions down to a shorter side of at most four pixels; how many numbers remain."""
    channels, height, side = image_shape
    layers = [spectral_norm(nn.Conv2d(channels, width, 3, padding=1)), nn.LeakyReLU(0.1)]
    while min(height, side) > 4:
        conv = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        layers += [spectral_norm(conv), nn.LeakyReLU(0.1)]
        width, height, side = 2 * width, height // 2, side // 2
    return layers, width * height * side
