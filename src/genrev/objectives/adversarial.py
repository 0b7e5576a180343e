r"""Hinge losses of the latent adversary (Schirrmeister et al. 2018, Eq. 3).

A discriminator D scores points of the restricted latent space; *real* are samples s of the prior,
*fake* are the encodings z of images, active dimensions only. D is to score real points at least 1
and fake ones at most -1, the encoder is to get its encodings scored high:

.. math:: L_D = E_s \max(0, 1 - D(s)) + E_z \max(0, 1 + D(z)), \qquad
          L_E = - E_z \, D(z) .

With p the density of the prior and q that of the encodings, the best D is sign(p - q), and its
loss is twice the mass that both share, 2 (1 - TV(p, q)): 2 when they are equal, which D = 0
reaches too, 0 when they do not overlap.

**Signs.** The authors' code (`Continue_Adversarial.ipynb`) calls the encodings real and the
samples fake, and lets the encoder minimise :math:`+E_z D(z)`. That is the same game with -D in
place of D. Here are the paper's signs, so a high score always means "looks like the prior".

References: Lim and Ye, "Geometric GAN" (2017); Miyato et al., "Spectral normalization for
generative adversarial networks" (2018).
"""

from torch import Tensor
from torch.nn import functional as F

__all__ = ["hinge_discriminator_loss", "hinge_encoder_loss"]


def hinge_discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """What the discriminator minimises; scores past the margin of 1 pull no more.

    Args:
        real_scores: scores of samples of the prior, (m,).
        fake_scores: scores of encodings, detached from the encoder, (n,). The two means are
            taken apart, so n and m may differ.

    Returns:
        Scalar tensor, 0 or more.

    Example:
        >>> import torch
        >>> real, fake = torch.tensor([3.0, 0.5]), torch.tensor([-2.0, -1.0, 2.0])
        >>> float(hinge_discriminator_loss(real, fake))
        1.25
    """
    return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()


def hinge_encoder_loss(fake_scores: Tensor) -> Tensor:
    """What the encoder minimises: minus the mean score, without a margin.

    Args:
        fake_scores: scores of encodings, (n,).

    Returns:
        Scalar tensor of either sign.
    """
    return -fake_scores.mean()
