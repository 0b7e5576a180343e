"""The sliced distance of patches, against other ways to compute it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genrev.objectives import laplacian_bands, random_filters, sliced_patch_distance


def images(seed, n=4, channels=2, height=16, width=16):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, height, width, generator=generator)


def filters(seed, num=3, channels=2, side=5):
    return random_filters(num, channels, side, torch.Generator().manual_seed(seed))


def by_hand(a, b, kernels):
    """Place by place and filter by filter, from patches that are cut out one by one."""
    total = 0.0
    for ours, theirs in zip(laplacian_bands(a.double()), laplacian_bands(b.double()), strict=True):
        (_, _, height, width), side = ours.shape, kernels.shape[-1]
        padded = [torch.nn.functional.pad(band, [side // 2] * 4) for band in (ours, theirs)]
        distances = []
        for kernel in kernels.double():
            for y in range(0, height, 2):
                for x in range(0, width, 2):
                    one, two = (
                        (band[:, :, y : y + side, x : x + side] * kernel).sum((1, 2, 3))
                        for band in padded
                    )
                    distances.append((one.sort().values - two.sort().values).abs().mean())
        total += torch.stack(distances).mean() / theirs.std()
    return float(total)


@settings(max_examples=3, deadline=None)
@given(
    height=st.integers(8, 17), width=st.integers(8, 10), n=st.integers(1, 3), seed=st.integers(0, 9)
)
def test_it_is_what_patches_give_that_are_cut_out_one_by_one(height, width, n, seed):
    a, b = (images(seed + i, n, 2, height, width) for i in range(2))
    kernels = filters(seed, num=1, side=3)
    found = float(sliced_patch_distance(a, b, kernels))
    assert found == pytest.approx(by_hand(a, b, kernels), rel=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 100), order=st.permutations(range(4)))
def test_sets_are_compared_and_not_images(seed, order):
    a, b = images(seed), images(seed + 1)
    kernels = filters(seed)
    ordered = float(sliced_patch_distance(a[list(order)], b, kernels))
    assert ordered == pytest.approx(float(sliced_patch_distance(a, b, kernels)), rel=1e-5)
    assert float(sliced_patch_distance(a[list(order)], a, kernels)) == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 100), shift=st.floats(-0.5, 0.5), scale=st.floats(0.1, 3))
def test_brightness_counts_for_nothing_and_contrast_for_what_is_missing(seed, shift, scale):
    a, kernels = images(seed), filters(seed)
    assert float(sliced_patch_distance(a + shift, a, kernels)) < 1e-4
    # Of half the contrast half is missing, wherever images are in units of their own contrast.
    half = float(sliced_patch_distance(a / 2, a, kernels))
    assert float(sliced_patch_distance(a, a / 2, kernels)) == pytest.approx(2 * half, rel=1e-4)
    rescaled = float(sliced_patch_distance(scale * a / 2, scale * a, kernels))
    assert rescaled == pytest.approx(half, rel=1e-4)


def test_a_dot_at_one_place_does_not_make_up_for_contrast_at_others():
    """Contrasts of all places together would be nearer to those of the images with it."""
    a, kernels = images(0, 20, 1, 32, 32), filters(0, 8, 1)
    flat = (a - 0.5) / 2 + 0.5
    dotted = flat.clone()
    dotted[::2, :, 16, 16], dotted[1::2, :, 16, 16] = -2, 3
    before, after = (float(sliced_patch_distance(x, a, kernels)) for x in (flat, dotted))
    assert after > before


@settings(max_examples=20, deadline=None)
@given(size=st.integers(8, 40), seed=st.integers(0, 9))
def test_bands_halve_and_add_up_to_the_image(size, seed):
    x = images(seed, 2, 1, size, size)
    bands = laplacian_bands(x)
    assert bands[0].shape[-1] == size
    assert all(band.shape[-1] >= 8 for band in bands)
    low = x - bands[0]  # the blur, whose every other pixel has the next band
    if len(bands) > 1:
        torch.testing.assert_close(laplacian_bands(low[:, :, ::2, ::2])[0], bands[1])
    binomial = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="reflect")
    blurred = torch.nn.functional.conv2d(padded, torch.outer(binomial, binomial)[None, None])
    torch.testing.assert_close(low, blurred)
    constant = torch.full((1, 1, size, size), 0.3)
    assert laplacian_bands(constant)[0].abs().max() < 1e-6  # a blur keeps what is even


def test_filters_have_length_one_and_no_direction_is_preferred():
    drawn = random_filters(4000, 1, 2, torch.Generator().manual_seed(0)).flatten(1)
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(4000))
    torch.testing.assert_close(drawn.T @ drawn / 4000, torch.eye(4) / 4, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("a", "b", "kernels"),
    [((2, 1, 8, 8), (2, 1, 9, 9), (1, 1, 3, 3)), ((2, 1, 8, 8), (2, 1, 8, 8), (1, 2, 3, 3))],
)
def test_shapes_that_do_not_fit_are_refused(a, b, kernels):
    with pytest.raises(ValueError, match="two sets of images of one shape"):
        sliced_patch_distance(torch.rand(a), torch.rand(b), torch.rand(kernels))


def test_images_without_a_band_are_refused():
    with pytest.raises(ValueError, match="8x8 pixels or more and these have 7x9"):
        sliced_patch_distance(torch.rand(1, 1, 7, 9), torch.rand(1, 1, 7, 9), filters(0, 1, 1))
