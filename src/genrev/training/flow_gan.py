r"""Training by an adversary on images, with or without a likelihood: Flow-GAN.

The decoder of a bijective network draws images from the prior as a GAN's generator does, and
unlike one it gives every image a density too. So both can be trained at once,

.. math:: L_G = - E_s \, D(\mathrm{decode}(s)) + \lambda \, \text{bits per dimension},

against a discriminator with the hinge loss of ``genrev.objectives.adversarial``, whose *real* are
the images of the data here. Batches alternate as in ``genrev.training.matching``: the first, third,
... train the discriminator alone, all others the network alone.

Images of the data are dequantised for both terms: a discriminator would otherwise tell them from
decoded ones by their being multiples of 1/255.

References: Grover et al., "Flow-GAN: combining maximum likelihood and adversarial learning in
generative models" (2018).
"""

from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Adam, Optimizer

from genrev.models import GenerativeRevNet, log_density
from genrev.networks import ImageDiscriminator
from genrev.objectives import bits_per_dim, hinge_discriminator_loss, hinge_encoder_loss
from genrev.seeding import noise_generator, seeded_weights
from genrev.training.config import FlowGANConfig
from genrev.training.flows import dequantised
from genrev.training.module import TrainingModule
from genrev.training.schedule import rate_factor

__all__ = ["FlowGANModule"]

_LARGEST_DISCRIMINATOR_NORM = 1000.0  # of its gradient, as for the latent adversary


class FlowGANModule(TrainingModule[FlowGANConfig]):
    """Losses, optimisers and schedule around a bijective ``GenerativeRevNet`` and its adversary.

    Args:
        model: what is trained; its prior has no parameters.
        config: weights and rates.
        seed: of all noise and of the discriminator.
        max_steps: length of the run, for the schedule.
        gradient_clip: largest gradient norm of the network; ``None`` does not clip.
    """

    model: GenerativeRevNet

    def __init__(
        self,
        model: GenerativeRevNet,
        config: FlowGANConfig,
        seed: int,
        max_steps: int,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(model, config, seed, gradient_clip)
        self.automatic_optimization = False
        self.max_steps = max_steps
        with seeded_weights(seed, "discriminator"):
            self.discriminator = ImageDiscriminator(model.image_shape, config.discriminator_width)

    def configure_optimizers(self) -> list[Optimizer]:
        """Adam for the network and for the discriminator."""
        betas = self.config.betas
        return [
            Adam(self.model.parameters(), self.config.lr, betas),
            Adam(self.discriminator.parameters(), self.config.discriminator_lr, betas),
        ]

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Set the learning rates of this step."""
        del batch_idx
        factor = rate_factor(self.config.schedule, int(batch["step"]), self.max_steps)
        rates = (self.config.lr, self.config.discriminator_lr)
        for optimizer, rate in zip(self._optimizers(), rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = factor * rate

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Train the network or the discriminator on this batch."""
        del batch_idx
        step, ranks = int(batch["step"]), self.trainer.world_size
        x = dequantised(batch["image"], self.seed, step, self.global_rank, ranks)  # (n, C, H, W)
        if self.trains_model(step):
            self._model_step(x, step)
        else:
            self._discriminator_step(x, step)

    def trains_model(self, step: int) -> bool:
        """Whether this step trains the network, or else the discriminator."""
        return step % 2 == 1

    def _discriminator_step(self, x: Tensor, step: int) -> None:
        with torch.no_grad():
            drawn = self._drawn(len(x), step)
        self.require_finite(drawn, "samples", step)
        self.discriminator.train().requires_grad_(True)
        # One pass over both: one power iteration, and one function for the two.
        scores = self.discriminator(torch.cat((x, drawn.to(x))))
        loss = hinge_discriminator_loss(scores[: len(x)], scores[len(x) :])
        self.require_finite(loss, "loss of the discriminator", step)
        self._descend(self._optimizers()[1], loss, _LARGEST_DISCRIMINATOR_NORM)
        self.report({"discriminator": loss})

    def _model_step(self, x: Tensor, step: int) -> None:
        self.discriminator.eval().requires_grad_(False)
        parts = {"adversary": hinge_encoder_loss(self.discriminator(self._drawn(len(x), step)))}
        weights = {"adversary": 1.0, "bits_per_dim": self.config.likelihood_weight}
        if self.config.likelihood_weight:
            density = log_density(self.model, x).float()
            parts["bits_per_dim"] = bits_per_dim(density, x[0].numel()).mean()
        loss = self.weighted_sum(parts, weights)
        self.require_finite(loss, "loss", step)
        self._descend(self._optimizers()[0], loss, self.gradient_clip)
        self.report({"loss": loss, **parts})

    def _drawn(self, n: int, step: int) -> Tensor:
        """This rank's images of a global batch of samples, (n, C, H, W), not clipped."""
        generator = noise_generator(self.seed, step, "prior")
        z = self.model.prior.sample(n * self.trainer.world_size, generator=generator)
        return self.model.decode(z[self.global_rank * n : (self.global_rank + 1) * n])

    def _descend(self, optimizer: LightningOptimizer, loss: Tensor, clip: float | None) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer.optimizer, clip, "norm")
        optimizer.step()

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        return optimizers
