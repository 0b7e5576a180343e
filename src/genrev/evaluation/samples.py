"""Samples to measure: drawn class by class, and seen as the files they would be stored in."""

import torch
from torch import Tensor

from genrev.errors import GenrevError
from genrev.models.inference import inference
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["samples_as_stored"]

SAMPLES_AT_ONCE = 250


def samples_as_stored(
    model: GenerativeAutoencoder, n: int, seed: int
) -> tuple[Tensor, Tensor | None]:
    """Draw class-balanced samples and round them to bytes as an image file would.

    Samples are drawn 250 at a time whatever the batch size of the evaluation, so that a seed
    stands for the same samples always.

    Args:
        model: What to sample from.
        n: Number of samples; the first ``n % num_classes`` classes get one more than the rest.
        seed: Seed of the CPU generator all noise comes from.

    Returns:
        Samples, uint8 of shape (n, C, H, W), ordered by class, and the classes they were drawn
        for, int64 of shape (n,), or None for a model whose prior has one class. Both on the CPU.

    Raises:
        GenrevError: If a sample is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    classes = model.prior.num_classes
    counts = [n // classes + (label < n % classes) for label in range(classes)]
    drawn: list[Tensor] = []
    with inference(model):
        for label, count in enumerate(counts):
            for start in range(0, count, SAMPLES_AT_ONCE):
                images = model.sample(
                    min(SAMPLES_AT_ONCE, count - start),
                    label=label if classes > 1 else None,
                    generator=generator,
                )
                drawn.append(_as_bytes(images))
    samples = torch.cat(drawn)
    if classes == 1:
        return samples, None
    return samples, torch.arange(classes).repeat_interleave(torch.tensor(counts))


def _as_bytes(images: Tensor) -> Tensor:
    if not images.isfinite().all():
        raise GenrevError(
            "the model draws samples with values that are not finite; its training has diverged, "
            "so evaluate an earlier checkpoint or train with a smaller learning rate"
        )
    return (images * 255).round().clamp(0, 255).to("cpu", torch.uint8)
