r"""Losses on decoded images that sharpen them, beside a reconstruction loss that keeps its say.

A pixel-wise loss on images that were decoded from few dimensions asks for the mean of all images
that these leave open: a blur.

**Patches.** The distance between the patches of all reconstructions of a batch and those of its
images (``genrev.objectives.sliced_patch_distance``) asks for the contrasts that images have.
Nothing is trained for it.

**An adversary.** A discriminator on decoded encodings *and* on decoded samples asks for one of the
images in question, and the distance of an image and its reconstruction in the discriminator's own
features says which one without comparing pixels. It learns in the same step, from the same decoded
images.

All are measured at the image: their gradients there are scaled to a share of the gradient of the
reconstruction loss, so that one setting serves data and networks of all kinds,

.. math::
   g = g_r + \sum_i a_i \frac{\lVert g_r \rVert}{\lVert g_i \rVert} g_i .

References: Larsen et al., "Autoencoding beyond pixels using a learned similarity metric" (2016);
Parmar et al., "Dual contradistinctive generative autoencoder" (2021); Esser et al., "Taming
transformers for high-resolution image synthesis" (2021), for the balance of gradients.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from genrev.errors import GenrevError
from genrev.models import GenerativeModel
from genrev.networks import ImageDiscriminator
from genrev.objectives import hinge_discriminator_loss, random_filters, sliced_patch_distance
from genrev.objectives.patches import COARSEST
from genrev.options import Count, Fraction, Weight
from genrev.options import Options as AnyOptions
from genrev.seeding import seeded_weights
from genrev.training.config import Rate
from genrev.training.methods.method import Batch, Noise, Phase

_LEAST = 1e-12  # norm of a gradient
_FILTERS = 16  # directions that patches are projected on, new ones in every step

Loss = Callable[[Tensor], Tensor]


class ImageOptions(AnyOptions):
    """What a method with a decoder adds to its losses on decoded images."""

    image_patches: Weight = 0.0
    """Gradient of the distance between patches of reconstructions and of images, at the image, as
    a share of that of the reconstruction; 0 for none. It sets in after the fraction image_start of
    the steps."""
    image_adversary: Weight = 0.0
    """Gradient of an adversary on decoded images, as a share likewise; 0 for none. More than 0.02
    made faces worse."""
    image_features: Weight = 0.3
    """Gradient of the distance in the features of that adversary, as a share likewise."""
    image_start: Fraction = 0.6
    """Fraction of the steps after which these set in."""
    image_width: Count = 16
    """Channels of the adversary's first convolution."""
    image_lr: Rate = 4e-3
    """Learning rate of Adam for the adversary, which has to learn faster than the model."""


class ImageTerms(nn.Module):
    """What is added to the losses of a method with a decoder.

    Args:
        options: shares of the terms, and what the adversary is like.
        image_shape: channels, height and width of the images.
        seed: of the adversary's weights.
    """

    apart = ("image_discriminator",)

    def __init__(self, options: ImageOptions, image_shape: tuple[int, ...], seed: int = 0) -> None:
        super().__init__()
        self.options = options
        self.discriminator: ImageDiscriminator | None = None
        if options.image_patches and min(image_shape[1:]) < COARSEST:
            raise GenrevError(
                f"--method.image_patches is for images of {COARSEST}x{COARSEST} pixels or more and "
                f"these have {image_shape[1]}x{image_shape[2]}; leave it out."
            )
        if options.image_adversary:
            with seeded_weights(seed, "image discriminator"):
                self.discriminator = ImageDiscriminator(image_shape, options.image_width)

    @staticmethod
    def asked(options: ImageOptions) -> bool:
        """Whether there is any term."""
        return bool(options.image_patches or options.image_adversary)

    @classmethod
    def phases(
        cls, options: ImageOptions, phases: Sequence[Phase], max_steps: int
    ) -> Sequence[Phase]:
        """The phases of a method, the last of which goes on "with images" from some step on."""
        if not cls.asked(options):
            return phases
        start = max(phases[-1].start + 1, round(options.image_start * max_steps))
        return [*phases, Phase(f"{phases[-1].name} with images", start)]

    def trained_along(self) -> list[dict[str, Any]]:
        """The adversary, for Adam."""
        if self.discriminator is None:
            return []
        return [{"params": list(self.discriminator.parameters()), "lr": self.options.image_lr}]

    def losses(
        self,
        model: GenerativeModel,
        batch: Batch,
        decoded: Tensor,
        reconstruction: Loss,
        noise: Noise,
    ) -> dict[str, Tensor]:
        """The terms of a batch by name, in phases "with images".

        ``patches`` has the distance as its value, ``image`` the mean score of decoded images, with
        its sign changed; their gradients are balanced. ``image_discriminator`` is the adversary's.

        Args:
            decoded: reconstructions of the batch, (n, C, H, W).
            reconstruction: the weighted reconstruction loss as a function of ``decoded``.
        """
        parts: dict[str, Tensor] = {}
        with torch.autocast(decoded.device.type, enabled=False):
            decoded = decoded.float()
            unit = _pull(decoded, reconstruction)[1].norm()
            if self.options.image_patches:
                parts["patches"] = self._patches(batch.images, decoded, unit, noise)
        if self.discriminator is not None:
            sampled = self._sampled(model, batch, noise)
            parts |= self._against(self.discriminator, batch.images, decoded, sampled, unit)
        return parts

    def _patches(self, x: Tensor, decoded: Tensor, unit: Tensor, noise: Noise) -> Tensor:
        shape = _FILTERS, x.shape[1]
        filters = noise.draw("filters", lambda g: random_filters(*shape, generator=g), *shape)
        value, pull = _pull(decoded, lambda image: sliced_patch_distance(image, x, filters))
        return _with_gradient(value, (decoded, self.options.image_patches * _to(unit, pull)))

    def _sampled(self, model: GenerativeModel, batch: Batch, noise: Noise) -> Tensor:
        """Half as many decoded samples as there are images."""
        with torch.autocast(batch.images.device.type, enabled=False):
            labels = batch.gather(batch.labels) if model.prior.num_classes > 1 else None
            latents = batch.share(noise.latents(model.prior, batch.total, labels, "images"))
        half = max(1, len(latents) // 2)
        return model.decode(latents[:half], *(c[:half] for c in batch.context(model))).float()

    def _against(
        self, judge: ImageDiscriminator, x: Tensor, decoded: Tensor, sampled: Tensor, unit: Tensor
    ) -> dict[str, Tensor]:
        """Losses ``image`` of the model and ``image_discriminator`` of the discriminator."""
        options = self.options
        judge.eval().requires_grad_(False)
        score, pull = _pull(decoded, lambda image: -judge(image).mean())
        scale = options.image_adversary * unit / pull.norm().clamp(min=_LEAST)
        pull = scale * pull
        if options.image_features:
            real = judge.features(x)
            of_features = _pull(decoded, lambda image: _distance(judge.features(image), real))[1]
            pull = pull + options.image_features * _to(unit, of_features)
        of_samples = _pull(sampled, lambda image: -judge(image).mean())[1]
        model_loss = _with_gradient(score, (decoded, pull), (sampled, scale * of_samples))
        judge.train().requires_grad_(True)
        scores = judge(torch.cat((x, decoded.detach(), sampled.detach())))
        own = hinge_discriminator_loss(scores[: len(x)], scores[len(x) :])
        return {"image": model_loss, "image_discriminator": own}


def _pull(image: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """A loss as a constant, and its gradient at the image."""
    leaf = image.detach().requires_grad_()
    value = loss(leaf)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def _to(length: Tensor, gradient: Tensor) -> Tensor:
    return length / gradient.norm().clamp(min=_LEAST) * gradient


def _with_gradient(value: Tensor, *pulls: tuple[Tensor, Tensor]) -> Tensor:
    """A scalar of this value whose gradient at each image is the one beside it."""
    along: Tensor = sum((image * pull).sum() for image, pull in pulls)  # type: ignore[assignment]
    return along - along.detach() + value


def _distance(ours: list[Tensor], theirs: list[Tensor]) -> Tensor:
    """Mean absolute difference of features, each layer in units of its own spread."""
    pairs = zip(ours, theirs, strict=True)
    return sum(((a - b.detach()).abs().mean() / (b.detach().std() + 1e-6)) for a, b in pairs)  # type: ignore[return-value]
