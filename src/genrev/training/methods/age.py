r"""Encoder and generator that play against each other, without a discriminator: AGE.

The encoder e tells images of the generator g from those of the data by how far the encodings of
either are from the prior, and the generator closes the gap,

.. math:: \max_e \min_g \; \Delta(e(g(Z))) - \Delta(e(X)), \qquad
   \Delta = \frac{1}{D} \sum_j \frac{m_j^2 + s_j^2 - 1}{2} - \log s_j ,

where :math:`\Delta` is the divergence from the standard normal of the Gaussian with the means m and
standard deviations s of a batch of encodings, per dimension. So that the encoder cannot win by
sending images far away, its encodings lie on a sphere. The squares of a batch there sum up to the
same, and what is left of :math:`\Delta` is the mean of :math:`-\log s_j`. Beside the game,
the encoder minimises the error of decoded encodings, and the generator that of encoded samples:

.. math:: L_e = \Delta(e(X)) - \Delta(e(g(Z))) + \lambda_x E \, \lvert g(e(x)) - x \rvert , \qquad
   L_g = \Delta(e(g(Z))) + \lambda_z E \, (1 - \cos(e(g(z)), z)) .

Either loss has the other network as a constant.

The encoder is the discriminator here, and takes turns with the generator, which has two or three
steps for each of the encoder's: with one, the encoder soon gathers all encodings of generated
images in one place. The default weights are those of the published code for CelebA in the units
from above: it counts :math:`-\log s^2`, pixels in [-1, 1], and the cosine by the mean over
the dimensions. Other than there, images and generated images are encoded as one batch: normalised
each for themselves, the encoder could not tell them apart by what all of a batch have in common.

**Not for a RevNet**: its encoder is the inverse of its generator, so encoded samples are the
samples themselves, and nobody plays.

References: Ulyanov, Vedaldi and Lempitsky, "It takes (only) two: adversarial generator-encoder
networks" (2018), and the authors' code (github.com/DmitryUlyanov/AGE).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from genrev import objectives
from genrev.models import GenerativeModel
from genrev.networks import ConvAutoencoder
from genrev.options import Count, Weight
from genrev.options import Options as AnyOptions
from genrev.training.config import Rate
from genrev.training.methods.adversarial import AdversarialMethod
from genrev.training.methods.autoencoder import AutoencoderMethod
from genrev.training.methods.method import Batch, Noise


class AGE(AutoencoderMethod, AdversarialMethod):
    """Training of a convolutional autoencoder whose two halves are adversaries."""

    class Options(AdversarialMethod.Options):
        reconstruction_weight: Weight = 10.0
        """Weight of the mean absolute error of decoded encodings, which the encoder minimises."""
        latent_weight: Weight = 8.0
        """Weight of 1 less the cosine of samples and their decoded and encoded selves, which the
        generator minimises."""
        generator_steps: Count = 3
        """Steps of the generator for each step of the encoder, which has the first one."""
        discriminator_lr: Rate = 1e-3
        """Learning rate of Adam for the encoder, which is the discriminator; ``optimizer.lr`` is
        the generator's."""

    options: Options

    latents = "--method age has a sphere"

    def network_options(self, given: AnyOptions) -> AnyOptions:
        """An encoder of points on a sphere."""
        return given.replace(stochastic=False, spherical=True)

    def build_discriminator(self, model: GenerativeModel) -> nn.Module:
        """The encoder itself, in which nothing is drawn anew."""
        net = _autoencoder(model)
        return nn.ModuleList([net.encoder, net.mean])

    def trains_discriminator(self, phase: str, step_of_phase: int) -> bool:
        return step_of_phase % (1 + self.options.generator_steps) == 0

    def discriminator_loss(self, model: GenerativeModel, batch: Batch, noise: Noise) -> Tensor:
        """Gap and weighted reconstruction, which the encoder minimises."""
        x = batch.images
        with torch.no_grad():
            generated = model.decode(batch.share(noise.latents(model.prior, batch.total)))
        z, told = model.encode(torch.cat((x, generated.to(x)))).chunk(2)
        with _constant(_autoencoder(model).decoder):
            decoded = model.decode(z)
        # Logarithms of variances need float32, whatever the convolutions run in.
        with torch.autocast(x.device.type, enabled=False):
            real, fake = (divergence(batch.gather(points.float())) for points in (z, told))
            error = (decoded.float() - x).abs().mean()
            return real - fake + self.options.reconstruction_weight * error

    def losses(self, model: GenerativeModel, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Divergence and cosine of encoded samples, which the generator minimises."""
        samples = batch.share(noise.latents(model.prior, batch.total))  # (n, D)
        generated = model.decode(samples).to(batch.images)
        with _constant(self._built()):
            _, returned = model.encode(torch.cat((batch.images, generated))).chunk(2)
        with torch.autocast(samples.device.type, enabled=False):
            cosine = torch.cosine_similarity(returned.float(), samples.float())
            own = divergence(batch.gather(returned.float()))
            return {"divergence": own, "latent": 1 - cosine.mean()}


def divergence(z: Tensor) -> Tensor:
    """Divergence per dimension of encodings (N, D) from the standard normal, by their moments.

    Example:
        >>> z = torch.tensor([[-1.0, 0.0], [1.0, 2.0]])  # standard deviations 1, means 0 and 1
        >>> float(divergence(z))
        0.25
    """
    variance = z.var(0, correction=0).clamp(min=1e-12)
    return objectives.kl_divergence(z.mean(0)[None], variance.log()[None]) / z.shape[1]


def _autoencoder(model: GenerativeModel) -> ConvAutoencoder:
    assert isinstance(model.net, ConvAutoencoder)
    return model.net


@contextmanager
def _constant(module: nn.Module) -> Iterator[None]:
    """A module whose parameters get no gradient from what is computed in a ``with`` block."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
