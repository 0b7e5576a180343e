r"""An adversary on pairs of image and latent: ALI and BiGAN.

A discriminator is shown images x with their encodings, and samples s of the prior with the images
that are decoded from them. It tells which is which, and encoder and decoder make the pairs alike,

.. math:: L_D = - E_x \log \varsigma(D(x, E(x))) - E_s \log (1 - \varsigma(D(G(s), s))), \qquad
   L_{E,G} = - E_x \log (1 - \varsigma(D(x, E(x)))) - E_s \log \varsigma(D(G(s), s)) .

Pairs that are alike have images like the data's, encodings like samples, and an encoder that
inverts the decoder. The encoder gives a point (BiGAN), or draws from a Gaussian of every
image (ALI). All three networks step on every batch, from gradients at the same weights.

**On a RevNet** the pairs are of images and *active* dimensions, and the network is encoder and
decoder at once: an adversary on images together with the restricted latent space, as the paper
proposes. The encoder inverts the decoder anyway; what the adversary decides is what is left in the
other dimensions. With all dimensions active a latent says nothing that its image does not, and
the adversary is one on images alone (``flow-gan``).

**Other than in the sources** the discriminator has spectral normalisation, as all adversaries here,
and neither dropout nor batch normalisation. A reconstruction loss can be added, as in ALICE.

References: Dumoulin et al., "Adversarially learned inference" (2017); Donahue, Krähenbühl and
Darrell, "Adversarial feature learning" (2017); Li et al., "ALICE: towards understanding adversarial
learning for joint distribution matching" (2017), for the reconstruction.
"""

from typing import Any

import torch
from torch import Tensor

from genrev import objectives
from genrev.data import ImageData
from genrev.models import GenerativeModel
from genrev.networks import ConvAutoencoder, PairDiscriminator
from genrev.networks.network import NETWORKS
from genrev.options import Count, OptionError, Weight
from genrev.options import Options as AnyOptions
from genrev.priors import Prior
from genrev.seeding import seeded_weights
from genrev.training.config import Rate, RunConfig
from genrev.training.methods.method import Batch, Method, Noise, require_two_images


class BiGAN(Method):
    """Training of encoder and decoder until their pairs of image and latent are alike."""

    class Options(Method.Options):
        stochastic: bool = False
        """Whether the encoder draws from a Gaussian of every image (ALI) or gives a point (BiGAN);
        for convolutional autoencoders, whatever the network says."""
        reconstruction_weight: Weight = 0.0
        """Weight of the mean absolute error of images decoded from their active dimensions, beside
        the adversary, whose weight is 1; 0 for none, as in ALI and BiGAN."""
        discriminator_width: Count = 16
        """Channels of the discriminator's first convolution."""
        discriminator_hidden: Count = 256
        """Width of its linear layers."""
        discriminator_lr: Rate = 4e-4
        """Learning rate of Adam for the discriminator."""

    options: Options
    discriminator: PairDiscriminator
    apart = ("discriminator",)

    @classmethod
    def accepts_prior(cls, prior: type[Prior]) -> bool:
        return not (prior.class_conditional or prior.fitted)

    def check(self, config: RunConfig) -> None:
        network = NETWORKS[config.network.name]
        if self.options.stochastic and not issubclass(network, ConvAutoencoder):
            raise OptionError(
                f"The encoder of --network.kind {config.network.name} draws nothing; leave "
                "--method.stochastic out."
            )

    def check_data(self, config: RunConfig, data: ImageData) -> None:
        super().check_data(config, data)
        if issubclass(NETWORKS[config.network.name], ConvAutoencoder):
            require_two_images(config)

    def network_options(self, given: AnyOptions) -> AnyOptions:
        """A stochastic encoder for ALI alone."""
        if not isinstance(given, ConvAutoencoder.Options):
            return given
        return given.replace(stochastic=self.options.stochastic)

    def prepare(self, model: GenerativeModel, data: ImageData, seed: int) -> None:
        options, dim = self.options, len(model.prior.active_dims)
        sizes = options.discriminator_width, options.discriminator_hidden
        with seeded_weights(seed, "discriminator"):
            self.discriminator = PairDiscriminator(model.image_shape, dim, *sizes)

    @property
    def on_device(self) -> bool:
        return True

    def trained_along(self) -> list[dict[str, Any]]:
        rate = self.options.discriminator_lr
        return [{"params": list(self.discriminator.parameters()), "lr": rate}]

    def losses(self, model: GenerativeModel, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """What makes the pairs alike, the adversary's own loss, and a reconstruction if asked."""
        x, prior = batch.images, model.prior
        samples = batch.share(noise.latents(prior, batch.total))  # (n, D)
        z = self._encodings(model, batch, noise)
        drawn = model.decode(samples)
        # One pass over both kinds, first images with encodings.
        images = torch.cat((x, drawn.to(x)))
        latents = prior.restrict(torch.cat((z, samples.to(z))))
        judge = self.discriminator.eval().requires_grad_(False)
        encoded, decoded = judge(images, latents).chunk(2)
        # Either kind is to be taken for the other: the discriminator's loss with exchanged roles.
        parts = {"adversary": objectives.cross_entropy_discriminator_loss(decoded, encoded)}
        learning = self.discriminator.train().requires_grad_(True)
        encoded, decoded = learning(images.detach(), latents.detach()).chunk(2)
        parts["discriminator"] = objectives.cross_entropy_discriminator_loss(encoded, decoded)
        if self.options.reconstruction_weight:
            parts["reconstruction"] = objectives.clamped_reconstruction_loss(
                x, prior.clamp(z), model.decode
            )
        return parts

    def _encodings(self, model: GenerativeModel, batch: Batch, noise: Noise) -> Tensor:
        """Points, or draws from the Gaussians of a stochastic encoder, (n, D)."""
        if not self.options.stochastic:
            return model.encode(batch.images)
        assert isinstance(model.net, ConvAutoencoder)
        mean, log_variance = model.net.posterior(batch.images)
        assert log_variance is not None
        with torch.autocast(mean.device.type, enabled=False):
            drawn = batch.share(noise.normal("posterior", batch.total, mean.shape[1]))
            return mean.float() + (log_variance.float() / 2).exp() * drawn.to(mean.device)
