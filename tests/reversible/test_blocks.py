"""Properties that every invertible block has, and what makes each of them what it is."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd.functional import jacobian

from genrev.reversible import (
    AdditiveCoupling,
    AffineCoupling,
    CheckerboardSubsample,
    HaarBands,
    Offset,
    ReversibleSequential,
    SmallMapConv2d,
    ZeroPad,
)


def shift_network(channels, hidden=5):
    return nn.Sequential(
        SmallMapConv2d(channels, hidden, 3), nn.Tanh(), SmallMapConv2d(hidden, channels, 3)
    )


def coupling(channels):
    return AdditiveCoupling(shift_network(channels // 2), shift_network(channels // 2))


def chain(channels):
    return ReversibleSequential(
        coupling(channels), CheckerboardSubsample(), coupling(4 * channels), coupling(4 * channels)
    )


def haar(channels):
    return ReversibleSequential(CheckerboardSubsample(), HaarBands(channels))


BLOCKS = {
    "coupling": coupling,
    "subsample": lambda _: CheckerboardSubsample(),
    "haar": haar,
    "offset": lambda _: Offset(-0.5),
    "chain": chain,
}


def images(n, channels, size, dtype=torch.float64):
    return torch.randn(n, channels, size, size, dtype=dtype)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@given(n=st.integers(0, 4), half=st.integers(1, 4), size=st.sampled_from([2, 4, 6, 10]))
def test_both_round_trips(name, dtype, tolerance, n, half, size):
    block = BLOCKS[name](2 * half).to(dtype)
    x = images(n, 2 * half, size, dtype)
    y = block(x)
    assert torch.allclose(block.inverse(y), x, atol=tolerance)
    y = torch.randn_like(y)
    assert torch.allclose(block(block.inverse(y)), y, atol=tolerance)


@pytest.mark.parametrize("name", BLOCKS)
def test_volume_is_preserved_and_jacobians_are_inverse(name):
    block = BLOCKS[name](2).double()
    x = images(1, 2, 4)
    y = block(x)
    forward = jacobian(block, x).reshape(x.numel(), x.numel())
    backward = jacobian(block.inverse, y).reshape(x.numel(), x.numel())
    assert torch.linalg.det(forward).abs().item() == pytest.approx(1.0, abs=1e-10)
    assert torch.allclose(forward @ backward, torch.eye(x.numel(), dtype=x.dtype), atol=1e-10)


@pytest.mark.parametrize("name", BLOCKS)
def test_inputs_are_not_modified(name):
    block = BLOCKS[name](4)
    x = images(2, 4, 4, torch.float32)
    before = x.clone()
    y = block(x)
    kept = y.clone()
    block.inverse(y)
    assert torch.equal(x, before)
    assert torch.equal(y, kept)


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_flow_through_the_inverse(name):
    block = BLOCKS[name](2).double()
    y = block(images(1, 2, 4)).detach().requires_grad_()
    assert torch.autograd.gradcheck(block.inverse, (y,))


def test_coupling_is_the_equations_of_the_paper():
    f, g = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
    x1, x2 = images(3, 1, 2, torch.float32), images(3, 1, 2, torch.float32)
    y1 = f(x2) + x1
    y2 = g(y1) + x2
    assert torch.equal(AdditiveCoupling(f, g)(torch.cat((x1, x2), 1)), torch.cat((y1, y2), 1))


def subsample_by_index(x):
    """The index map written as loops, straight from Figure 2 and the authors' order."""
    n, channels, height, width = x.shape
    groups = [range(channels)]
    if channels % 2 == 0:
        groups = [range(channels // 2), range(channels // 2, channels)]
    planes = []
    for group, (i, j) in itertools.product(groups, ((0, 0), (1, 1), (0, 1), (1, 0))):
        for channel in group:
            plane = x.new_empty(n, height // 2, width // 2)
            for row, column in itertools.product(range(height // 2), range(width // 2)):
                plane[:, row, column] = x[:, channel, 2 * row + i, 2 * column + j]
            planes.append(plane)
    return torch.stack(planes, 1)


@given(channels=st.integers(1, 6), height=st.sampled_from([2, 4, 6]), width=st.sampled_from([2, 8]))
def test_subsample_against_loops(channels, height, width):
    x = torch.arange(2 * channels * height * width).reshape(2, channels, height, width)
    assert torch.equal(CheckerboardSubsample()(x), subsample_by_index(x))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_either_stream_sees_the_whole_image_after_subsampling(channels):
    """Every 4x4 patch, whichever its channel, sends pixels into both halves of the channels."""
    x = torch.zeros(1, channels, 8, 8)
    x[:, :, 2:6, 2:6] = 1
    if channels % 2 == 0:
        x = x[:, : channels // 2].repeat(1, 2, 1, 1)
    first, second = CheckerboardSubsample()(x).chunk(2, 1)
    assert first.sum() == second.sum() == x.sum() / 2


def test_padding_has_a_one_sided_inverse_only():
    pad = ZeroPad(2)
    x = images(3, 1, 6)
    assert torch.equal(pad.left_inverse(pad(x)), x)
    y = images(3, 1, 10)
    assert not torch.equal(pad(pad.left_inverse(y)), y)
    assert not hasattr(pad, "inverse")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: coupling(2)(torch.zeros(1, 3, 2, 2)), "even number of channels"),
        (lambda: coupling(2)(torch.zeros(3, 2, 2)), r"\(N, C, H, W\)"),
        (lambda: CheckerboardSubsample()(torch.zeros(1, 1, 3, 4)), "even sizes"),
        (lambda: CheckerboardSubsample()(torch.zeros(1, 1, 4, 3)), "even sizes"),
        (lambda: CheckerboardSubsample()(torch.zeros(4, 4)), r"\(N, C, H, W\)"),
        (lambda: CheckerboardSubsample().inverse(torch.zeros(1, 6, 2, 2)), "merges 4 channels"),
        (lambda: ZeroPad(-1), "0 or more"),
        (lambda: ZeroPad(3).left_inverse(torch.zeros(1, 1, 4, 4)), "cannot crop"),
        (lambda: SmallMapConv2d(1, 1, 2), "odd"),
        (
            lambda: AdditiveCoupling(nn.Conv2d(1, 1, 3), nn.Identity())(torch.zeros(1, 2, 4, 4)),
            "keep the shape",
        ),
    ],
)
def test_wrong_shapes_are_told_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(2), nn.SyncBatchNorm(2)])
@pytest.mark.parametrize("place", ["f", "g"])
def test_batch_norm_is_refused_with_the_reason(layer, place):
    networks = {"f": nn.Identity(), "g": nn.Identity(), place: nn.Sequential(nn.ReLU(), layer)}
    with pytest.raises(ValueError, match=rf"{place}\.1 .* batch statistics .*GroupNorm"):
        AdditiveCoupling(**networks)


def test_a_chain_takes_invertible_blocks_only():
    with pytest.raises(
        TypeError,
        match=r"^Block 1 is a ReLU and no genrev.reversible.Block; inherit from .*ModuleBlock\.$",
    ):
        ReversibleSequential(CheckerboardSubsample(), nn.ReLU())


@given(
    size=st.sampled_from([(1, 1), (2, 2), (4, 4), (2, 4), (3, 3), (5, 5), (8, 8), (16, 16)]),
    kernel=st.sampled_from([1, 3, 5]),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    n=st.integers(0, 3),
)
def test_small_map_convolution_is_the_convolution(size, kernel, channels, n):
    fast = SmallMapConv2d(*channels, kernel).double()
    plain = nn.Conv2d(*channels, kernel, padding=kernel // 2).double()
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(n, channels[0], *size, dtype=torch.float64, requires_grad=True)
    results = []
    for conv in (fast, plain):
        y = conv(x)
        grads = torch.autograd.grad((y * y.detach().cos()).sum(), (x, *conv.parameters()))
        results.append((y, *grads))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-10)


def test_a_convolution_first_used_for_inference_can_be_trained_later():
    conv = SmallMapConv2d(1, 1, 3)
    with torch.inference_mode():
        conv(torch.rand(1, 1, 3, 1))
    conv(torch.rand(1, 1, 3, 1)).sum().backward()
    assert conv.weight.grad.any()


def test_blocks_are_given_one_by_one():
    with pytest.raises(TypeError, match=r"is a list .*; give blocks one by one"):
        ReversibleSequential([CheckerboardSubsample()])


@pytest.mark.parametrize(("channels", "given"), [(2, 4), (8, 4), (2, 8)])
def test_affine_couplings_are_for_their_number_of_channels(channels, given):
    networks = [nn.Conv2d(given // 2, given, 1) for _ in range(2)]
    block = AffineCoupling(*networks, channels)
    for run in (block, block.inverse, block.forward_with_log_det):
        with pytest.raises(ValueError, match=f"is for {channels} channels and got {given}"):
            run(torch.rand(3, given, 2, 2))
