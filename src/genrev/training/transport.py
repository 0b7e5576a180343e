"""Training by optimal transport: the LightningModule of the adversary-free experiments.

One class serves the paper's MNIST experiment (exact transport in all dimensions plus
perturbation loss) and the recommended recipe (clamped reconstruction on a few active dimensions,
then debiased transport as well); the weights of ``TransportConfig`` choose.
"""

from typing import Any

import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.models import GenerativeRevNet
from genrev.objectives import (
    clamp_penalty,
    clamped_reconstruction_loss,
    class_transport_loss,
    debiased_transport_loss,
    optimal_transport_loss,
    perturbation_loss,
)
from genrev.seeding import noise_generator
from genrev.training.class_conditional import ClassConditionalModule
from genrev.training.config import TransportConfig
from genrev.training.encodings import encoding_moments

__all__ = ["TransportModule"]

_TRANSPORTS = {"exact": optimal_transport_loss, "debiased": debiased_transport_loss}


class TransportModule(ClassConditionalModule[TransportConfig]):
    """Losses, optimiser and schedule around a ``GenerativeRevNet``.

    Args:
        model: what is trained; its prior must be class-conditional.
        config: weights and rates.
        data: training images, for the statistics at the start of the transport.
        seed: of all noise.
        max_steps: length of the run, for the schedule and the start of the transport.
        gradient_clip: largest gradient norm; ``None`` does not clip.
    """

    def __init__(
        self,
        model: GenerativeRevNet,
        config: TransportConfig,
        data: ImageData,
        seed: int,
        max_steps: int,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(model, config, seed, max_steps, gradient_clip)
        self.data = data
        # Active dimensions of the encodings of past batches, (classes, m, k).
        self.past = torch.empty(data.num_classes, 0, len(model.prior.active_dims))

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Fit the Gaussians to the encodings just before transport sets in."""
        del batch_idx
        # At step 0 the prior already has the statistics of the untrained network.
        if batch["step"] == self.transport_step > 0:
            moments = encoding_moments(
                self.model.encode, self.data, self.prior.dim, device=self.device
            )
            self.prior.initialise_(moments.mean.float(), moments.std.float())

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Weighted sum of the losses; every part is logged under its name."""
        del batch_idx
        x = batch["image"].float() / 255  # (n, C, H, W)
        labels, step = batch["label"], int(batch["step"])
        z = self.model.encode(x)  # (n, D)
        parts = self._image_losses(x, z, step)
        # Sums over many squares and the solver need float32, whatever f and g run in.
        with torch.autocast(self.device.type, enabled=False):
            self.require_finite(z, "encodings", step)
            if step >= self.transport_step:
                parts["transport"] = self._transport(z.float(), labels, step)
            weights = {name: float(getattr(self.config, f"{name}_weight")) for name in parts}
            loss = self.weighted_sum(parts, weights)
        self.require_finite(loss, "loss", step)
        self.report_losses({"loss": loss, **parts})
        return loss

    def _image_losses(self, x: Tensor, z: Tensor, step: int) -> dict[str, Tensor]:
        parts = {}
        if self.config.reconstruction_weight or self.config.clamp_weight:
            z_clamped = self.prior.clamp(z)
            decode = self.model.decode
            parts["reconstruction"] = clamped_reconstruction_loss(x, z_clamped, decode)
            parts["clamp"] = clamp_penalty(z, z_clamped)
        if self.config.perturbation_weight:
            noise = self.config.perturbation_std * self._local_noise(z, step)
            parts["perturbation"] = perturbation_loss(x, z, noise, self.model.decode)
        return parts

    def _transport(self, z: Tensor, labels: Tensor, step: int) -> Tensor:
        """Sum of the classes' transports; z (n, D) and labels (n,) are this rank's."""
        # The transport couples all encodings of a class, so every rank needs all of them. The
        # gather hands each rank's gradient back; with DDP's mean it is that of one process.
        z, labels = self.gather(self.prior.restrict(z)), self.gather(labels)
        # Class by class, rank by rank within a class: the order that one process has, so that
        # row i meets the same noise.
        fresh = z[labels.argsort(stable=True)].unflatten(0, (self.data.num_classes, -1))
        points = self._with_memory(fresh)  # (classes, points per class, k)
        labels = torch.arange(len(points), device=z.device).repeat_interleave(points.shape[1])
        generator = noise_generator(self.seed, step, "prior")
        samples = self.prior.restrict(self.prior.sample(len(labels), labels, generator))
        loss = _TRANSPORTS[self.config.transport]
        return class_transport_loss(points.flatten(0, 1), samples, labels, loss)

    def _with_memory(self, fresh: Tensor) -> Tensor:
        """Add the encodings of past batches; (classes, n, k) to (classes, n + m, k).

        Past and fresh encodings are spread alike over the two halves that debiasing compares. A
        mean over more points pulls less at each of them, so the gradient of the fresh ones is
        enlarged in proportion.
        """
        if not self.config.transport_memory:
            return fresh
        past = self.past.to(fresh)
        grown = torch.cat((past, fresh.detach()), dim=1)
        self.past = grown[:, -self.config.transport_memory * fresh.shape[1] :]
        if not past.shape[1]:  # the first batch
            return fresh
        fresh = _scale_gradient(fresh, 1 + past.shape[1] / fresh.shape[1])
        halves = zip(past.chunk(2, dim=1), fresh.chunk(2, dim=1), strict=True)
        return torch.cat([part for half in halves for part in half], dim=1)

    def _local_noise(self, z: Tensor, step: int) -> Tensor:
        """This rank's rows of the standard normal noise of the global batch, (n, D)."""
        rank, ranks, classes = self.global_rank, self.trainer.world_size, self.data.num_classes
        generator = noise_generator(self.seed, step, "perturbation")
        noise = torch.randn(ranks * len(z), z.shape[1], generator=generator)
        by_class = noise.view(classes, ranks, -1, z.shape[1])  # each rank has a share of each class
        return by_class[:, rank].reshape(z.shape).to(z)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the encodings of past batches, without which a resumed run would differ."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["past"] = self.past

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore them."""
        super().on_load_checkpoint(checkpoint)
        self.past = checkpoint["past"]


def _scale_gradient(x: Tensor, factor: float) -> Tensor:
    """x itself, with a gradient that is ``factor`` times as large."""
    return x.detach() + factor * (x - x.detach())
