"""Semi-supervised training: the LightningModule of classification from few labels.

As in the recommended recipe of the adversary-free experiment (``genrev.training.transport``), the
active dimensions first learn to hold what is needed to draw an image, then follow class-conditional
Gaussians. Unlabelled encodings, whose class nobody knows, are transported all together to a
class-balanced sample of all Gaussians, which says that every one of them belongs somewhere and that
classes are equally frequent; the transport finds out who goes where. Labelled ones are transported
to the Gaussian of their class, and the cross-entropy of the posterior at them keeps the Gaussians
apart. A test image is then classified by the posterior of its encoding.

**Exact transport of the labelled.** They are few and the same in every step, so the network could
drive the two halves that debiasing compares apart without bound, and did. Exact transport pulls
them together instead, and would shrink the Gaussians with them: it moves the encodings alone.

References: Schirrmeister et al. 2018 (class-conditional encodings, Section 3.2).
"""

from typing import Any

import torch
from torch import Tensor

from genrev.models import GenerativeRevNet
from genrev.objectives import (
    clamp_penalty,
    clamped_reconstruction_loss,
    class_transport_loss,
    debiased_transport_loss,
    posterior_loss,
)
from genrev.priors import ClassConditionalGaussian, ClassMoments
from genrev.seeding import noise_generator
from genrev.training.class_conditional import ClassConditionalModule
from genrev.training.config import SemiConfig
from genrev.training.labelled import Labelled

__all__ = ["SemiModule", "initialise_from_labelled"]


class SemiModule(ClassConditionalModule[SemiConfig]):
    """Losses, optimiser and schedule around a ``GenerativeRevNet``.

    Args:
        model: what is trained; its prior must be class-conditional.
        config: weights and rates.
        labelled: the images whose labels are known; all take part in every step, on every rank.
        seed: of all noise.
        max_steps: length of the run, for the schedule and the start of the transport.
        gradient_clip: largest gradient norm; ``None`` does not clip.
    """

    def __init__(
        self,
        model: GenerativeRevNet,
        config: SemiConfig,
        labelled: Labelled,
        seed: int,
        max_steps: int,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(model, config, seed, max_steps, gradient_clip)
        self.labelled = labelled

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Fit the Gaussians to the labelled encodings just before the transport sets in."""
        del batch_idx
        if batch["step"] == self.transport_step:
            initialise_from_labelled(self.model, self.labelled)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Weighted sum of the losses; every part is logged under its name."""
        del batch_idx
        x, step = batch["image"].float() / 255, int(batch["step"])  # (n, C, H, W)
        z, labelled = self._encodings(x, step)
        z_clamped = self.prior.clamp(z)
        parts = {"clamp": clamp_penalty(z, z_clamped)}
        if self.config.reconstruction_weight:  # decoding is half the work
            decode = self.model.decode
            parts["reconstruction"] = clamped_reconstruction_loss(x, z_clamped, decode)
        # Sums over many squares and the solver need float32, whatever f and g run in.
        with torch.autocast(self.device.type, enabled=False):
            self.require_finite(z, "encodings", step)
            if labelled is not None:
                active, known = (self.prior.restrict(part.float()) for part in (z, labelled))
                parts |= self._class_losses(active, known, step)
            weights = {name: float(getattr(self.config, f"{name}_weight")) for name in parts}
            loss = self.weighted_sum(parts, weights)
        self.require_finite(loss, "loss", step)
        self.report_losses({"loss": loss, **parts})
        return loss

    def _encodings(self, x: Tensor, step: int) -> tuple[Tensor, Tensor | None]:
        """Encodings of the batch, (n, D), and, with the transport, of labelled images, (K m, D)."""
        if step < self.transport_step:
            return self.model.encode(x), None
        z = self.model.encode(torch.cat((x, self.labelled.images.to(x))))
        return z[: len(x)], z[len(x) :]

    def _class_losses(self, unlabelled: Tensor, labelled: Tensor, step: int) -> dict[str, Tensor]:
        """Losses of active dimensions: (n, k) of this rank, and (K m, k)."""
        prior, labels = self.prior, self.labelled.labels.to(labelled.device)
        noise = noise_generator(self.seed, step, "labelled")
        samples = prior.restrict(prior.sample(len(labels), labels, noise))
        parts = {
            "labelled": class_transport_loss(labelled, samples.detach(), labels),
            "posterior": posterior_loss(labelled, prior.mean, prior.std, labels),
        }
        if self.config.mixture_weight:
            points = self.gather(unlabelled)
            noise = noise_generator(self.seed, step, "prior")
            mixture = prior.restrict(prior.sample(len(points), generator=noise))
            parts["mixture"] = debiased_transport_loss(points, mixture)
        return parts


@torch.no_grad()
def initialise_from_labelled(model: GenerativeRevNet, labelled: Labelled) -> None:
    """Start the Gaussians from means and standard deviations of the labelled encodings."""
    prior = model.prior
    assert isinstance(prior, ClassConditionalGaussian)
    moments = ClassMoments(prior.num_classes, prior.dim)
    z = model.encode(labelled.images.to(prior.mean))
    moments.update(z, labelled.labels)
    prior.initialise_(moments.mean.float(), moments.std.float())
