"""Order in memory: nothing but the order may change, and no copy is made without need."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from genrev.reversible import (
    AdditiveCoupling,
    CheckerboardSubsample,
    ReversibleSequential,
    SmallMapConv2d,
    round_to_grid,
)
from genrev.reversible import shapes as shapes_module
from genrev.reversible.stream import (
    CHANNELS_LAST,
    CONTIGUOUS,
    ROWS,
    cat_channels,
    laid_out,
)

ORDERS = [CONTIGUOUS, CHANNELS_LAST, ROWS]
shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))


@given(shapes, st.sampled_from(ORDERS), st.sampled_from(ORDERS))
def test_only_the_order_changes(shape, before, after):
    x = laid_out(torch.rand(shape), before)
    y = laid_out(x, after)
    assert torch.equal(x, y)
    assert y.permute(after).is_contiguous()
    assert laid_out(y, after).data_ptr() == y.data_ptr()


@given(shapes, st.sampled_from(ORDERS), st.booleans())
def test_joining_channels_is_cat(shape, order, traced):
    first, second = torch.rand(shape), torch.rand(shape)
    with torch.set_grad_enabled(traced):
        joined = cat_channels([first, second], order)
    assert torch.equal(joined, torch.cat((first, second), 1))
    assert joined.permute(order).is_contiguous()
    if not traced:
        assert not joined._is_view()


@pytest.mark.parametrize("order", ORDERS)
def test_gradients_pass(order):
    x = torch.rand(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: cat_channels([laid_out(x, order), x], order), x)


def test_a_convolution_returns_the_order_that_it_takes():
    # Few images and channels, many, and a map too large for matrices.
    for n, channels, size in ((1, 4, 2), (64, 128, 2), (64, 128, 4), (2, 4, 8), (2, 4, 1)):
        conv = SmallMapConv2d(channels, channels, 3)
        x = torch.rand(n, channels, size, size)
        y = conv(laid_out(x, conv.order(x)))
        assert y.permute(conv.order(x)).is_contiguous()
        assert conv.order(y) == conv.order(x)


def test_a_coupling_without_our_convolutions_sees_usual_tensors():
    seen = []

    class Flat(torch.nn.Module):
        def forward(self, x):
            seen.append(x.is_contiguous())
            return x.view(len(x), -1).view(x.shape)  # refuses other orders

    x = torch.rand(2, 4, 2, 2, requires_grad=True)
    ReversibleSequential(AdditiveCoupling(Flat(), Flat()))(x).sum().backward()
    assert seen
    assert all(seen)


@pytest.mark.parametrize("memory", ["stored", "reversible"])
def test_the_gradients_of_two_directions_are_added_in_place(memory):
    """Out of place, a step would allocate all weights once more."""
    networks = [SmallMapConv2d(64, 64, 3) for _ in range(2)]
    chain = ReversibleSequential(AdditiveCoupling(*networks), memory=memory)
    x = torch.rand(128, 128, 2, 2)
    assert networks[0].order(x[:, :64]) == ROWS
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        z = chain(x)
        (chain.inverse(0.9 * z).abs().sum() + z.square().sum()).backward()
    weight = list(networks[0].weight.shape)
    sums = [e.name for e in profiler.events() if e.input_shapes[:2] == [weight, weight]]
    assert sums == ["aten::add_"] * 2


def test_transforms_see_plain_operations_of_subsampling(monkeypatch):
    """And anything else asks for a single pass first, gradients too."""
    block, x = CheckerboardSubsample(), torch.rand(3, 2, 4, 4, requires_grad=True)
    asked = []
    monkeypatch.setattr(shapes_module, "patches_moved", lambda *given: asked.append(given[1]))
    torch.vmap(lambda one: block(one[None]))(x.detach())
    torch.func.jvp(block, (x.detach(),), (x.detach(),))
    assert not asked
    block(x).square().sum().backward()
    assert asked == [False, False, True, True]  # halves


@pytest.mark.gpu
@pytest.mark.parametrize("channels", [3, 6, 48])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("memory", ["stored", "reversible"])
def test_subsampling_on_cuda_moves_the_same_numbers_in_one_pass(channels, order, exact, memory):
    blocks = CheckerboardSubsample(), CheckerboardSubsample()
    chain = ReversibleSequential(*blocks, memory=memory, exact=exact)
    x, factor = (round_to_grid(torch.randn(64, channels, 16, 16)) for _ in range(2))
    weight = torch.randn(64, 16 * channels, 4, 4)
    results, passes = [], []
    for device in ("cpu", "cuda"):
        leaf = laid_out(x.to(device), order).requires_grad_()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            y = chain(leaf)
        again = chain.inverse(y.detach())
        (grad,) = torch.autograd.grad((y * weight.to(device)).sum(), leaf)
        (back,) = torch.autograd.grad((chain.inverse(chain(leaf)) * factor.to(device)).sum(), leaf)
        results.append([y, again, grad, back])
        passes.append(sum(e.count for e in profiler.key_averages() if e.key == "aten::cat"))
    for plain, ours in zip(*results, strict=True):
        assert torch.equal(plain, ours.cpu())
    assert passes[1] <= 3  # the halves of the result and of its value on the grid, and the peaks
    assert passes[0] >= passes[1] + 3
