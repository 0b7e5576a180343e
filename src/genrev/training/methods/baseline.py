r"""The baselines that RevNets are compared with: variational and Wasserstein autoencoders.

All three minimise a reconstruction error plus what draws the encodings to the prior: for the
variational autoencoder the divergence of every image's Gaussian, for the Wasserstein autoencoder
the distance of all encodings together, by an MMD or by an adversary.

**Adversary.** Both networks step on every batch, from gradients at the same weights: the
encoder's loss sees the discriminator's weights as constants, the discriminator's sees the encodings
as constants. (The authors' code updates the discriminator after the encoder, on the same batch.)

**Several processes.** Noise is drawn for the global batch and the MMD compares the encodings of
all ranks. Batch normalisation, however, takes the mean and the variance of a rank's own share, as
is usual in data-parallel training: two ranks train nearly, but not exactly, as one.

References: Kingma and Welling, "Auto-encoding variational Bayes" (2014); Tolstikhin et al.,
"Wasserstein auto-encoders" (2018).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call

from genrev import objectives
from genrev.data import ImageData
from genrev.models import GenerativeModel
from genrev.networks import ConvAutoencoder, WAEDiscriminator
from genrev.options import Count, Positive, Weight
from genrev.options import Options as AnyOptions
from genrev.seeding import seeded_weights
from genrev.training.config import Rate
from genrev.training.methods.autoencoder import AutoencoderMethod
from genrev.training.methods.image_terms import ImageOptions, ImageTerms
from genrev.training.methods.method import Batch, Method, Noise, Phase


class Baseline(AutoencoderMethod):
    """Training of a convolutional autoencoder whose latents are to follow a standard normal.

    The defaults are those of the Wasserstein autoencoder with an MMD on CelebA.
    """

    class Options(ImageOptions, Method.Options):
        variant: Literal["vae", "wae-mmd", "wae-gan"] = "wae-mmd"
        """Variational autoencoder (vae), or Wasserstein autoencoder with the maximum mean
        discrepancy (wae-mmd) or with an adversary in the latent space (wae-gan). The first has a
        stochastic encoder, whatever the network says, the others have none."""
        reconstruction: Literal["squared", "bernoulli"] = "squared"
        """Squared error, or cross-entropy of pixels as probabilities (bernoulli), both summed over
        an image."""
        reconstruction_weight: Positive = 4.0
        """Weight of it. For a Gaussian decoder of variance v it is 1 / (2 v); for pixels in
        [-1, 1] instead of [0, 1], four times that."""
        latent_weight: Weight = 100.0
        """Weight of what draws the latents to the prior: divergence, MMD, or the encoder's loss
        against the adversary (λ of the Wasserstein autoencoder)."""
        discriminator_hidden: Count = 512
        """Width of the four layers of the adversary."""
        discriminator_prior: bool = True
        """Whether the adversary is given the density of the prior."""
        discriminator_lr: Rate = 1e-3
        """Learning rate of Adam for the adversary."""

    options: Options
    apart = ("discriminator", *ImageTerms.apart)
    images: ImageTerms
    latents = "A baseline has a standard normal"

    def network_options(self, given: AnyOptions) -> AnyOptions:
        """A stochastic encoder for the variational autoencoder alone."""
        return given.replace(stochastic=self.options.variant == "vae")

    def prepare(self, model: GenerativeModel, data: ImageData, seed: int) -> None:
        options, dim = self.options, model.prior.dim
        if options.variant == "wae-gan":
            with seeded_weights(seed, "discriminator"):
                self.discriminator = WAEDiscriminator(
                    dim, options.discriminator_hidden, with_prior=options.discriminator_prior
                )
        if ImageTerms.asked(options):
            self.images = ImageTerms(options, model.image_shape, seed)

    def phases(self, max_steps: int) -> Sequence[Phase]:
        return ImageTerms.phases(self.options, super().phases(max_steps), max_steps)

    def trained_along(self) -> list[dict[str, Any]]:
        groups = self.images.trained_along() if ImageTerms.asked(self.options) else []
        if self.discriminator is not None:
            rate = self.options.discriminator_lr
            groups.append({"params": list(self.discriminator.parameters()), "lr": rate})
        return groups

    def losses(self, model: GenerativeModel, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Reconstruction, what draws to the prior, and the adversary's own loss."""
        x, net = batch.images, model.net
        assert isinstance(net, ConvAutoencoder)
        mean, log_variance = net.posterior(x)  # (n, D)
        # Sums over many squares and kernels need float32, whatever the convolutions run in.
        with torch.autocast(x.device.type, enabled=False):
            z = mean = mean.float()
            if log_variance is not None:
                log_variance = log_variance.float()
                drawn = self._drawn("posterior", z, batch, noise)
                z = mean + (log_variance / 2).exp() * drawn
        logits = net.logits(z)
        with torch.autocast(x.device.type, enabled=False):
            logits, parts = logits.float(), {}
            decoded = logits.sigmoid()
            if self.options.reconstruction == "bernoulli":
                parts["reconstruction"] = objectives.bernoulli_loss(x, logits)
            else:
                parts["reconstruction"] = objectives.squared_error(x, decoded)
            if log_variance is not None:
                parts["latent"] = objectives.kl_divergence(mean, log_variance)
            elif self.discriminator is not None:
                constants = {name: p.detach() for name, p in self.discriminator.named_parameters()}
                judged = functional_call(self.discriminator, constants, (z,))
                parts["latent"] = objectives.cross_entropy_encoder_loss(judged)
                samples = self._drawn("prior", z, batch, noise)
                real, fake = self.discriminator(samples), self.discriminator(z.detach())
                parts["discriminator"] = objectives.cross_entropy_discriminator_loss(real, fake)
            else:
                z = batch.gather(z)
                samples = noise.normal("prior", *z.shape).to(z)
                parts["latent"] = objectives.mmd(z, samples, objectives.imq_kernel)
        if batch.phase.endswith("with images"):
            parts |= self.images.losses(model, batch, decoded, partial(self._error, x), noise)
        return parts

    def _error(self, x: Tensor, decoded: Tensor) -> Tensor:
        """The weighted reconstruction error at the image; of pixels as probabilities, the square.

        The gradient of the cross-entropy has no bound there.
        """
        return self.options.reconstruction_weight * objectives.squared_error(x, decoded)

    def _drawn(self, stream: str, z: Tensor, batch: Batch, noise: Noise) -> Tensor:
        """This rank's rows of standard normal noise of the global batch, like z (n, D)."""
        return batch.share(noise.normal(stream, batch.total, z.shape[1])).to(z)
