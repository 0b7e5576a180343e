r"""The adversary that tells encodings from samples of the prior.

.. math:: D(z) = W_3 \, \mathrm{ReLU}\bigl( W_2 \, \mathrm{CReLU}(W_1 z + b_1) + b_2 \bigr) + b_3

with every W divided by its largest singular value (spectral normalisation). ReLU and CReLU do not
stretch distances either, so D is 1-Lipschitz: :math:`|D(a) - D(b)| \le |a - b|`. However well D
tells the two apart, the gradient of a score in its encoding is at most 1 long.

The bound holds as exactly as the singular values are known. They are estimated by power iteration,
15 steps when the network is made and **one on every forward pass in training mode**; the estimate
is never too large, so D may be slightly steeper than 1 while the weights move. In evaluation mode
nothing is iterated, and equal inputs get equal scores. The singular vectors are buffers: they
travel in the ``state_dict``, so a resumed run goes on with the same estimates.

References: Schirrmeister et al. 2018, Section 3.1 (64 to 400, CReLU, 800 to 800, ReLU, to 1);
Miyato et al., "Spectral normalization for generative adversarial networks" (2018); Shang et al.,
"Understanding and improving convolutional neural networks via concatenated rectified linear units"
(2016).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["CReLU", "LatentDiscriminator"]


class CReLU(nn.Module):
    r"""Concatenated ReLU: :math:`x \mapsto (\mathrm{ReLU}(x), \mathrm{ReLU}(-x))`.

    It loses nothing, keeps the length of x, and is 1-Lipschitz: where two numbers have one sign
    their distance is kept, where they have not the larger distance \|a\| + \|b\| becomes
    :math:`\sqrt{a^2 + b^2}`. The authors' code negates the second half; that is the same family
    of networks, as the next layer's weights can take the sign up without a change of their
    singular values.

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
        >>> discriminator = LatentDiscriminator(64)
        >>> discriminator(torch.randn(5, 64)).shape
        torch.Size([5])
    """

    def __init__(self, dim: int, hidden: tuple[int, int] = (400, 800)) -> None:
        super().__init__()
        first, second = hidden
        self.layers = nn.Sequential(
            spectral_norm(nn.Linear(dim, first), n_power_iterations=1),
            CReLU(),
            spectral_norm(nn.Linear(2 * first, second), n_power_iterations=1),
            nn.ReLU(),
            spectral_norm(nn.Linear(second, 1), n_power_iterations=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Score active dimensions (N, k), as ``prior.restrict`` gives them.

        In training mode this advances the power iteration by one step. It computes in the
        parameters' precision under autocast too: singular values of 8-bit mantissas would void
        the Lipschitz bound, and the network is too small for a gain in speed.

        Returns:
            Scores (N,), of any size and sign.
        """
        with torch.autocast(z.device.type, enabled=False):
            return self.layers(z).squeeze(1)
