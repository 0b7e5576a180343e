"""Weights are cast once a step, and never used after they have changed."""

import pytest
import torch
from torch import nn

from genrev.reversible import AdditiveCoupling, ReversibleSequential, SmallMapConv2d
from genrev.reversible import weight_cast as module
from genrev.reversible.weight_cast import cast_weight, keeping_casts


@pytest.fixture
def made(monkeypatch):
    """Shapes of the weights that were cast."""
    shapes = []

    class Counted(module._Cast):
        def __init__(self, weight, dtype):
            shapes.append(weight.shape)
            super().__init__(weight, dtype)

    monkeypatch.setattr(module, "_Cast", Counted)
    return shapes


def chain_of(blocks):
    networks = [nn.Sequential(SmallMapConv2d(64, 64), nn.ReLU()) for _ in range(2 * blocks)]
    return ReversibleSequential(
        *(AdditiveCoupling(f, g) for f, g in zip(networks[::2], networks[1::2], strict=True)),
        memory="reversible",
    )


def step(chain, x):
    with torch.autocast("cpu", torch.bfloat16):
        z = chain(x)
        return chain.inverse(0.9 * z).abs().mean() + z.square().mean()


def test_a_cast_is_found_again_while_somebody_keeps_it(made):
    weight = nn.Parameter(torch.rand(4, 4))
    mine, yours = [], []
    with keeping_casts(mine):
        first = cast_weight(weight, torch.bfloat16)
    with keeping_casts(yours):
        assert cast_weight(weight.detach(), torch.bfloat16) is first  # an alias, as in a replay
    mine.clear()
    with keeping_casts([]):
        assert cast_weight(weight, torch.bfloat16) is first
    assert len(made) == 1
    yours.clear()
    assert not module._known


def test_nothing_is_kept_outside(made):
    weight = torch.rand(4, 4)
    assert torch.equal(cast_weight(weight, torch.bfloat16), weight.bfloat16())
    assert not made


def test_a_changed_weight_is_cast_anew():
    weight = nn.Parameter(torch.rand(4, 4))
    with keeping_casts([]):
        cast_weight(weight, torch.bfloat16)
        with torch.no_grad():
            weight.add_(1)
        assert torch.equal(cast_weight(weight, torch.bfloat16), weight.bfloat16())


def test_another_weight_at_the_same_address_is_another_weight():
    with keeping_casts([]):
        for value in range(20):  # the allocator gives the same memory again and again
            weight = torch.full((64, 64), float(value))
            assert cast_weight(weight, torch.bfloat16)[0, 0] == value


def test_views_of_one_storage_are_told_apart():
    storage = torch.arange(8.0)
    with keeping_casts([]):
        halves = [cast_weight(half, torch.bfloat16) for half in (storage[:4], storage[4:])]
        whole = cast_weight(storage, torch.bfloat16)
    assert torch.equal(torch.cat(halves), whole)


def test_a_step_in_both_directions_casts_every_weight_once(made):
    chain, x = chain_of(3), torch.rand(128, 128, 2, 2)
    step(chain, x).backward()
    assert len(made) == 6


def test_after_the_backward_pass_nothing_is_kept_although_the_loss_is(made):
    chain, x = chain_of(2), torch.rand(128, 128, 2, 2)
    loss = step(chain, x)
    assert len(module._known) == 4
    loss.backward()
    assert not module._known
    step(chain, x).backward()
    assert len(made) == 8
    assert loss.requires_grad  # still here


def test_the_graph_that_is_kept_can_be_used_again():
    chain, x = chain_of(2), torch.rand(128, 128, 2, 2)
    loss = step(chain, x)
    loss.backward(retain_graph=True)
    first = [p.grad.clone() for p in chain.parameters()]
    chain.zero_grad()
    loss.backward()
    torch.testing.assert_close([p.grad for p in chain.parameters()], first, rtol=0, atol=0)


@pytest.mark.parametrize("change", ["data", "fused"])
def test_a_graph_that_is_held_does_not_freeze_the_weights(change):
    """Neither fused optimisers nor edits of .data tell autograd that a weight has changed."""
    torch.manual_seed(0)
    chain, x = chain_of(1), torch.rand(128, 128, 2, 2)
    optimizer = torch.optim.Adam(chain.parameters(), lr=1e-6, fused=True)
    with torch.autocast("cpu", torch.bfloat16):
        held = chain(x)
    step(chain, x).backward()
    if change == "fused":
        optimizer.step()
    else:
        for p in chain.parameters():
            p.data.mul_(1.5)
    weight = chain[0].f[0].weight
    with keeping_casts([]):
        cast = cast_weight(weight, torch.bfloat16)
    assert torch.equal(cast, weight.bfloat16())
    assert held.requires_grad  # still here
