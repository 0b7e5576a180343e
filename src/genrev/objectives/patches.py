r"""How far the patches of two sets of images are from each other, as distributions.

A pixel-wise loss compares every image with its own, and an image that is decoded from few
dimensions then comes out as a mean: blurred. Here *sets* of images are compared, and a set of
blurred ones lacks the contrasts of the other. Both are taken apart into bands of a Laplacian
pyramid; at every other place of a band, the patches that the images have there are projected on
random directions, and the sorted projections are compared: the sliced Wasserstein distance of
patches. In the average over directions it is zero only where patches have the same distribution. No
network judges, nothing is trained, and the gradient is as steady as that of a pixel-wise loss.

Patches of several places are no one distribution here: if they were, a decoder could make up for
the contrast of all of them at one, by a dot that every image has there.

References: Rabin et al., "Wasserstein barycenter and its application to texture mixing" (2011);
Karras et al., "Progressive growing of GANs" (2018), Section 5, for patches of a Laplacian pyramid
as a measure of samples; Elnekave and Weiss, "Generating natural images with direct patch
distribution matching" (2022), for projections as convolutions.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

COARSEST = 8  # pixels along a side of the last band
_STRIDE = 2  # between patches, which overlap all the same
_LEAST = 1e-6  # contrast of a band, of pixels in [0, 1]


def sliced_patch_distance(a: Tensor, b: Tensor, filters: Tensor) -> Tensor:
    """Sliced Wasserstein distance between the patches of two sets of images, summed over bands.

    Each band is measured in units of the standard deviation that ``b`` has in it.

    Args:
        a, b: as many images, (n, C, H, W), H and W at least 8; ``b`` is what ``a`` should be like.
        filters: directions to project patches on, (K, C, p, p), each of length 1; random ones, new
            in every step, see ``random_filters``.

    Raises:
        ValueError: shapes that do not fit together, or images that are too small.

    Example:
        >>> images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> filters = random_filters(8, 3, generator=torch.Generator().manual_seed(0))
        >>> float(sliced_patch_distance(images.flip(0), images, filters))
        0.0
        >>> blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
        >>> bool(sliced_patch_distance(blurred, images, filters) > 0.5)
        True
    """
    if a.dim() != 4 or a.shape != b.shape or a.shape[1] != filters.shape[1]:
        raise ValueError(
            "sliced_patch_distance takes two sets of images of one shape (n, C, H, W) and filters "
            f"(K, C, p, p) and got {tuple(a.shape)}, {tuple(b.shape)} and {tuple(filters.shape)}."
        )
    if min(a.shape[2:]) < COARSEST:
        raise ValueError(
            f"Patches need images of {COARSEST}x{COARSEST} pixels or more and these have "
            f"{a.shape[2]}x{a.shape[3]}."
        )
    total = a.new_zeros(())
    for ours, theirs in zip(laplacian_bands(a), laplacian_bands(b), strict=True):
        sorted_ours, sorted_theirs = (
            _projected(band, filters).sort().values  # (K, h, w, n)
            for band in (ours, theirs)
        )
        contrast = theirs.detach().std().clamp(min=_LEAST)
        total = total + (sorted_ours - sorted_theirs).abs().mean() / contrast
    return total


def random_filters(
    num: int, channels: int, side: int = 5, generator: torch.Generator | None = None
) -> Tensor:
    """Directions drawn uniformly among patches: (num, channels, side, side), of length 1 each."""
    drawn = torch.randn(num, channels, side, side, generator=generator)
    return drawn / drawn.flatten(1).norm(dim=1)[:, None, None, None]


def laplacian_bands(images: Tensor) -> list[Tensor]:
    """Bands (n, C, h, w) of images (n, C, H, W), each half as large as the one before.

    A band is what a blur takes away; the blurred image, at every other pixel, has the next one.
    What the last blur leaves is not among them.
    """
    bands = []
    while min(images.shape[2:]) >= COARSEST:
        blurred = _blurred(images)
        bands.append(images - blurred)
        images = blurred[:, :, ::2, ::2]
    return bands


def _blurred(images: Tensor) -> Tensor:
    """Binomial weights (1, 4, 6, 4, 1) / 16 along each side: four means of two pixels."""
    padded = _reflected(_reflected(images, 2), 3)
    for _ in range(4):
        padded = F.avg_pool2d(padded, 2, stride=1)
    return padded


def _reflected(images: Tensor, dim: int) -> Tensor:
    """Two pixels more at both ends of a side, as in a mirror.

    The gradient of PyTorch's own reflection adds up in any order on CUDA, so no run could be
    repeated bit for bit.
    """
    before, after = images.narrow(dim, 1, 2), images.narrow(dim, images.shape[dim] - 3, 2)
    return torch.cat((before.flip(dim), images, after.flip(dim)), dim)


def _projected(band: Tensor, filters: Tensor) -> Tensor:
    side = filters.shape[-1]
    return F.conv2d(band, filters, stride=_STRIDE, padding=side // 2).movedim(0, -1)
