r"""Training of the baselines: variational and Wasserstein autoencoders.

All three minimise a reconstruction error plus what draws the encodings to the prior: for the
variational autoencoder the divergence of every image's Gaussian, for the Wasserstein autoencoder
the distance of all encodings together, by an MMD or by an adversary.

**Adversary.** Both networks step on every batch, from gradients at the same weights: the
encoder's loss sees the discriminator's weights as constants, the discriminator's sees the encodings
as constants. (The authors' code updates the discriminator after the encoder, on the same batch.)

**Several processes.** Noise is drawn for the global batch and the MMD compares the encodings of
all ranks. Batch normalisation, however, takes the mean and the variance of a rank's own share, as
is usual in data-parallel training: two ranks train nearly, but not exactly, as one.
"""

from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, Optimizer

from genrev.data import noise_generator
from genrev.models import GenerativeModel
from genrev.networks import ConvAutoencoder, WAEDiscriminator
from genrev.objectives import (
    bernoulli_loss,
    cross_entropy_discriminator_loss,
    cross_entropy_encoder_loss,
    imq_kernel,
    kl_divergence,
    mmd,
    squared_error,
)
from genrev.training.config import BaselineConfig
from genrev.training.module import TrainingModule
from genrev.training.schedule import rate_factor, scheduled
from genrev.training.seeded import seeded_weights

__all__ = ["BaselineModule"]

# Fractions of the steps after which rates fall, and by what: 30 and 50 of 55 epochs.
_DECAY = ((30 / 55, 1 / 2), (50 / 55, 1 / 5))


class BaselineModule(TrainingModule[BaselineConfig]):
    """Losses, optimiser and schedule around a model with a ``ConvAutoencoder``.

    Args:
        model: what is trained.
        config: weights and rates.
        seed: of all noise and of the discriminator.
        max_steps: length of the run, for the schedule.
        gradient_clip: largest gradient norm of the model; ``None`` does not clip.
    """

    model: GenerativeModel

    def __init__(
        self,
        model: GenerativeModel,
        config: BaselineConfig,
        seed: int,
        max_steps: int,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(model, config, seed, gradient_clip)
        assert isinstance(model.net, ConvAutoencoder)
        self.net = (model.net,)  # in a tuple, or its weights would have two names
        self.max_steps = max_steps
        self.discriminator = (
            _discriminator(config, model.prior.dim, seed) if config.kind == "wae-gan" else None
        )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam with one learning rate for the model and one for the discriminator, if any."""
        groups = [{"params": list(self.model.parameters()), "lr": self.config.lr}]
        if self.discriminator is not None:
            rate = self.config.discriminator_lr
            groups.append({"params": list(self.discriminator.parameters()), "lr": rate})
        return scheduled(Adam(groups, betas=self.config.betas), self._learning_rate_factor)

    def _learning_rate_factor(self, step: int) -> float:
        if self.config.schedule != "steps":
            return rate_factor(self.config.schedule, step, self.max_steps)
        factor = 1.0
        for fraction, decay in _DECAY:
            factor *= decay if step >= fraction * self.max_steps else 1.0
        return factor

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Sum of the losses; every part is logged under its name."""
        del batch_idx
        x = batch["image"].float() / 255  # (n, C, H, W)
        step = int(batch["step"])
        mean, log_variance = self.net[0].posterior(x)  # (n, D)
        # Sums over many squares and kernels need float32, whatever the convolutions run in.
        with torch.autocast(self.device.type, enabled=False):
            mean = mean.float()
            self.require_finite(mean, "encodings", step)
            z = mean
            if log_variance is not None:
                log_variance = log_variance.float()
                z = mean + (log_variance / 2).exp() * self._share("posterior", z, step)
        logits = self.net[0].logits(z)
        with torch.autocast(self.device.type, enabled=False):
            reconstruction = self._reconstruction(x, logits.float())
            latent = self._latent(mean, log_variance, step)
            parts = {"reconstruction": reconstruction, "latent": latent}
            weights = {name: float(getattr(self.config, f"{name}_weight")) for name in parts}
            loss = self.weighted_sum(parts, weights)
            self.require_finite(loss, "loss", step)
            if self.discriminator is None:
                self.report({"loss": loss, **parts})
                return loss
            discriminator = self._discriminator_loss(self.discriminator, z.detach(), step)
            self.require_finite(discriminator, "loss of the discriminator", step)
        self.report({"loss": loss, **parts, "discriminator": discriminator})
        # No weight has a gradient from both.
        return loss + discriminator

    def _reconstruction(self, x: Tensor, logits: Tensor) -> Tensor:
        if self.config.reconstruction == "bernoulli":
            return bernoulli_loss(x, logits)
        return squared_error(x, logits.sigmoid())

    def _latent(self, mean: Tensor, log_variance: Tensor | None, step: int) -> Tensor:
        """How far encodings (n, D) are from the prior."""
        if log_variance is not None:
            return kl_divergence(mean, log_variance)
        if self.discriminator is not None:
            constants = {name: p.detach() for name, p in self.discriminator.named_parameters()}
            scores = functional_call(self.discriminator, constants, (mean,))
            return cross_entropy_encoder_loss(scores)
        z = self.gather(mean)
        return mmd(z, self._noise("prior", z, step), imq_kernel)

    def _discriminator_loss(self, discriminator: nn.Module, z: Tensor, step: int) -> Tensor:
        samples = self._share("prior", z, step)
        return cross_entropy_discriminator_loss(discriminator(samples), discriminator(z))

    def _noise(self, stream: str, z: Tensor, step: int) -> Tensor:
        """Standard normal noise like ``z``."""
        noise = torch.randn(z.shape, generator=noise_generator(self.seed, step, stream))
        return noise.to(z)

    def _share(self, stream: str, z: Tensor, step: int) -> Tensor:
        """This rank's rows of the noise of the global batch; ``z`` has one of each (n, D)."""
        whole = z.new_empty(self.trainer.world_size * len(z), z.shape[1])
        return self._noise(stream, whole, step).chunk(self.trainer.world_size)[self.global_rank]

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients of the model, and of nothing that is trained along with it."""
        del optimizer, gradient_clip_val, gradient_clip_algorithm
        if self.gradient_clip is not None:
            clip_grad_norm_(self.model.parameters(), self.gradient_clip)


def _discriminator(config: BaselineConfig, dim: int, seed: int) -> WAEDiscriminator:
    """An untrained discriminator that depends on the seed and not on what was drawn before."""
    with seeded_weights(seed, "discriminator"):
        return WAEDiscriminator(
            dim, config.discriminator_hidden, with_prior=config.discriminator_prior
        )
