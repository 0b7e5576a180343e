r"""The adversary of the Wasserstein autoencoder: tells encodings from samples of a standard normal.

Four linear layers of 512 units with ReLU, then one to a logit. The best logit is
:math:`\log p(z) - \log q(z)` with p the density of the prior and q that of the encodings. Of the
two, p is known: *with the prior's density*, :math:`-\lVert z \rVert^2 / 2` is added to the logit
and the layers have to learn log q alone (constants go into the last bias).

Reference: Tolstikhin et al., "Wasserstein auto-encoders" (2018), appendix, who take the heuristic
from Mescheder et al., "Adversarial variational Bayes" (2017), and use it on CelebA.
"""

from itertools import pairwise

from torch import Tensor, nn

__all__ = ["WAEDiscriminator"]


class WAEDiscriminator(nn.Module):
    """Logit that a latent is a sample of the prior.

    Args:
        dim: number of latent dimensions.
        hidden: width of the layers.
        layers: number of hidden layers.
        with_prior: add the log-density of the standard normal, up to a constant.

    Example:
        >>> import torch
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
