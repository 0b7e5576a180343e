r"""An adversary on decoded images, beside a reconstruction loss that keeps its say.

A pixel-wise loss on images that were decoded from few dimensions asks for the mean of all images
that these leave open: a blur. A discriminator on decoded encodings *and* on decoded samples asks
for one of them, and the distance of an image and its reconstruction in the discriminator's own
features says which one without comparing pixels.

Both are measured at the image: their gradients there are scaled to a share of the gradient of the
reconstruction loss, so that one setting serves data and networks of all kinds,

.. math::
   g = g_r + a \frac{\lVert g_r \rVert}{\lVert g_a \rVert} g_a
           + b \frac{\lVert g_r \rVert}{\lVert g_f \rVert} g_f .

The discriminator learns in the same step, from the same decoded images.

References: Larsen et al., "Autoencoding beyond pixels using a learned similarity metric" (2016);
Parmar et al., "Dual contradistinctive generative autoencoder" (2021); Esser et al., "Taming
transformers for high-resolution image synthesis" (2021), for the balance of gradients.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from genrev.networks import ImageDiscriminator
from genrev.objectives import hinge_discriminator_loss

_LEAST = 1e-12  # norm of a gradient


class ImageAdversary(nn.Module):
    """A discriminator of images, and what it adds to the losses of a method with a decoder.

    Args:
        image_shape: channels, height and width of the images.
        width: channels of the discriminator's first convolution.
        adversary: gradient of the score, as a share of that of the reconstruction.
        features: gradient of the distance in features, as a share of that too.
    """

    def __init__(
        self, image_shape: tuple[int, ...], width: int, adversary: float, features: float
    ) -> None:
        super().__init__()
        self.discriminator = ImageDiscriminator(image_shape, width)
        self.adversary = adversary
        self.features = features

    def losses(
        self,
        x: Tensor,
        decoded: Tensor,
        sampled: Tensor,
        reconstruction: Callable[[Tensor], Tensor],
    ) -> dict[str, Tensor]:
        """Losses ``image`` of the model and ``image_discriminator`` of the discriminator.

        The value of ``image`` is the mean score of decoded images, with its sign changed; its
        gradient is that of score and features, balanced.

        Args:
            x: images (n, C, H, W).
            decoded: their reconstructions, same shape.
            sampled: decoded samples (m, C, H, W).
            reconstruction: the weighted reconstruction loss as a function of ``decoded``.
        """
        judge = self.discriminator.eval().requires_grad_(False)
        leaf = decoded.detach().requires_grad_()
        (g_reconstruction,) = torch.autograd.grad(reconstruction(leaf), leaf)
        share = g_reconstruction.norm()
        score = -judge(leaf).mean()
        (g_score,) = torch.autograd.grad(score, leaf)
        scale = self.adversary * share / g_score.norm().clamp(min=_LEAST)
        pull = scale * g_score
        if self.features:
            distance = _distance(judge.features(leaf), judge.features(x))
            (g_features,) = torch.autograd.grad(distance, leaf)
            pull = pull + self.features * share / g_features.norm().clamp(min=_LEAST) * g_features
        along = (decoded * pull).sum()
        drawn = sampled.detach().requires_grad_()
        (g_drawn,) = torch.autograd.grad(-judge(drawn).mean(), drawn)
        along = along + (sampled * (scale * g_drawn)).sum()
        return {
            "image": along - along.detach() + score.detach(),
            "image_discriminator": self._own_loss(x, decoded.detach(), sampled.detach()),
        }

    def _own_loss(self, x: Tensor, decoded: Tensor, sampled: Tensor) -> Tensor:
        learning = self.discriminator.train().requires_grad_(True)
        scores = learning(torch.cat((x, decoded, sampled)))
        return hinge_discriminator_loss(scores[: len(x)], scores[len(x) :])


def _distance(ours: list[Tensor], theirs: list[Tensor]) -> Tensor:
    """Mean absolute difference of features, each layer in units of its own spread."""
    pairs = zip(ours, theirs, strict=True)
    return sum(((a - b.detach()).abs().mean() / (b.detach().std() + 1e-6)) for a, b in pairs)  # type: ignore[return-value]
