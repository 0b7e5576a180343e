"""Lifting: shears against whole matrices, bands and colours against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from genrev.reversible import (
    CheckerboardSubsample,
    FixedPoint,
    HaarBands,
    Lifting,
    LumaChroma,
    ReversibleSequential,
    Shear,
    round_to_grid,
)


@st.composite
def liftings(draw):
    """A lifting of a few groups, and the matrix that its steps multiply to."""
    groups = draw(st.integers(2, 5))
    steps, matrix = [], np.eye(groups)
    for _ in range(draw(st.integers(0, 8))):
        target, source = draw(st.permutations(range(groups)))[:2]
        factor = draw(st.floats(-2, 2))
        steps.append(Shear(target, source, factor))
        step = np.eye(groups)
        step[target, source] = factor
        matrix = step @ matrix
    return Lifting(groups, steps), torch.from_numpy(matrix)


def mix(matrix, x):
    """Multiply the groups of channels by a matrix."""
    groups = x.unflatten(1, (len(matrix), -1))
    return torch.einsum("ij,njchw->nichw", matrix.to(x.dtype), groups).flatten(1, 2)


@given(liftings(), st.integers(1, 3), st.integers(0, 2))
def test_the_shears_multiply_to_a_matrix_of_determinant_one(pair, width, n):
    block, matrix = pair
    x = torch.randn(n, width * len(matrix), 2, 3, dtype=torch.float64)
    assert torch.allclose(block(x), mix(matrix, x), rtol=1e-9, atol=1e-9)
    assert torch.allclose(block.inverse(block(x)), x, atol=1e-7)
    assert np.linalg.det(matrix.numpy()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("inverse", [False, True])
@given(pair=liftings(), seed=st.integers(0, 2**31))
def test_on_the_grid_nothing_is_lost(inverse, pair, seed):
    block, _ = pair
    generator = torch.Generator().manual_seed(seed)
    x = FixedPoint.of(torch.randn(2, block.groups, 2, 2, generator=generator))
    there, back = (block.inverse, block.forward) if inverse else (block.forward, block.inverse)
    assert torch.equal(back(there(x)).steps, x.steps)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("exact", [False, True])
@given(pair=liftings())
def test_gradients_are_those_of_autograd(inverse, exact, pair):
    block, matrix = pair
    x = round_to_grid(torch.randn(2, len(matrix), 2, 2, dtype=torch.float64))
    results = []
    for memory in ("reversible", "stored"):
        chain = ReversibleSequential(block, memory=memory, exact=exact)
        start = x.clone().requires_grad_()
        y = (chain.inverse if inverse else chain)(start)
        (grad,) = torch.autograd.grad((y * y.detach().cos()).sum(), start)
        results.append(grad)
    # Steps that share a source add their gradients in another order: rounding, no more.
    assert torch.allclose(*results, rtol=1e-12, atol=1e-12)
    total = torch.linalg.inv(matrix) if inverse else matrix
    assert torch.allclose(results[0], mix(total.T, y.detach().cos()), atol=1e-6)


def haar_by_loops(x):
    """Each patch by its definition, halves of an even number of channels by themselves."""
    halves = x.chunk(2, 1) if x.shape[1] % 2 == 0 else (x,)
    planes = []
    for half in halves:
        a, b = half[:, :, 0::2, 0::2], half[:, :, 0::2, 1::2]
        c, d = half[:, :, 1::2, 0::2], half[:, :, 1::2, 1::2]
        planes += [a + b + c + d, a + d - b - c, b + d - a - c, c + d - a - b]
    return torch.cat(planes, 1) / 2


@given(channels=st.integers(1, 6), size=st.sampled_from([2, 4, 6]), n=st.integers(0, 2))
def test_bands_by_their_definition(channels, size, n):
    x = torch.randn(n, channels, size, size, dtype=torch.float64)
    bands = HaarBands(channels)(CheckerboardSubsample()(x))
    assert torch.allclose(bands, haar_by_loops(x), atol=1e-12)
    # Orthogonal: lengths stay.
    assert bands.square().sum() == pytest.approx(x.square().sum().item())


@given(
    channels=st.integers(1, 4),
    dims=st.integers(1, 3),
    inverse=st.booleans(),
    channels_last=st.booleans(),
)
def test_rotations_at_once_are_those_by_shears(channels, dims, inverse, channels_last):
    """In floating point bands are sums and differences; on the grid, they are shears."""
    bands = HaarBands(channels, dims)
    x = torch.randn(2, channels * 2**dims, *[2] * dims, dtype=torch.float64)
    if channels_last and dims == 2:
        x = x.contiguous(memory_format=torch.channels_last)
    chosen = bands.inverse if inverse else bands
    by_shears = Lifting.inverse if inverse else Lifting.forward
    y, expected = chosen(x), by_shears(Lifting(bands.groups, bands.steps), x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    back = (bands if inverse else bands.inverse)(y.float())
    torch.testing.assert_close(back, x.float(), rtol=0, atol=2e-6)
    assert chosen(x.clone().requires_grad_()).equal(y)


def test_bands_take_few_operations():
    """Sums and differences, what joins them and a factor, forwards and backwards."""
    x = torch.randn(2, 24, 4, 4, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        HaarBands(6)(x).sum().backward()
    calls = {event.key: event.count for event in profiler.key_averages()}
    assert calls["aten::add"] == calls["aten::sub"] == 2 * 8
    assert calls["aten::cat"] == calls["aten::mul_"] == 2
    assert "aten::mul" not in calls


def test_a_smooth_image_has_one_band():
    bands = HaarBands(1)(CheckerboardSubsample()(torch.full((1, 1, 4, 4), 0.25)))
    assert torch.allclose(bands[:, 0], torch.full((1, 2, 2), 0.5), atol=1e-7)
    assert bands[:, 1:].abs().max() < 1e-7


@given(st.lists(st.integers(0, 255), min_size=3, max_size=3))
def test_colours_by_their_definition(rgb):
    red, green, blue = rgb
    co, cg, luma = LumaChroma()(torch.tensor(rgb).double().reshape(1, 3, 1, 1)).flatten().tolist()
    assert luma == pytest.approx((red + 2 * green + blue) / 4)
    assert co == pytest.approx(red - blue)
    assert cg == pytest.approx(green - (red + blue) / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Lifting(2, [Shear(0, 0, 1.0)]), "two different groups"),
        (lambda: Lifting(2, [Shear(0, 2, 1.0)]), "two different groups out of 2"),
        (lambda: LumaChroma()(torch.zeros(1, 4, 2, 2)), "multiple of 3 channels and got 4"),
        (lambda: HaarBands(2)(torch.zeros(8, 2, 2)), r"\(N, C, H, W\)"),
    ],
)
def test_wrong_input_is_told_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
