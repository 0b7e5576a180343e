"""Options of the method ``baseline``: the autoencoders that RevNets are compared with."""

from dataclasses import dataclass
from typing import Literal

from genrev.networks import ConvAutoencoderConfig

__all__ = ["BaselineConfig"]


@dataclass(frozen=True)
class BaselineConfig:
    """Training of a convolutional autoencoder whose latents are to follow a standard normal.

    The defaults are those of the Wasserstein autoencoder with an MMD on CelebA.

    Args:
        kind: variational autoencoder (vae), or Wasserstein autoencoder with the maximum mean
            discrepancy (wae-mmd) or with an adversary in the latent space (wae-gan). The first
            has a stochastic encoder, whatever the network says, the others have none.
        network: name of a preset, or the fields of a ``ConvAutoencoderConfig``, or ``preset: NAME``
            and some of them.
        reconstruction: squared error, or cross-entropy of pixels as probabilities (bernoulli),
            both summed over an image.
        reconstruction_weight: weight of it. For a Gaussian decoder of variance v it is 1 / (2 v);
            for pixels in [-1, 1] instead of [0, 1], four times that.
        latent_weight: weight of what draws the latents to the prior: divergence, MMD, or the
            encoder's loss against the adversary (λ of the Wasserstein autoencoder).
        discriminator_hidden: width of the four layers of the adversary.
        discriminator_prior: whether the adversary is given the density of the prior.
        discriminator_lr: learning rate of Adam for the adversary.
        lr: learning rate of Adam for encoder and decoder.
        betas: decay rates of both.
        schedule: keep the learning rates, let them fall linearly to zero, or in steps: by 2 after
            six elevenths of the run and by 5 more after ten, as after 30 and 50 of the 55 epochs
            of the Wasserstein autoencoder.
    """

    kind: Literal["vae", "wae-mmd", "wae-gan"] = "wae-mmd"
    network: str | ConvAutoencoderConfig = "wae64"
    reconstruction: Literal["squared", "bernoulli"] = "squared"
    reconstruction_weight: float = 4.0
    latent_weight: float = 100.0
    discriminator_hidden: int = 512
    discriminator_prior: bool = True
    discriminator_lr: float = 1e-3
    lr: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    schedule: Literal["constant", "linear", "steps"] = "steps"

    def __post_init__(self) -> None:
        # YAML knows lists only.
        object.__setattr__(self, "betas", tuple(self.betas))
