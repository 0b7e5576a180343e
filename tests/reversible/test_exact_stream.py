"""exact=True: round trips without any error, and gradients equal to the stored ones bit for bit."""

import contextlib
import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from genrev.errors import GenrevError
from genrev.networks import RevNet, RevNetConfig
from genrev.reversible import (
    AdditiveCoupling,
    Block,
    CheckerboardSubsample,
    Engine,
    FixedPoint,
    ReversibleSequential,
    SmallMapConv2d,
    round_to_grid,
)

GRID = 2.0**-16


def chain(blocks, scale=1.0, memory="reversible", exact=True, dtype=torch.float32):
    """``blocks`` couplings over three sizes of maps, weights scaled up as after training."""
    modules, channels = [], 1
    for stage in range(3):
        channels *= 4
        modules.append(CheckerboardSubsample())
        for _ in range(blocks // 3):
            f, g = (
                nn.Sequential(
                    SmallMapConv2d(channels // 2, 8, 3),
                    nn.ReLU(),
                    SmallMapConv2d(8, channels // 2, 3),
                )
                for _ in "fg"
            )
            modules.append(AdditiveCoupling(f, g))
        del stage
    result = ReversibleSequential(*modules, memory=memory, exact=exact).to(dtype)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.mul_(scale)
    return result


def precision(name):
    return torch.autocast("cpu", torch.bfloat16) if name == "bf16" else contextlib.nullcontext()


BLOCKS = [6, 18, 66]
DTYPES = ["fp32", "bf16"]


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(seed=st.integers(0, 2**31), n=st.integers(0, 3), scale=st.sampled_from([0.5, 1.0, 1.5]))
@settings(max_examples=8)
def test_both_round_trips_are_exact(blocks, name, dtype, seed, n, scale):
    # 66 blocks with weights x1.5 take z past 256, where float32 cannot hold it and it raises.
    scale = scale if dtype == torch.float64 or blocks < 66 else min(scale, 1.2)
    torch.manual_seed(seed)
    net = chain(blocks, scale, dtype=dtype)
    x = round_to_grid(torch.rand(n, 1, 16, 16, dtype=dtype))
    z = round_to_grid(torch.randn(n, 64, 2, 2, dtype=dtype))
    with torch.no_grad(), precision(name):
        assert torch.equal(net.inverse(net(x)), x)
        assert torch.equal(net(net.inverse(z)), z)


def test_without_it_the_same_round_trip_has_errors():
    net = chain(66, 1.5, exact=False)
    x = round_to_grid(torch.rand(2, 1, 16, 16))
    with torch.no_grad():
        assert not torch.equal(net.inverse(net(x)), x)
        with precision("bf16"):
            assert (net.inverse(net(x)) - x).abs().max() > 1e-4


@given(seed=st.integers(0, 2**31))
def test_8_bit_images_come_back_identical(seed):
    pixels = torch.randint(0, 256, (3, 1, 16, 16), generator=torch.Generator().manual_seed(seed))
    net = chain(18)
    x = pixels / 255
    with torch.no_grad(), precision("bf16"):
        restored = net.inverse(net(x))
    assert torch.equal((restored * 255).round().long(), pixels)
    assert torch.equal(restored, round_to_grid(x))
    assert (restored - x).abs().max() <= GRID / 2


@given(
    st.floats(-256, 256, width=32),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_rounding_goes_to_the_nearest_step_and_leaves_the_grid_alone(number, dtype):
    x = torch.tensor([number], dtype=dtype)
    rounded = round_to_grid(x)
    assert (rounded - x).abs() <= GRID / 2
    assert torch.equal((rounded.double() / GRID).frac(), torch.zeros(1, dtype=torch.float64))
    assert torch.equal(round_to_grid(rounded), rounded)


def loss_of(net, x):
    z = net(x)
    active = torch.zeros_like(z)
    active[:, :8] = 1
    z_clamped = (z * active).clamp(-2, 2)
    decoded = net.inverse(z_clamped)
    return 10 * (decoded - x).abs().mean() + 10 * (z - z_clamped).square().mean()


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("name", DTYPES)
def test_gradients_equal_the_stored_ones_bit_for_bit(blocks, name):
    reversible = chain(blocks, 1.2)
    stored = ReversibleSequential(
        *copy.deepcopy(list(reversible.blocks)), memory="stored", exact=True
    )
    x = torch.rand(4, 1, 16, 16)
    results = []
    for net in (reversible, stored):
        leaf = x.clone().requires_grad_()
        with precision(name):
            loss = loss_of(net, leaf)
        grads = torch.autograd.grad(loss, (leaf, *net.parameters()))
        results.append((loss, *grads))
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_gradient_passes_the_rounding_straight_through():
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    results = []
    exact = chain(6, dtype=torch.float64)
    for fixed in (True, False):
        net = ReversibleSequential(*exact.blocks, memory="stored", exact=fixed)
        results.append(torch.autograd.grad(loss_of(net, x), list(net.parameters())))
    ours, theirs = (torch.cat([g.flatten() for g in grads]) for grads in results)
    assert (ours - theirs).norm() < 0.01 * theirs.norm()


def test_stream_may_exceed_what_float32_resolves():
    """In between magnitudes of 256 and more lose no bit, though float32 has none to spare."""

    class Lift(nn.Module):
        def forward(self, x):
            return 1000 + x.sin()

    class Drop(nn.Module):
        def forward(self, x):
            return -1000 - x.cos()

    net = ReversibleSequential(
        CheckerboardSubsample(),
        AdditiveCoupling(Lift(), Lift()),
        AdditiveCoupling(Drop(), Drop()),
        exact=True,
    )
    x = round_to_grid(torch.rand(5, 1, 8, 8))
    z = net(x)
    assert z.abs().max() < 10
    assert torch.equal(net.inverse(z), x)


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return torch.full_like(x, self.value)


@pytest.mark.parametrize("memory", ["stored", "reversible"])
@pytest.mark.parametrize(
    "values",
    [
        (9000.0, 0.0),
        (0.0, -9000.0),
        (1e30, 0.0),
        (float("inf"), 0.0),
        (float("-inf"), 0.0),
        (float("nan"), 0.0),
        (7000.0, 7000.0),
        (32768.0, 0.0),
        (65536.0, 0.0),
    ],
)
def test_overflow_is_detected_even_if_it_cancels_later(memory, values):
    there, _ = values
    back = -there if abs(there) <= 65536 else 0.0
    net = ReversibleSequential(
        AdditiveCoupling(*map(Constant, values)),
        AdditiveCoupling(*map(Constant, values)),
        AdditiveCoupling(Constant(2 * back), Constant(-2 * values[1])),
        memory=memory,
        exact=True,
    )
    with pytest.raises(GenrevError, match="magnitudes below 8192"):
        net(torch.rand(1, 2, 4, 4))
    with pytest.raises(GenrevError, match="magnitudes below 8192"):
        net.inverse(torch.rand(1, 2, 4, 4))


@pytest.mark.parametrize("value", [9000.0, float("nan"), -float("inf"), 1e38])
def test_inputs_out_of_range_are_detected(value):
    x = torch.rand(1, 2, 4, 4)
    x[0, 1, 2, 3] = value
    with pytest.raises(GenrevError, match="magnitudes below 8192"):
        ReversibleSequential(CheckerboardSubsample(), exact=True)(x)


def test_results_that_float32_cannot_hold_are_detected_and_float64_holds_them():
    net = ReversibleSequential(AdditiveCoupling(Constant(300.0), Constant(0.0)), exact=True)
    x = round_to_grid(torch.rand(1, 2, 4, 4))
    with pytest.raises(GenrevError, match="float64"):
        net(x)
    z = net(x.double())
    assert torch.equal(net.inverse(z), x.double())


def test_half_precision_inputs_are_refused():
    with pytest.raises(TypeError, match="float32 or float64"):
        chain(6)(torch.rand(1, 1, 16, 16).bfloat16())


def test_blocks_that_cannot_work_in_fixed_point_are_refused():
    class Negate(Block):
        def forward(self, x):
            return -x

        def inverse(self, y):
            return -y

    with pytest.raises(TypeError, match="block 0, a Negate"):
        ReversibleSequential(Negate(), exact=True)


def test_float64_travels_across_batch_sizes_and_threads():
    net = chain(18, 1.2, dtype=torch.float64)
    x = round_to_grid(torch.rand(32, 1, 16, 16, dtype=torch.float64))
    threads = torch.get_num_threads()
    try:
        with torch.no_grad():
            z = net(x)
            one_by_one = torch.cat([net(image) for image in x.split(1)])
            torch.set_num_threads(2)
            assert torch.equal(net(x), z)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one_by_one, z)


def test_a_fixed_point_is_its_steps():
    x = FixedPoint.of(torch.tensor([1.0, -0.5, 3 * GRID, 0.4 * GRID]))
    assert x.steps.tolist() == [65536, -32768, 3, 0]
    assert x.value.tolist() == [1.0, -0.5, 3 * GRID, 0.0]


@pytest.mark.parametrize("memory", ["stored", "reversible"])
def test_revnet_passes_the_options_on(memory):
    config = RevNetConfig(
        image_size=8, channels=1, hidden_channels=(4, 4), blocks=(1, 1), kernel_sizes=(3, 3)
    )
    net = RevNet(config, Engine(memory=memory, exact=True))
    x = round_to_grid(torch.rand(3, 1, 8, 8))
    assert torch.equal(net.decode(net.encode(x)), x)
    assert (net.blocks.engine.memory, net.blocks.engine.exact) == (memory, True)
