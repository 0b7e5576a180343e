"""Training by matching a prior: the LightningModule of the experiments on faces.

Two phases (Schirrmeister et al. 2018, Section 2.2). The reconstruction phase minimises

    10 L1(x, decode(clamp(z))) + 10 L2(z, clamp(z)),  z = encode(x),

so the few active dimensions come to hold what is needed to draw an image. The matching phase adds
a distance between the active dimensions of z and the prior. With the adversary that is the score
of a discriminator, and batches alternate: the first, third, ... of the phase train the
discriminator alone, all others the RevNet alone, so one optimiser steps per batch. The other
distances need no second network, and every batch trains the RevNet.

**Ex post.** With a mixture for a prior nothing is matched: all steps are of the reconstruction
phase, and the mixture is fitted to the encodings when they are over. In the meantime one Gaussian
follows the encodings of the batches, so that samples show how far the network is.

**Power iteration.** The discriminator is in training mode while it is trained and in evaluation
mode while it scores for the RevNet. So there is one power iteration per update of its weights, as
spectral normalisation means it, a step of the RevNet leaves no trace in it, and both sets of
points of one step are scored by the same function. (The authors' code iterates on every pass.)
"""

from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Adam, Optimizer

from genrev.models import GenerativeRevNet
from genrev.networks import LatentDiscriminator
from genrev.objectives import (
    clamp_penalty,
    clamped_reconstruction_loss,
    hinge_discriminator_loss,
    hinge_encoder_loss,
)
from genrev.priors import GaussianMixturePrior
from genrev.seeding import noise_generator, seeded_weights
from genrev.training.config import MatchingConfig, PhasesConfig
from genrev.training.distances import latent_distance
from genrev.training.module import TrainingModule
from genrev.training.schedule import rate_factor

__all__ = ["MatchingModule"]

_SHARE_OF_A_BATCH = 0.01  # in the moments that follow the encodings


class MatchingModule(TrainingModule[MatchingConfig]):
    """Losses, optimisers and schedule around a ``GenerativeRevNet`` and its adversary, if any.

    Args:
        model: what is trained; its prior has no parameters.
        config: weights and rates.
        phases: when matching sets in.
        seed: of all noise and of the discriminator.
        max_steps: the step at which the last phase ends.
        gradient_clip: largest gradient norm of the RevNet; ``None`` does not clip.
    """

    model: GenerativeRevNet

    def __init__(
        self,
        model: GenerativeRevNet,
        config: MatchingConfig,
        phases: PhasesConfig,
        seed: int,
        max_steps: int,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(model, config, seed, gradient_clip)
        self.automatic_optimization = False
        self.max_steps = max_steps
        self.matching_step = max_steps if config.matching == "none" else phases.reconstruction_steps
        self.prior_std = float(model.prior.scale().max())
        self.first_clamp_weight = (
            config.clamp_weight if phases.clamp_weight is None else phases.clamp_weight
        )
        self.discriminator = (
            _discriminator(len(model.prior.active_dims), config.discriminator_hidden, seed)
            if config.matching == "adversarial"
            else None
        )

    def configure_optimizers(self) -> list[Optimizer]:
        """Adam for the RevNet and, where there is one, for the discriminator."""
        betas = self.config.betas
        optimizers = [Adam(self.model.parameters(), self.config.lr, betas)]
        if self.discriminator is not None:
            rate = self.config.discriminator_lr
            optimizers.append(Adam(self.discriminator.parameters(), rate, betas))
        return list(optimizers)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Set the learning rates; begin the matching phase with fresh states of the optimiser."""
        del batch_idx
        step = int(batch["step"])
        factor = self._learning_rate_factor(step)
        rates = (self.config.lr, self.config.discriminator_lr)
        for optimizer, rate in zip(self._optimizers(), rates, strict=False):
            for group in optimizer.param_groups:
                group["lr"] = factor * rate
            if step == self.matching_step:
                optimizer.optimizer.state.clear()

    def _learning_rate_factor(self, step: int) -> float:
        start, end = 0, min(self.matching_step, self.max_steps)
        if step >= self.matching_step:
            start, end = self.matching_step, self.max_steps
        return rate_factor(self.config.schedule, step - start, end - start)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Train the RevNet or the discriminator on this batch."""
        del batch_idx
        x = batch["image"].float() / 255  # (n, C, H, W)
        step = int(batch["step"])
        if self.trains_model(step):
            self._encoder_step(x, step)
        else:
            assert self.discriminator is not None
            self._discriminator_step(self.discriminator, x, step)

    def trains_model(self, step: int) -> bool:
        """Whether this step trains the RevNet, or else the discriminator."""
        if self.discriminator is None or step < self.matching_step:
            return True
        return (step - self.matching_step) % 2 == 1

    def _discriminator_step(self, discriminator: LatentDiscriminator, x: Tensor, step: int) -> None:
        with torch.no_grad():
            z = self.model.prior.restrict(self.model.encode(x)).float()  # (n, k)
        self.require_finite(z, "encodings", step)
        samples = self._samples(len(z) * self.trainer.world_size, step)  # (m, k), on all ranks
        discriminator.train().requires_grad_(True)
        # One pass over both: one power iteration, and one function for the two.
        scores = discriminator(torch.cat((samples, z)))
        loss = hinge_discriminator_loss(scores[: len(samples)], scores[len(samples) :])
        self.require_finite(loss, "loss of the discriminator", step)
        self._descend(self._optimizers()[1], loss, self.config.discriminator_clip)
        self.report({"discriminator": loss})

    def _encoder_step(self, x: Tensor, step: int) -> None:
        prior, matches = self.model.prior, step >= self.matching_step
        z = self.model.encode(x)  # (n, D)
        z_clamped = prior.clamp(z)
        parts = {"clamp": clamp_penalty(z, z_clamped)}
        if self.config.reconstruction_weight:  # decoding is half the work
            colours = self.config.reconstruction_colours
            parts["reconstruction"] = clamped_reconstruction_loss(
                x, z_clamped, self.model.decode, colours
            )
        # Kernels and solvers need float32, whatever f and g run in.
        with torch.autocast(self.device.type, enabled=False):
            self.require_finite(z, "encodings", step)
            if matches:
                parts["matching"] = self._matching(prior.restrict(z).float(), step)
            loss = self.weighted_sum(parts, self._weights(matches))
        self.require_finite(loss, "loss", step)
        self._descend(self._optimizers()[0], loss, self.gradient_clip)
        if isinstance(prior, GaussianMixturePrior):
            with torch.no_grad():
                prior.follow_(self.gather(prior.restrict(z)), _SHARE_OF_A_BATCH)
        self.report({"loss": loss, **parts})

    def _matching(self, z: Tensor, step: int) -> Tensor:
        """How far this rank's active dimensions (n, k) are from the prior."""
        if self.discriminator is not None:
            self.discriminator.eval().requires_grad_(False)
            return hinge_encoder_loss(self.discriminator(z))
        z = self.gather(z)
        samples = self._samples(len(z), step)
        directions = noise_generator(self.seed, step, "directions")
        return latent_distance(self.config.matching, z, samples, self.prior_std, directions)

    def _samples(self, images: int, step: int) -> Tensor:
        """Active dimensions of samples of the prior, (m, k), for a global batch of images."""
        n = self.config.prior_samples or images
        generator = noise_generator(self.seed, step, "prior")
        return self.model.prior.restrict(self.model.prior.sample(n, generator=generator))

    def _weights(self, matches: bool) -> dict[str, float]:
        return {
            "reconstruction": self.config.reconstruction_weight,
            "clamp": self.config.clamp_weight if matches else self.first_clamp_weight,
            "matching": self.config.matching_weight,
        }

    def _descend(self, optimizer: LightningOptimizer, loss: Tensor, clip: float | None) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer.optimizer, clip, "norm")
        optimizer.step()

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]


def _discriminator(dim: int, hidden: tuple[int, int], seed: int) -> LatentDiscriminator:
    """An untrained discriminator that depends on the seed and not on what was drawn before."""
    with seeded_weights(seed, "discriminator"):
        return LatentDiscriminator(dim, hidden)
