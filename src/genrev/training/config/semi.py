"""Options of the method ``semi``: class-conditional Gaussians from few labels."""

from dataclasses import dataclass
from typing import Literal

from genrev.networks import Init, RevNetConfig

__all__ = ["SemiConfig"]


@dataclass(frozen=True)
class SemiConfig:
    """Training on many images of which few have labels.

    Args:
        network: name of a preset RevNet, or the fields of a ``RevNetConfig``, or
            ``preset: NAME`` and some of them; its ``memory``, ``exact`` and ``compile`` are
            replaced by those of ``EngineConfig``.
        init: initialisation of a preset, see ``RevNetConfig``.
        labels_per_class: images of every class whose label is used, chosen at random by the seed;
            all other labels are never looked at.
        active_dims: number of active latent dimensions, those with the largest standard
            deviation in the untrained encodings (with ``factor_out`` those that pass through all
            stages come first); null makes all of them active.
        bound: the clamp cuts active dimensions to [-bound, bound]; null does not cut.
        reconstruction_weight: weight of the L1 loss on the decoded clamped encoding.
        clamp_weight: weight of the L2 distance between encodings and clamped encodings.
        labelled_weight: weight of the transport of labelled encodings to their class's Gaussian,
            summed over the classes.
        mixture_weight: weight of the transport of unlabelled encodings to the mixture of all
            Gaussians.
        posterior_weight: weight of the cross-entropy of labelled encodings' class posterior.
        transport_start: fraction of the steps after which the last three set in; the Gaussians
            are initialised from labelled encodings at that step.
        lr: learning rate of Adam for the network.
        prior_lr: learning rate of Adam for means and standard deviations.
        schedule: keep the learning rates, or let them fall linearly to zero.
        heldout_every: steps between two measurements of the test split's classification accuracy,
            reported as ``heldout_accuracy``.
    """

    network: str | RevNetConfig = "digits"
    init: Init = "torch"
    labels_per_class: int = 10
    active_dims: int | None = 16
    bound: float | None = 2.0
    reconstruction_weight: float = 10.0
    clamp_weight: float = 10.0
    labelled_weight: float = 0.1
    mixture_weight: float = 1.0
    posterior_weight: float = 1.0
    transport_start: float = 0.25
    lr: float = 1e-3
    prior_lr: float = 3e-3
    schedule: Literal["constant", "linear"] = "linear"
    heldout_every: int = 250
