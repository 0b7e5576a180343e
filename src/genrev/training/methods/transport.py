"""Optimal transport to learned class-conditional Gaussians, without an adversary.

The weights choose between the paper's MNIST experiment (exact transport in all dimensions plus
perturbation loss) and the recommended recipe (clamped reconstruction on a few active dimensions,
then debiased transport as well).

References: Schirrmeister et al. 2018, Section 3.2.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from genrev.data import ImageData
from genrev.models import GenerativeModel
from genrev.models.conditions import takes_labels
from genrev.objectives import (
    clamp_penalty,
    clamped_reconstruction_loss,
    class_transport_loss,
    debiased_transport_loss,
    optimal_transport_loss,
    perturbation_loss,
)
from genrev.options import OptionError, Weight
from genrev.training.config import RunConfig
from genrev.training.methods.class_conditional import ClassConditionalMethod, gaussians
from genrev.training.methods.method import Batch, Noise, require_batch_multiple
from genrev.training.start import encoding_moments


class Transport(ClassConditionalMethod):
    """Adversary-free training by optimal transport to learned class-conditional Gaussians."""

    class Options(ClassConditionalMethod.Options):
        transport: Literal["exact", "debiased"] = "exact"
        """Exact transport as in the paper, or debiased."""
        transport_weight: Weight = 1.0
        """Weight of the transport, summed over the classes."""
        transport_memory: int = Field(default=0, ge=0)
        """Number of past batches whose encodings take part in the transport, as constants; more
        points per class show more of the shape of their distribution."""
        perturbation_weight: Weight = 0.0
        """Weight of the perturbation loss."""
        perturbation_std: Weight = 0.01
        """Standard deviation of the perturbation."""

    options: Options
    balanced = conditional = True
    past: Tensor | None = None
    """Active dimensions of the encodings of past batches, (classes, m, k)."""

    def check(self, config: RunConfig) -> None:
        options = self.options
        others = (options.reconstruction_weight, options.clamp_weight, options.perturbation_weight)
        if options.transport_start > 0 and not any(others):
            raise OptionError(
                "There is nothing to train on before the transport starts; set "
                "--method.transport_start 0 or give --method.reconstruction_weight a value."
            )

    def check_data(self, config: RunConfig, data: ImageData) -> None:
        classes = data.num_classes
        halves = 2 if self.options.transport == "debiased" else 1  # of the images of a class
        unit = classes * halves * config.trainer.processes
        require_batch_multiple(config, unit, f"{classes} classes on ")

    def begin(self, phase: str, model: GenerativeModel, data: ImageData) -> None:
        """Fit the Gaussians to the encodings just before the transport sets in."""
        # At step 0 the prior already has the moments of the untrained network.
        prior = gaussians(model)
        moments = encoding_moments(
            model.encode, data, prior.dim, prior.mean.device, takes_labels(model)
        )
        prior.initialise_(moments.mean.float(), moments.std.float())

    def losses(self, model: GenerativeModel, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Reconstruction, clamp, perturbation and transport, those that have a weight."""
        options, x, parts, given = self.options, batch.images, {}, batch.context(model)
        z = model.encode(x, *given)  # (n, D)

        def decode(z: Tensor) -> Tensor:
            return model.decode(z, *given)

        if options.reconstruction_weight or options.clamp_weight:
            z_clamped = model.prior.clamp(z)
            parts["reconstruction"] = clamped_reconstruction_loss(x, z_clamped, decode)
            parts["clamp"] = clamp_penalty(z, z_clamped)
        if options.perturbation_weight:
            whole = noise.normal("perturbation", batch.total, z.shape[1])
            # Each rank has a share of each class.
            by_class = whole.view(model.prior.num_classes, batch.ranks, -1, z.shape[1])
            step = options.perturbation_std * by_class[:, batch.rank].reshape(z.shape).to(z)
            parts["perturbation"] = perturbation_loss(x, z, step, decode)
        if batch.phase == "transport":
            # The solver and sums over many squares need float32, whatever f and g run in.
            with torch.autocast(x.device.type, enabled=False):
                parts["transport"] = self._transport(model, z.float(), batch, noise)
        return parts

    def _transport(self, model: GenerativeModel, z: Tensor, batch: Batch, noise: Noise) -> Tensor:
        """Sum of the classes' transports; z (n, D) is this rank's."""
        prior = gaussians(model)
        # The transport couples all encodings of a class, so every rank needs all of them.
        z, labels = batch.gather(prior.restrict(z)), batch.gather(batch.labels)
        # Class by class, rank by rank within a class: the order that one process has, so that
        # row i meets the same noise.
        fresh = z[labels.argsort(stable=True)].unflatten(0, (prior.num_classes, -1))
        points = self._with_memory(fresh)  # (classes, points per class, k)
        labels = torch.arange(len(points), device=z.device).repeat_interleave(points.shape[1])
        drawn = noise.latents(prior, len(labels), labels)
        points, samples = points.flatten(0, 1), prior.restrict(drawn)
        return class_transport_loss(points, samples, labels, self.loss_of_class)

    def loss_of_class(self, points: Tensor, samples: Tensor) -> Tensor:
        """The transport between the encodings of a class and as many samples, (n, k) each."""
        exact = self.options.transport == "exact"
        return (optimal_transport_loss if exact else debiased_transport_loss)(points, samples)

    def _with_memory(self, fresh: Tensor) -> Tensor:
        """Add the encodings of past batches; (classes, n, k) to (classes, n + m, k).

        Past and fresh encodings are spread alike over the two halves that debiasing compares. A
        mean over more points pulls less at each of them, so the gradient of the fresh ones is
        enlarged in proportion.
        """
        memory, batch_size = self.options.transport_memory, fresh.shape[1]
        if not memory:
            return fresh
        past = fresh[:, :0].detach() if self.past is None else self.past.to(fresh)
        self.past = torch.cat((past, fresh.detach()), dim=1)[:, -memory * batch_size :]
        if not past.shape[1]:  # the first batch
            return fresh
        constant = fresh.detach()
        fresh = constant + (1 + past.shape[1] / batch_size) * (fresh - constant)
        halves = zip(past.chunk(2, dim=1), fresh.chunk(2, dim=1), strict=True)
        return torch.cat([part for half in halves for part in half], dim=1)

    def state(self) -> dict[str, Any]:
        return {"past": self.past}

    def restore(self, state: dict[str, Any]) -> None:
        self.past = state["past"]
