r"""One prior for all images, on few active dimensions: the paper's way to faces, and its relatives.

The **reconstruction phase** trains

.. math::
   \lambda_r \lVert x - \mathrm{decode}(\bar z) \rVert_1 + \lambda_c \lVert z - \bar z \rVert_2

with :math:`\bar z` the clamped encoding, so that the active dimensions tell what is in an image.
The **matching phase** adds what draws their distribution to the prior, from fresh states of the
optimiser: the paper's latent adversary, or a distance that needs none. With a mixture as prior
nothing is matched: it is fitted to the encodings when the training is over, and until then one
Gaussian follows the batches, so that samples show how far the network is.

**Classes.** A network with a ``context`` is told the class of every image, so that the active
dimensions need not say it and are left to tell images of one class apart. All classes then share a
prior, but for a mixture: of it each class gets its own.

**Power iteration.** The discriminator is in training mode while it is trained and in evaluation
mode while it scores for the RevNet: one power iteration per update of its weights, as spectral
normalisation means it. (The authors' code iterates on every pass.)

References: Schirrmeister et al. 2018, Sections 2.2 and 3.1; Ghosh et al., "From variational to
deterministic autoencoders" (2020), for priors fitted afterwards.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from genrev import objectives
from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeModel
from genrev.networks import LatentDiscriminator
from genrev.options import Count, OptionError, PathTo, Weight
from genrev.priors import PRIORS
from genrev.training.config import RunConfig
from genrev.training.ex_post import require_enough, restricted_encodings
from genrev.training.methods.adversarial import AdversarialMethod
from genrev.training.methods.image_terms import ImageOptions, ImageTerms
from genrev.training.methods.method import Batch, Noise, Phase, require_batch_multiple
from genrev.training.start import take_over

_DIRECTIONS = 128  # of the sliced distance
_SHARE_OF_A_BATCH = 0.01  # in the moments that follow the encodings


class Matching(AdversarialMethod):
    """Training of few active dimensions and a prior that match."""

    class Options(ImageOptions, AdversarialMethod.Options):
        reconstruction_weight: Weight = 10.0
        """Weight of the L1 loss on the decoded clamped encoding."""
        reconstruction_colours: objectives.Colours = "rgb"
        """Whether that loss compares red, green and blue, as in the paper, or brightness and two
        differences of colours."""
        clamp_weight: Weight = 10.0
        """Weight of the L2 distance between encodings and clamped encodings."""
        criterion: Literal["adversarial", "transport", "sliced", "mmd-rbf", "mmd-imq", "none"] = (
            "adversarial"
        )
        """What tells encodings from the prior: a discriminator that is trained along
        (adversarial), debiased exact optimal transport, the sliced Wasserstein distance, or the
        maximum mean discrepancy with a Gaussian or an inverse multiquadratic kernel. None of them
        (none) with a mixture or a flow, which comes to the encodings: all steps then belong to the
        reconstruction phase."""
        matching_weight: Weight = 1.0
        """Weight of that distance."""
        prior_samples: Count | None = None
        """Samples of the prior a step; null takes as many as the batch has images, which transport
        and sliced need."""
        discriminator_hidden: tuple[Count, Count] = (400, 800)
        """Widths of the discriminator's first layer, before CReLU doubles it, and second."""
        reconstruction_steps: int = Field(default=0, ge=0)
        """Steps of the reconstruction phase, among those of trainer.max_steps."""
        reconstruction_run: Annotated[str, PathTo(or_name=True)] | None = None
        """Run whose network and active dimensions are taken over, in place of a reconstruction
        phase of this run's own. This run then begins with the step reconstruction_steps, on the
        images that would have been next."""
        reconstruction_clamp_weight: Weight | None = None
        """clamp_weight in the reconstruction phase; null for the same."""

    options: Options
    conditional = True
    apart = ImageTerms.apart
    images: ImageTerms
    _active: Tensor
    """Active dimensions of the last batch, which a mixture follows."""

    def check(self, config: RunConfig) -> None:
        options, criterion, prior = self.options, self.options.criterion, config.prior.name
        if not PRIORS[prior].fitted and criterion == "none":
            raise OptionError(
                "--method.criterion none leaves encodings where they are, far from --prior "
                f"{prior}; make that {' or '.join(n for n in PRIORS if PRIORS[n].fitted)}."
            )
        if ImageTerms.asked(options) and not options.reconstruction_weight:
            raise OptionError(
                "--method.image_patches and --method.image_adversary are shares of the "
                "reconstruction's gradient, and --method.reconstruction_weight 0 leaves none; make "
                "that more than 0."
            )
        if criterion.startswith("mmd") and options.prior_samples == 1:
            raise OptionError(
                "--method.prior_samples must be 2 or more for a maximum mean discrepancy and is 1."
            )
        given = options.prior_samples not in (None, config.batch_size)
        if criterion in ("transport", "sliced") and given:
            raise OptionError(
                f"--method.criterion {criterion} pairs encodings with samples, so "
                f"--method.prior_samples must be null or {config.batch_size} and is "
                f"{options.prior_samples}."
            )
        steps, max_steps = options.reconstruction_steps, config.trainer.max_steps
        if options.reconstruction_run is not None and steps >= max_steps:
            raise OptionError(
                f"--trainer.max_steps {max_steps} leaves no steps after those that "
                f"--method.reconstruction_run has done; make it more than {steps}."
            )

    def check_data(self, config: RunConfig, data: ImageData) -> None:
        criterion = self.options.criterion
        colours, channels = self.options.reconstruction_colours, data.image_shape[0]
        if colours != "rgb" and channels != 3:
            raise OptionError(
                f"--method.reconstruction_colours {colours} needs images of red, green and blue "
                f"and these have {channels} channel(s); leave it out."
            )
        if criterion.startswith("mmd") and config.batch_size < 2:
            raise OptionError(
                f"--method.criterion {criterion} needs 2 images or more and --batch_size is "
                f"{config.batch_size}; take 128, for example."
            )
        # Debiased transport halves the batch of all processes.
        unit = math.lcm(config.trainer.processes, 2 if criterion == "transport" else 1)
        require_batch_multiple(config, unit)

    def initialise(self, model: GenerativeModel, data: ImageData) -> None:
        if self.options.reconstruction_run is not None:
            take_over(model, self.options.reconstruction_run)

    def prepare(self, model: GenerativeModel, data: ImageData, seed: int) -> None:
        super().prepare(model, data, seed)
        if ImageTerms.asked(self.options):
            self.images = ImageTerms(self.options, model.image_shape, seed)
        require_enough(model, data)

    @property
    def on_device(self) -> bool:
        """Unless it solves a transport."""
        return self.options.criterion != "transport"

    def build_discriminator(self, model: GenerativeModel) -> nn.Module | None:
        if self.options.criterion != "adversarial":
            return None
        return LatentDiscriminator(len(model.prior.active_dims), self.options.discriminator_hidden)

    @property
    def first_step(self) -> int:
        return self.options.reconstruction_steps if self.options.reconstruction_run else 0

    def phases(self, max_steps: int) -> Sequence[Phase]:
        steps = self.options.reconstruction_steps
        phases = [Phase("reconstruction")] if steps or self.options.criterion == "none" else []
        if self.options.criterion != "none" and steps < max_steps:
            phases.append(Phase("matching", steps, restart=True))
        return ImageTerms.phases(self.options, phases, max_steps)

    def trains_discriminator(self, phase: str, step_of_phase: int) -> bool:
        return phase.startswith("matching") and super().trains_discriminator(phase, step_of_phase)

    def discriminator_loss(self, model: GenerativeModel, batch: Batch, noise: Noise) -> Tensor:
        """Hinge loss of samples, which are real, and encodings."""
        with torch.no_grad():
            z = model.encode(batch.images, *batch.context(model))
            z = self._compared(model, model.prior.restrict(z).float())
        samples = self._samples(model, batch.total, noise)  # (m, k), on all ranks
        # One pass over both: one power iteration, and one function for the two.
        scores = self.learning()(torch.cat((samples, z)))
        return objectives.hinge_discriminator_loss(scores[: len(samples)], scores[len(samples) :])

    def losses(self, model: GenerativeModel, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Reconstruction and clamp, and in the matching phase the distance from the prior."""
        options, prior, given = self.options, model.prior, batch.context(model)
        z = model.encode(batch.images, *given)  # (n, D)
        z_clamped = prior.clamp(z)
        parts = {"clamp": objectives.clamp_penalty(z, z_clamped)}
        if options.reconstruction_weight:  # decoding is half the work
            decoded = model.decode(z_clamped, *given)
            parts["reconstruction"] = self._reconstruction(batch.images, decoded)
        # Kernels and solvers need float32, whatever f and g run in.
        with torch.autocast(z.device.type, enabled=False):
            active = prior.restrict(z).float()
            if batch.phase.startswith("matching"):
                compared = self._compared(model, active)
                parts["matching"] = self._matching(model, compared, batch, noise)
        if batch.phase.endswith("with images"):
            error = partial(self._weighted, batch.images)
            parts |= self.images.losses(model, batch, decoded, error, noise)
        if prior.fitted:
            self._active = batch.gather(active.detach())
        return parts

    def trained_along(self) -> list[dict[str, Any]]:
        return self.images.trained_along() if ImageTerms.asked(self.options) else []

    def _reconstruction(self, x: Tensor, decoded: Tensor) -> Tensor:
        colours = self.options.reconstruction_colours
        return objectives.clamped_reconstruction_loss(x, decoded, lambda image: image, colours)

    def _weighted(self, x: Tensor, decoded: Tensor) -> Tensor:
        return self.options.reconstruction_weight * self._reconstruction(x, decoded)

    def _matching(self, model: GenerativeModel, z: Tensor, batch: Batch, noise: Noise) -> Tensor:
        """How far this rank's active dimensions (n, k) are from the prior, as they are compared."""
        criterion = self.options.criterion
        if criterion == "adversarial":
            return objectives.hinge_encoder_loss(self.judging()(z))
        z = batch.gather(z)
        samples = self._samples(model, len(z), noise)
        if criterion == "transport":
            return objectives.debiased_transport_loss(z, samples)
        if criterion == "sliced":
            shape = _DIRECTIONS, z.shape[1]
            draw = partial(objectives.random_directions, *shape)
            directions = noise.draw("directions", draw, *shape)
            return objectives.sliced_wasserstein(z, samples, directions)
        # Kernels' widths are proportional to the prior's.
        std = 1.0 if model.prior.fitted else model.prior.scale().max().detach()
        kernel = objectives.rbf_kernel if criterion == "mmd-rbf" else objectives.imq_kernel
        return objectives.mmd(z / std, samples / std, kernel)

    def _compared(self, model: GenerativeModel, active: Tensor) -> Tensor:
        """Active dimensions (n, k); whitened where the prior comes to them, so to a normal one."""
        return model.prior.whitened(active) if model.prior.fitted else active

    def _samples(self, model: GenerativeModel, images: int, noise: Noise) -> Tensor:
        """Active dimensions of samples of the prior, (m, k), for a global batch of images."""
        n = self.options.prior_samples or images
        if model.prior.fitted:
            return noise.normal("prior", n, len(model.prior.active_dims))
        return model.prior.restrict(noise.latents(model.prior, n))

    def weights(self, phase: str) -> Mapping[str, float]:
        first = self.options.reconstruction_clamp_weight
        if first is None or not phase.startswith("reconstruction"):
            return super().weights(phase)
        return {**super().weights(phase), "clamp": first}

    def after_step(self, model: GenerativeModel, batch: Batch) -> None:
        if model.prior.fitted:
            model.prior.follow_(self._active, _SHARE_OF_A_BATCH)

    def finish(self, model: GenerativeModel, data: ImageData, seed: int) -> None:
        """Fit a prior that comes to the encodings; every process does it, to the same numbers."""
        if not model.prior.fitted:
            return
        try:
            model.prior.fit_(*restricted_encodings(model, data), seed=seed)
        except GenrevError as error:
            raise GenrevError(
                f"The prior could not be fitted ({str(error).rstrip('.')}). It stays as it "
                "followed the batches; `genrev fit-prior RUN` fits another."
            ) from error

    def shared(self, config: RunConfig, folder: str) -> tuple[RunConfig | None, RunConfig]:
        options = self.options
        if options.reconstruction_run is not None:
            return None, config
        if options.reconstruction_steps < 1:
            raise OptionError(
                "--seeds shares a reconstruction phase; set --method.reconstruction_steps, or "
                "name a run that had one with --method.reconstruction_run."
            )
        trainer = config.trainer.replace(max_steps=options.reconstruction_steps)
        alone = config.method.replace(
            options=options.replace(image_adversary=0.0, image_patches=0.0)
        )
        method = config.method.replace(options=options.replace(reconstruction_run=folder))
        return config.replace(trainer=trainer, method=alone), config.replace(method=method)
