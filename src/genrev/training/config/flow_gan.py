"""Options of the method ``flow-gan``: an adversary on images."""

from dataclasses import dataclass
from typing import Literal

from genrev.networks import Init, RevNetConfig

__all__ = ["FlowGANConfig"]


@dataclass(frozen=True)
class FlowGANConfig:
    """Training of a bijective network to draw images that an adversary takes for real.

    Args:
        network: name of a preset RevNet without padding, or the fields of a ``RevNetConfig``, or
            ``preset: NAME`` and some of them; its ``memory``, ``exact`` and ``compile`` are
            replaced by those of ``EngineConfig``.
        init: initialisation of a preset, see ``RevNetConfig``.
        prior: density of every latent dimension.
        likelihood_weight: weight of the bits per dimension beside the score of the discriminator,
            whose weight is 1; 0 leaves the adversary alone.
        discriminator_width: channels of its first convolution.
        discriminator_lr: learning rate of Adam for the discriminator.
        lr: learning rate of Adam for the network.
        betas: decay rates of both Adams.
        schedule: keep the learning rates, or let them fall linearly to zero.
        heldout_every: steps between two measurements of the bits per dimension of the test split,
            reported as ``heldout_bits_per_dim``; null measures once per epoch.
    """

    network: str | RevNetConfig = "digits"
    init: Init = "torch"
    prior: Literal["logistic", "gaussian"] = "gaussian"
    likelihood_weight: float = 1.0
    discriminator_width: int = 32
    discriminator_lr: float = 4e-4
    lr: float = 2e-4
    betas: tuple[float, float] = (0.0, 0.9)
    schedule: Literal["constant", "linear"] = "constant"
    heldout_every: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # YAML knows lists only
