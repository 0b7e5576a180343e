"""Options of the method ``transport``: class-conditional Gaussians, without an adversary."""

from dataclasses import dataclass
from typing import Literal

from genrev.networks import Init, RevNetConfig

__all__ = ["TransportConfig"]


@dataclass(frozen=True)
class TransportConfig:
    """Adversary-free training by optimal transport to learned class-conditional Gaussians.

    Args:
        network: name of a preset RevNet, or the fields of a ``RevNetConfig``, or
            ``preset: NAME`` and some of them; its ``memory``, ``exact`` and ``compile`` are
            replaced by those of ``EngineConfig``, whatever they are.
        init: initialisation of a preset, see ``RevNetConfig``.
        active_dims: number of active latent dimensions, those with the largest standard
            deviation in the untrained encodings (with ``factor_out`` those that pass through all
            stages come first); null makes all of them active.
        bound: the clamp cuts active dimensions to [-bound, bound]; null does not cut.
        reconstruction_weight: weight of the L1 loss on the decoded clamped encoding.
        clamp_weight: weight of the L2 distance between encodings and clamped encodings.
        transport: exact transport as in the paper, or debiased.
        transport_weight: weight of the transport, summed over the classes.
        transport_start: fraction of the steps after which transport sets in; the Gaussians
            are initialised from the encodings at that step.
        transport_memory: number of past batches whose encodings take part in the transport, as
            constants; more points per class show more of the shape of their distribution.
        perturbation_weight: weight of the perturbation loss.
        perturbation_std: standard deviation of the perturbation.
        lr: learning rate of Adam for the network.
        prior_lr: learning rate of Adam for means and standard deviations.
        schedule: keep the learning rates, or let them fall linearly to zero.
    """

    network: str | RevNetConfig = "mnist"
    init: Init = "torch"
    active_dims: int | None = None
    bound: float | None = None
    reconstruction_weight: float = 0.0
    clamp_weight: float = 0.0
    transport: Literal["exact", "debiased"] = "exact"
    transport_weight: float = 1.0
    transport_start: float = 0.0
    transport_memory: int = 0
    perturbation_weight: float = 0.0
    perturbation_std: float = 0.01
    lr: float = 1e-3
    prior_lr: float = 1e-3
    schedule: Literal["constant", "linear"] = "constant"
