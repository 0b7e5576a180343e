r"""Losses of the latent adversary: the paper's hinge, and the Wasserstein autoencoder's logits.

A discriminator D scores points of the restricted latent space; *real* are samples s of the prior,
*fake* are the encodings z of images, active dimensions only.

**Hinge** (Schirrmeister et al. 2018, Eq. 3). D is to score real points at least 1
and fake ones at most -1, the encoder is to get its encodings scored high:

.. math:: L_D = E_s \max(0, 1 - D(s)) + E_z \max(0, 1 + D(z)), \qquad
          L_E = - E_z \, D(z) .

With densities p of the prior and q of the encodings, the best D is sign(p - q), and its loss twice
the mass that both share, 2 (1 - TV(p, q)): 2 when they are equal, as for D = 0, and 0 when they do
not overlap. The authors' code (`Continue_Adversarial.ipynb`) plays the same game with -D for D.

**Cross-entropy** (Tolstikhin et al. 2018, Algorithm 1). D(z) is the logit of the probability that z
is a sample of the prior, with :math:`\varsigma` the logistic function:

.. math:: L_D = - E_s \log \varsigma(D(s)) - E_z \log (1 - \varsigma(D(z))), \qquad
          L_E = - E_z \log \varsigma(D(z)) .

The best D is log p - log q, and its loss is 2 log 2 less twice the Jensen-Shannon divergence. The
encoder's loss is the non-saturating one, which has a gradient where D is sure.

References: Lim and Ye, "Geometric GAN" (2017); Miyato et al., "Spectral normalization for
generative adversarial networks" (2018).
"""

from torch import Tensor
from torch.nn import functional as F


def hinge_discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """What the discriminator minimises, 0 or more; scores past the margin of 1 pull no more.

    Args:
        real_scores: scores of samples of the prior, (m,).
        fake_scores: scores of encodings, detached from the encoder, (n,).

    Example:
        >>> import torch
        >>> real, fake = torch.tensor([3.0, 0.5]), torch.tensor([-2.0, -1.0, 2.0])
        >>> float(hinge_discriminator_loss(real, fake))
        1.25
    """
    return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()


def hinge_encoder_loss(fake_scores: Tensor) -> Tensor:
    """What the encoder minimises: minus the mean score (n,) of its encodings, without a margin."""
    return -fake_scores.mean()


def cross_entropy_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """What a discriminator of logits minimises, 0 or more.

    Args:
        real_logits: logits of samples of the prior, (m,).
        fake_logits: logits of encodings, detached from the encoder, (n,).

    Example:
        >>> import torch
        >>> loss = cross_entropy_discriminator_loss(torch.zeros(3), torch.zeros(2))
        >>> round(float(loss.exp()), 4)  # one of two, twice
        4.0
    """
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def cross_entropy_encoder_loss(fake_logits: Tensor) -> Tensor:
    """What the encoder minimises, 0 or more: its form that does not saturate, of logits (n,)."""
    return F.softplus(-fake_logits).mean()
