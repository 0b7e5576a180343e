"""Semi-supervised training: class-conditional Gaussians from few labels.

As in the recommended recipe of the method ``transport``, the active dimensions first learn to hold
what is needed to draw an image, then follow class-conditional Gaussians. Unlabelled encodings are
transported all together to a class-balanced sample of all Gaussians; the transport finds out who
goes where. Labelled ones are transported to the Gaussian of their class, and the cross-entropy of
the posterior at them keeps the Gaussians apart. A test image is classified by that posterior.

**Exact transport of the labelled.** They are few and the same in every step, so the network could
drive the two halves that debiasing compares apart without bound, and did. Exact transport pulls
them together instead, and would shrink the Gaussians with them: it moves the encodings alone.

References: Schirrmeister et al. 2018 (class-conditional encodings, Section 3.2).
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation import classification_report
from genrev.models import GenerativeModel
from genrev.objectives import (
    clamp_penalty,
    clamped_reconstruction_loss,
    class_transport_loss,
    debiased_transport_loss,
    posterior_loss,
)
from genrev.options import Count, Fraction, Weight
from genrev.priors import ClassMoments
from genrev.seeding import noise_generator
from genrev.training.config import RunConfig
from genrev.training.methods.class_conditional import ClassConditionalMethod, gaussians
from genrev.training.methods.method import Batch, HeldOut, Noise, require_batch_multiple
from genrev.words import counted


class SemiSupervised(ClassConditionalMethod):
    """Training on many images of which few have labels."""

    class Options(ClassConditionalMethod.Options):
        labels_per_class: Annotated[int, Field(ge=2)] = 10
        """Images of every class whose label is used, chosen at random by the seed; all other
        labels are never looked at. A standard deviation needs 2."""
        reconstruction_weight: Weight = 10.0
        """Weight of the L1 loss on the decoded clamped encoding."""
        clamp_weight: Weight = 10.0
        """Weight of the L2 distance between encodings and clamped encodings."""
        labelled_weight: Weight = 0.1
        """Weight of the transport of labelled encodings to their class's Gaussian, summed over the
        classes."""
        mixture_weight: Weight = 1.0
        """Weight of the transport of unlabelled encodings to the mixture of all Gaussians."""
        posterior_weight: Weight = 1.0
        """Weight of the cross-entropy of labelled encodings' class posterior."""
        transport_start: Fraction = 0.25
        """Fraction of the steps after which the last three set in; the Gaussians start from
        labelled encodings at that step."""
        heldout_every: Count = 250
        """Steps between two measurements of the test split's classification accuracy, reported as
        heldout_accuracy."""

    options: Options
    labelled: "Labelled"

    def check_data(self, config: RunConfig, data: ImageData) -> None:
        classes = data.num_classes
        # Both halves of the sample that the batch is transported to hold all classes alike.
        unit = 2 * classes * config.trainer.processes
        require_batch_multiple(config, unit, f"two halves of {classes} classes on ")
        choose_labelled(data, self.options.labels_per_class, config.seed)

    def prepare(self, model: GenerativeModel, data: ImageData, seed: int) -> None:
        """Choose the images whose labels are known; all take part in every step, on every rank."""
        self.labelled = choose_labelled(data, self.options.labels_per_class, seed)

    @torch.no_grad()
    def initialise(self, model: GenerativeModel, data: ImageData) -> None:
        """Start the Gaussians from means and standard deviations of the labelled encodings."""
        prior, known = gaussians(model), self.labelled
        moments = ClassMoments(prior.num_classes, prior.dim)
        moments.update(model.encode(known.images.to(prior.mean)), known.labels)
        prior.initialise_(moments.mean.float(), moments.std.float())

    def begin(self, phase: str, model: GenerativeModel, data: ImageData) -> None:
        self.initialise(model, data)

    def losses(self, model: GenerativeModel, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Reconstruction and clamp, then the transports and the posterior as well."""
        x, prior, transports = batch.images, gaussians(model), batch.phase == "transport"
        labelled = [self.labelled.images.to(x)] if transports else []
        z = model.encode(torch.cat((x, *labelled)))
        z, known = z[: len(x)], z[len(x) :]  # (n, D), (K m, D)
        z_clamped = prior.clamp(z)
        parts = {"clamp": clamp_penalty(z, z_clamped)}
        if self.options.reconstruction_weight:  # decoding is half the work
            parts["reconstruction"] = clamped_reconstruction_loss(x, z_clamped, model.decode)
        if transports:
            # The solver and sums over many squares need float32, whatever f and g run in.
            with torch.autocast(x.device.type, enabled=False):
                active, known = (prior.restrict(part.float()) for part in (z, known))
                labels = self.labelled.labels.to(x.device)
                drawn = noise.latents(prior, len(labels), labels, "labelled")
                samples = prior.restrict(drawn).detach()
                parts["labelled"] = class_transport_loss(known, samples, labels)
                parts["posterior"] = posterior_loss(known, prior.mean, prior.std, labels)
                if self.options.mixture_weight:
                    points = batch.gather(active)
                    mixture = noise.latents(prior, len(points))
                    parts["mixture"] = debiased_transport_loss(points, prior.restrict(mixture))
        return parts

    def held_out(self) -> Sequence[HeldOut]:
        def accuracy(model: GenerativeModel, data: ImageData) -> float:
            return classification_report(model, data)["classification_accuracy"]

        return (HeldOut("heldout_accuracy", accuracy, self.options.heldout_every),)


class Labelled(NamedTuple):
    """Images with labels, sorted by class, and their positions in the data."""

    indices: Tensor  # (K * m,)
    images: Tensor  # float32 in [0, 1], (K * m, C, H, W)
    labels: Tensor  # int64 (K * m,)


def choose_labelled(data: ImageData, per_class: int, seed: int) -> Labelled:
    """As many images of every class, chosen at random by the seed alone.

    Raises:
        GenrevError: a class with fewer images, or data without classes.
    """
    if data.num_classes < 2:
        raise GenrevError(
            f"--method semi needs data with labels and {data.name} has none; take digits or mnist."
        )
    order = torch.randperm(len(data), generator=noise_generator(seed, 0, "labelled images"))
    labels = torch.from_numpy(data.labels.copy())
    chosen = []
    for number, name in enumerate(data.class_names):
        found = order[labels[order] == number][:per_class]
        if len(found) < per_class:
            raise GenrevError(
                f"--method.labels_per_class is {per_class} and {data.name} has "
                f"{counted(len(found), 'image')} of the class {name}; take fewer."
            )
        chosen.append(found)
    indices = torch.cat(chosen)
    return Labelled(indices, data.tensor(indices), labels[indices])
