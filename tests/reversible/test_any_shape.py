"""Vectors, signals, images, volumes and tokens: one contract for all of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_memory import kept_bytes
from torch import nn
from torch.autograd.functional import jacobian

from genrev.reversible import (
    AdditiveCoupling,
    AffineCoupling,
    CheckerboardSubsample,
    HaarBands,
    ReversibleSequential,
    ZeroPad,
    round_to_grid,
)

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SHAPES = {
    "vectors": (3, 8),
    "signals": (3, 2, 8),
    "images that are not square": (3, 2, 4, 6),
    "volumes": (2, 1, 4, 4, 4),
    "tokens": (3, 5, 8),
}


def layer(kind, channels, out):
    """A layer on half of the channels of such a stream."""
    dims = len(SHAPES[kind]) - 2
    if kind in ("vectors", "tokens"):
        return nn.Linear(channels, out)
    return CONVOLUTIONS[dims](channels, out, 3, padding=1)


def network(kind, half, out):
    return nn.Sequential(layer(kind, half, 5), nn.Tanh(), layer(kind, 5, out))


def chain(kind, coupling, depth=2, **engine):
    shape, blocks = SHAPES[kind], []
    dim = 2 if kind == "tokens" else 1
    channels, dims = shape[dim], len(shape) - 2
    if kind not in ("vectors", "tokens"):
        blocks += [CheckerboardSubsample(), HaarBands(channels, dims)]
        channels *= 2**dims
    half = channels // 2
    for _ in range(depth):
        if coupling == "additive":
            f, g = (network(kind, half, half) for _ in "fg")
            blocks.append(AdditiveCoupling(f, g, dim))
        else:
            f, g = (network(kind, half, channels) for _ in "fg")
            blocks.append(AffineCoupling(f, g, channels, dim))
    return ReversibleSequential(*blocks, **engine).double()


def results(net, x):
    x = x.clone().requires_grad_()
    y, log_det = net.forward_with_log_det(x)
    back = net.inverse(0.9 * y)
    loss = (y * y.detach().cos()).sum() + log_det.square().sum() + back.square().sum()
    grads = torch.autograd.grad(loss, (x, *net.parameters()))
    return [y.detach(), log_det.detach(), *grads]


def in_both_ways(net, x):
    """Results with recomputed and with stored activations."""
    found = []
    for memory in ("reversible", "stored"):
        net.set_engine(net.engine.replace(memory=memory))
        found.append(results(net, x))
    return found


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_round_trips_and_gradients_of_every_shape(kind, coupling):
    net, x = chain(kind, coupling), torch.rand(SHAPES[kind], dtype=torch.float64)
    assert torch.allclose(net.inverse(net(x)), x, atol=1e-12)
    found = in_both_ways(net, x)
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", SHAPES)
def test_log_determinants_are_those_of_the_jacobian(kind):
    net, x = chain(kind, "affine"), torch.rand(SHAPES[kind], dtype=torch.float64)
    _, log_det = net.forward_with_log_det(x)
    for one, number in zip(x, log_det, strict=True):
        matrix = jacobian(lambda a: net(a[None])[0].flatten(), one).reshape(one.numel(), -1)
        assert torch.linalg.slogdet(matrix).logabsdet.item() == pytest.approx(number.item())


@pytest.mark.parametrize("kind", SHAPES)
def test_exact_in_every_shape(kind):
    net = chain(kind, "additive", exact=True)
    x = round_to_grid(torch.rand(SHAPES[kind], dtype=torch.float64))
    assert torch.equal(net.inverse(net(x)), x)
    found = in_both_ways(net, x)
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


@given(dims=st.integers(1, 3), channels=st.integers(1, 4), n=st.integers(0, 2), data=st.data())
@settings(max_examples=30)
def test_subsampling_and_bands_are_orthogonal(dims, channels, n, data):
    sizes = [2 * data.draw(st.integers(1, 3)) for _ in range(dims)]
    x = torch.randn(n, channels, *sizes, dtype=torch.float64)
    for block in (
        CheckerboardSubsample(),
        ReversibleSequential(CheckerboardSubsample(), HaarBands(channels, dims)),
    ):
        y = block(x)
        assert y.shape == (n, channels * 2**dims, *(size // 2 for size in sizes))
        assert torch.allclose(block.inverse(y), x, atol=1e-12)
        assert torch.allclose(y.square().sum(), x.square().sum())


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_first_band_is_the_mean_of_a_patch_and_the_others_are_differences(dims):
    x = torch.rand(1, 1, *[2] * dims, dtype=torch.float64)
    bands = HaarBands(1, dims)(CheckerboardSubsample()(x)).flatten()
    assert bands[0].item() == pytest.approx(x.sum().item() / 2 ** (dims / 2))
    flat = HaarBands(1, dims)(CheckerboardSubsample()(torch.ones_like(x))).flatten()
    assert torch.allclose(flat[1:], torch.zeros_like(flat[1:]), atol=1e-12)


def test_the_colours_of_the_checkerboard_are_the_halves():
    """In three dimensions as in two: no two places of one half are neighbours."""
    x = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    first, second = CheckerboardSubsample()(x).flatten().chunk(2)
    assert first.tolist() == [0, 3, 5, 6]  # 000, 011, 101, 110
    assert second.tolist() == [1, 2, 4, 7]


@pytest.mark.parametrize("kind", ["signals", "images that are not square", "volumes"])
def test_padding_of_every_shape(kind):
    x, pad = torch.rand(SHAPES[kind]), ZeroPad(2)
    y = pad(x)
    assert y.shape == (*x.shape[:2], *(size + 4 for size in x.shape[2:]))
    assert torch.equal(pad.left_inverse(y), x)
    assert y.sum() == pytest.approx(x.sum())


def likelihood(net, x):
    y, log_det = net.forward_with_log_det(x)
    return y.square().sum() - log_det.sum()


@pytest.mark.parametrize("coupling", ["additive", "affine"])
@pytest.mark.parametrize("kind", SHAPES)
def test_what_is_kept_does_not_grow_with_depth(kind, coupling):
    x = torch.rand(SHAPES[kind], dtype=torch.float64)
    sizes = [kept_bytes(likelihood, chain(kind, coupling, depth), x) for depth in (2, 32)]
    assert sizes[0] == sizes[1]


def test_channels_may_be_another_dimension_from_one_block_to_the_next():
    """Alternating splits, of channels and of tokens, as transformers use them."""
    f, g = (nn.Linear(4, 4) for _ in "fg")
    mixes = [nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in "fg"]
    blocks = [AdditiveCoupling(f, g, -1), AdditiveCoupling(*mixes, dim=1)]
    net, x = ReversibleSequential(*blocks).double(), torch.rand(3, 6, 8, dtype=torch.float64)
    assert torch.allclose(net.inverse(net(x)), x, atol=1e-12)
    found = in_both_ways(net, x)
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CheckerboardSubsample()(torch.rand(2, 3)), "got shape"),
        (lambda: CheckerboardSubsample()(torch.rand(2, 3, 5)), "halves every size and got 5"),
        (lambda: HaarBands(1, 1)(torch.rand(1, 4, 2, 2)), r"takes \(N, C, L\) and got shape"),
        (lambda: AdditiveCoupling(nn.Linear(1, 1), nn.Linear(1, 1))(torch.rand(3)), "got shape"),
        (
            lambda: AdditiveCoupling(nn.Linear(1, 1), nn.Linear(1, 1), -1)(torch.rand(2, 4, 3)),
            "two halves and got 3 of them",
        ),
    ],
)
def test_other_shapes_are_refused_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
