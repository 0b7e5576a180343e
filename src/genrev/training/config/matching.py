"""Options of the method ``matching``: one prior for all images, on few active dimensions."""

from dataclasses import dataclass
from typing import Literal

from genrev.networks import Init, RevNetConfig
from genrev.objectives import Colours

__all__ = ["MatchingConfig"]


@dataclass(frozen=True)
class MatchingConfig:
    """Training of few active dimensions and a prior that match; the paper's way to faces.

    Args:
        network: name of a preset RevNet, or the fields of a ``RevNetConfig``, or
            ``preset: NAME`` and some of them; its ``memory``, ``exact`` and ``compile`` are
            replaced by those of ``EngineConfig``, whatever they are.
        init: initialisation of a preset, see ``RevNetConfig``.
        prior: standard normal, or uniform on [-bound, bound], in every active dimension; or a
            mixture of Gaussians that is fitted to the encodings when the training is over, as
            ``genrev fit-prior`` does (to those of a sample, where data are streamed). Until then it
            is one Gaussian that follows the batches.
        mixture_components: Gaussians of that mixture.
        active_dims: number of active latent dimensions, those with the largest standard
            deviation in the untrained encodings (with ``factor_out`` those that pass through all
            stages come first); null makes all of them active.
        bound: the clamp cuts active dimensions to [-bound, bound]; null does not cut.
        reconstruction_weight: weight of the L1 loss on the decoded clamped encoding.
        reconstruction_colours: whether that loss compares red, green and blue, as in the paper, or
            brightness and two differences of colours; see ``clamped_reconstruction_loss``.
        clamp_weight: weight of the L2 distance between encodings and clamped encodings.
        matching: what tells encodings from the prior: a discriminator that is trained along
            (adversarial), debiased exact optimal transport, the sliced Wasserstein distance, or
            the maximum mean discrepancy with a Gaussian or an inverse multiquadratic kernel. None
            of them (none) with a mixture, which comes to the encodings: all steps then belong to
            the reconstruction phase.
        matching_weight: weight of that distance.
        prior_samples: samples of the prior a step; null takes as many as the batch has images,
            which transport and sliced need.
        discriminator_hidden: width of its first layer, before CReLU doubles it, and second.
        discriminator_lr: learning rate of Adam for the discriminator.
        discriminator_clip: largest gradient norm of the discriminator; null does not clip.
            ``trainer.gradient_clip`` is for the network.
        lr: learning rate of Adam for the network.
        betas: decay rates of both Adams.
        schedule: keep the learning rates, or let them fall linearly to zero in either phase.
    """

    network: str | RevNetConfig = "celeba64"
    init: Init = "torch"
    prior: Literal["gaussian", "uniform", "mixture"] = "gaussian"
    mixture_components: int = 10
    active_dims: int | None = 64
    bound: float | None = 2.0
    reconstruction_weight: float = 10.0
    reconstruction_colours: Colours = "rgb"
    clamp_weight: float = 10.0
    matching: Literal["adversarial", "transport", "sliced", "mmd-rbf", "mmd-imq", "none"] = (
        "adversarial"
    )
    matching_weight: float = 1.0
    prior_samples: int | None = None
    discriminator_hidden: tuple[int, int] = (400, 800)
    discriminator_lr: float = 4e-4
    discriminator_clip: float | None = 1000.0
    lr: float = 1e-4
    betas: tuple[float, float] = (0.0, 0.9)
    schedule: Literal["constant", "linear"] = "constant"

    def __post_init__(self) -> None:
        # YAML knows lists only.
        for name in ("discriminator_hidden", "betas"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
