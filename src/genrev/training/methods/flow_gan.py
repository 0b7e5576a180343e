r"""An adversary on images, with or without a likelihood: Flow-GAN.

The decoder of a bijective network draws images from the prior as a GAN's generator does, and
unlike one it gives every image a density too. So both can be trained at once,

.. math:: L_G = - E_s \, D(\mathrm{decode}(s)) + \lambda \, \text{bits per dimension},

against a discriminator with the hinge loss of ``genrev.objectives.adversarial``, whose *real* are
the images of the data here, dequantised for both terms: it would otherwise tell them from decoded
ones by their being multiples of 1/255.

References: Grover et al., "Flow-GAN: combining maximum likelihood and adversarial learning in
generative models" (2018).
"""

import torch
from torch import Tensor, nn

from genrev.models import GenerativeModel
from genrev.networks import ImageDiscriminator
from genrev.objectives import hinge_discriminator_loss, hinge_encoder_loss
from genrev.options import Count, Weight
from genrev.training.methods.adversarial import AdversarialMethod
from genrev.training.methods.flow import FlowMethod
from genrev.training.methods.method import Batch, Noise


class FlowGAN(FlowMethod, AdversarialMethod):
    """Training of a bijective network to draw images that an adversary takes for real."""

    class Options(FlowMethod.Options, AdversarialMethod.Options):
        bits_per_dim_weight: Weight = 1.0
        """Weight of the bits per dimension beside the score of the discriminator, whose weight is
        1; 0 leaves the adversary alone."""
        discriminator_width: Count = 32
        """Channels of the discriminator's first convolution."""

    options: Options

    def build_discriminator(self, model: GenerativeModel) -> nn.Module:
        return ImageDiscriminator(model.image_shape, self.options.discriminator_width)

    def discriminator_loss(self, model: GenerativeModel, batch: Batch, noise: Noise) -> Tensor:
        """Hinge loss of dequantised images, which are real, and samples."""
        x = self.dequantised(batch, noise)
        with torch.no_grad():
            drawn = self._drawn(model, batch, noise)
        # One pass over both: one power iteration, and one function for the two.
        scores = self.learning()(torch.cat((x, drawn.to(x))))
        return hinge_discriminator_loss(scores[: len(x)], scores[len(x) :])

    def losses(self, model: GenerativeModel, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """The score of samples, and the bits per dimension of images."""
        drawn = self._drawn(model, batch, noise)
        parts = {"adversary": hinge_encoder_loss(self.judging()(drawn))}
        if self.options.bits_per_dim_weight > 0:
            parts["bits_per_dim"] = self.bits_per_dim(model, self.dequantised(batch, noise))
        return parts

    def _drawn(self, model: GenerativeModel, batch: Batch, noise: Noise) -> Tensor:
        """This rank's images of a global batch of samples, (n, C, H, W), not clipped."""
        z = noise.latents(model.prior, batch.total)
        return model.decode(batch.share(z))
