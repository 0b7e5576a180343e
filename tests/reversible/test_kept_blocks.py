"""Blocks of a reversible chain that keep their activations, since these are few."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_memory import kept_bytes
from torch import nn

from genrev.errors import GenrevError
from genrev.networks import RevNet, RevNetConfig
from genrev.reversible import (
    AdditiveCoupling,
    AffineCoupling,
    CheckerboardSubsample,
    ContextPair,
    ConvPair,
    Engine,
    HaarBands,
    Lifting,
    ReversibleSequential,
    Shear,
    SmallMapConv2d,
)
from genrev.reversible.kernels import pair as pairs_module
from genrev.reversible.kernels.pair import pair_keeps_few


def pair_of(channels, hidden, outputs=None, kernel_size=3):
    return ConvPair(
        SmallMapConv2d(channels, hidden, kernel_size),
        SmallMapConv2d(hidden, outputs or channels, kernel_size),
    )


@pytest.fixture
def few_count(monkeypatch):
    """Small pairs may keep what is few, too."""
    monkeypatch.setattr(pairs_module, "_MANY", 1)


def never(monkeypatch):
    monkeypatch.setattr(pairs_module, "_MANY", float("inf"))


@given(
    channels=st.integers(1, 6),
    hidden=st.integers(1, 20),
    kernel_size=st.sampled_from([1, 3]),
    n=st.integers(1, 8),
    size=st.integers(1, 4),
    told=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_few_is_less_than_a_quarter_of_the_weights(channels, hidden, kernel_size, n, size, told):
    pair = pair_of(channels, hidden, kernel_size=kernel_size)
    x, context = torch.rand(n, channels, size, size), ()
    if told:
        pair, context = ContextPair(pair[0], pair[2], features=3), (torch.rand(n, 3),)
    values = kept_bytes(lambda net, x: net(x, *context).sum(), pair, x) // 4
    values -= 3 * n * told
    weights = pair[0].weight.numel() + pair[2].weight.numel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs_module, "_MANY", weights)
        assert pair_keeps_few(pair[0], pair[2], x.numel()) == (4 * values < weights)
        patch.setattr(pairs_module, "_MANY", weights + 1)
        assert not pair_keeps_few(pair[0], pair[2], x.numel())


def coupling(kind, channels, hidden):
    half = channels // 2
    if kind == "additive":
        return AdditiveCoupling(pair_of(half, hidden), pair_of(half, hidden))
    f, g = (pair_of(half, hidden, channels) for _ in "fg")
    return AffineCoupling(f, g, channels)


def mixed_chain(kind="additive", depth=1):
    """Parts that are recomputed and parts that are kept, for images (2, 1, 8, 8)."""
    torch.manual_seed(0)
    plain = [nn.Conv2d(2, 2, 3, padding=1) for _ in "fg"]
    return [
        CheckerboardSubsample(),
        *(AdditiveCoupling(*copy.deepcopy(plain)) for _ in range(depth)),  # (2, 4, 4, 4)
        CheckerboardSubsample(),
        CheckerboardSubsample(),
        coupling(kind, 64, 16),  # (2, 64, 1, 1)
        AdditiveCoupling(*(told() for _ in "fg"), conditional=True),
        coupling(kind, 64, 16),
    ]


def told():
    return ContextPair(SmallMapConv2d(32, 4, 1), SmallMapConv2d(4, 32, 1), features=3)


def run(chain, x, context, log_dets):
    """Loss and gradients of a step that encodes and decodes."""
    inputs = [tensor.clone().requires_grad_() for tensor in (x, context)]
    x, context = inputs
    z, log_det = (
        chain.forward_with_log_det(*inputs) if log_dets else (chain(*inputs), x.new_ones(1))
    )
    decoded = chain.inverse(z.clamp(-0.5, 0.5), context)
    loss = (decoded - x).abs().mean() + z.pow(3).sum() + log_det.sum()
    return [loss.detach(), *torch.autograd.grad(loss, (*inputs, *chain.parameters()))]


@pytest.mark.parametrize("device", ["a CPU", "an accelerator"])
@pytest.mark.parametrize(
    ("kind", "exact"), [("additive", False), ("additive", True), ("affine", False)]
)
def test_gradients_are_the_stored_ones(kind, exact, device, few_count, monkeypatch):
    if device == "an accelerator":
        monkeypatch.setattr(pairs_module, "_DEVICES", ("cpu",))
        monkeypatch.setattr(ConvPair, "_weights", _also_float64)
    blocks = mixed_chain(kind)
    x, context = torch.rand(2, 1, 8, 8), torch.rand(2, 3)
    found = []
    for memory in ("reversible", "stored"):
        chain = ReversibleSequential(*copy.deepcopy(blocks), memory=memory, exact=exact).double()
        found.append(run(chain, x.double(), context.double(), kind == "affine"))
    for ours, theirs in zip(*found, strict=True):
        if exact:
            assert torch.equal(ours, theirs)
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def _also_float64(pair, x):
    first, _, last = pair
    return first.weight, first.bias, last.weight, last.bias


@pytest.mark.parametrize("kind", ["additive", "affine"])
def test_what_is_kept_runs_once_and_the_rest_twice(kind, few_count, monkeypatch):
    chain = ReversibleSequential(*mixed_chain(kind))
    calls = []
    for name, block in (("kept", chain[4]), ("recomputed", chain[5])):
        block.f.register_forward_hook(lambda *_, name=name: calls.append(name))
    x, context = torch.rand(2, 1, 8, 8), torch.rand(2, 3)
    chain(x, context).sum().backward()
    assert sorted(calls) == ["kept", "recomputed", "recomputed"]
    calls.clear()
    never(monkeypatch)
    chain(x, context).sum().backward()
    assert sorted(calls) == ["kept", "kept", "recomputed", "recomputed"]


def test_the_recomputed_part_keeps_nothing_and_the_kept_one_few(few_count, monkeypatch):
    x, context = torch.rand(2, 1, 8, 8), torch.rand(2, 3)

    def kept(depth):
        chain = ReversibleSequential(*mixed_chain(depth=depth))
        return kept_bytes(lambda net, x: net(x, context).sum(), chain, x)

    mixed = kept(1)
    assert kept(20) == mixed
    pairs = 4 * [pair_of(32, 16)]
    quarters = sum(pair[n].weight.nbytes / 4 for pair in pairs for n in (0, 2))
    ends = 3 * x.nbytes  # outputs of the parts that are recomputed, and of the chain
    never(monkeypatch)
    assert kept(1) < mixed < kept(1) + quarters + ends


@pytest.mark.parametrize("kept", [True, False])
def test_linear_blocks_are_no_part_of_their_own(kept, few_count, monkeypatch):
    if not kept:
        never(monkeypatch)
    linear = [HaarBands(16), Lifting(2, [Shear(1, 0, -1.0)]), CheckerboardSubsample()]
    ends = coupling("additive", 64, 16), coupling("additive", 256, 16)
    x, later = torch.rand(2, 64, 2, 2), torch.rand(2, 256, 1, 1)

    def kept_by(x, *blocks):
        chain = ReversibleSequential(*blocks)
        return kept_bytes(lambda net, x: net(x).sum(), chain, x)

    together = kept_by(x, ends[0], *linear, ends[1])
    assert together == kept_by(x, ends[0], linear[-1], ends[1])
    assert together == (kept_by(x, ends[0]) + kept_by(later, ends[1]) if kept else x.nbytes)


def test_it_takes_a_million_weights():
    large, small = coupling("additive", 1024, 128), coupling("additive", 1024, 64)
    assert large.worth_keeping(1024)
    assert not large.worth_keeping(1024 * 1024)
    assert not small.worth_keeping(1024)
    module = ReversibleSequential(CheckerboardSubsample())
    assert not module.worth_keeping(1)


def test_affine_couplings_keep_less_than_a_quarter_of_their_weights_too():
    affine = coupling("affine", 1024, 128)
    n = max(n for n in range(1, 2000) if affine.worth_keeping(n * 1024))
    values = kept_bytes(
        lambda net, x: net.forward_with_log_det(x)[0].sum(), affine, torch.rand(n, 1024, 1, 1)
    )
    assert values < sum(p.nbytes for p in affine.parameters()) / 4


def test_overflow_in_a_part_that_is_kept_is_noticed(few_count):
    chain = ReversibleSequential(*mixed_chain(), exact=True).double()
    nn.init.constant_(chain[6].f[2].bias, 9000)
    with pytest.raises(GenrevError, match="below 8192"):
        chain(torch.rand(2, 1, 8, 8).double(), torch.rand(2, 3).double())


def test_a_revnet_takes_part(few_count):
    shape = RevNetConfig(
        image_size=8,
        channels=1,
        hidden_channels=(4, 8, 64),
        blocks=(1, 1, 1),
        kernel_sizes=(3, 3, 3),
    )
    net, calls = RevNet(shape, Engine(memory="reversible")), []
    pairs = [module for module in net.modules() if type(module) is ConvPair]
    for pair in pairs:
        pair.register_forward_hook(lambda pair, *_: calls.append(pair))
    net.encode(torch.rand(12, 1, 8, 8)).sum().backward()
    assert [calls.count(pair) for pair in pairs] == [2, 2, 2, 2, 1, 1]
