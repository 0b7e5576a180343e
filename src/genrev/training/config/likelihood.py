"""Options of the method ``likelihood``: maximum likelihood by change of variables."""

from dataclasses import dataclass
from typing import Literal

from genrev.networks import Init, RevNetConfig

__all__ = ["LikelihoodConfig"]


@dataclass(frozen=True)
class LikelihoodConfig:
    """Training of a bijective network to give images a high density.

    Args:
        network: name of a preset RevNet without padding, or the fields of a ``RevNetConfig``, or
            ``preset: NAME`` and some of them (``coupling`` and ``scaling`` make it NICE or Real
            NVP); its ``memory``, ``exact`` and ``compile`` are replaced by those of
            ``EngineConfig``, whatever they are.
        init: initialisation of a preset, see ``RevNetConfig``.
        prior: density of every latent dimension.
        lr: learning rate of Adam.
        betas: decay rates of Adam.
        schedule: keep the learning rate, or let it fall linearly to zero.
        heldout_every: steps between two measurements of the bits per dimension of the test split,
            reported as ``heldout_bits_per_dim``; null measures once per epoch.
    """

    network: str | RevNetConfig = "digits"
    init: Init = "torch"
    prior: Literal["logistic", "gaussian"] = "logistic"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "linear"] = "constant"
    heldout_every: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # YAML knows lists only
