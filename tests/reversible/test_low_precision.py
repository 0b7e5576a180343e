"""Within its scope a weight is cast once, and never used after it has changed."""

import threading

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from genrev.reversible import (
    AdditiveCoupling,
    ReversibleSequential,
    SmallMapConv2d,
    low_precision_weights,
)
from genrev.reversible.kernels import convolution, low_precision
from genrev.reversible.kernels.low_precision import cast_weight

LOW = torch.bfloat16


@pytest.fixture
def used(monkeypatch):
    """Every cast that a convolution is given; equal ones were made once."""
    casts = []

    def noted(weight, dtype):
        casts.append(cast_weight(weight, dtype))
        return casts[-1]

    monkeypatch.setattr(convolution, "cast_weight", noted)
    return casts


def made(casts):
    return len({id(cast) for cast in casts})


def chain_of(blocks, memory="reversible"):
    networks = [nn.Sequential(SmallMapConv2d(64, 64), nn.ReLU()) for _ in range(2 * blocks)]
    return ReversibleSequential(
        *(AdditiveCoupling(f, g) for f, g in zip(networks[::2], networks[1::2], strict=True)),
        memory=memory,
    )


def images():
    return torch.rand(128, 128, 2, 2)


def step(chain, x):
    with torch.autocast("cpu", LOW):
        z = chain(x)
        loss = chain.inverse(0.9 * z).abs().mean() + z.square().mean()
    chain.zero_grad()
    loss.backward()
    return [loss.detach(), *(p.grad for p in chain.parameters())]


@pytest.mark.parametrize(("memory", "runs"), [("reversible", 4), ("stored", 2)])
def test_a_step_in_both_directions_casts_every_weight_once(used, memory, runs):
    chain, x = chain_of(3, memory), images()
    with low_precision_weights():
        inside = step(chain, x)
    assert (len(used), made(used)) == (6 * runs, 6)
    used.clear()
    outside = step(chain, x)
    assert (len(used), made(used)) == (6 * runs, 6 * runs)
    assert all(map(torch.equal, inside, outside))


CHANGES = {
    "in place": lambda p: p.detach().mul_(1.5),
    "data": lambda p: p.data.mul_(1.5),
    "assigned data": lambda p: setattr(p, "data", 1.5 * p.data),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_weight_changed_between_scopes_is_seen(name):
    weight = nn.Parameter(torch.rand(4, 4))
    for _ in range(3):
        with low_precision_weights():
            assert torch.equal(cast_weight(weight, LOW), weight.bfloat16())
            assert cast_weight(weight, LOW) is cast_weight(weight.detach(), LOW)  # an alias
        CHANGES[name](weight)


def test_a_weight_that_is_replaced_between_scopes_is_seen():
    conv, x = SmallMapConv2d(64, 64), torch.rand(128, 64, 2, 2)
    for _ in range(20):  # the allocator gives the same memory again and again
        conv.weight = nn.Parameter(torch.rand_like(conv.weight))
        with torch.autocast("cpu", LOW), torch.no_grad():
            expected = conv(x)
            with low_precision_weights():
                assert torch.equal(conv(x), expected)


@pytest.mark.parametrize("options", [{}, {"fused": True}, {"foreach": True}])
def test_an_optimiser_within_the_scope_is_seen(options):
    chain, x = chain_of(1), images()
    weight = chain[0].f[0].weight
    optimizer = torch.optim.Adam(chain.parameters(), lr=0.1, **options)
    with low_precision_weights():
        step(chain, x)
        before = cast_weight(weight, LOW)
        optimizer.step()
        assert torch.equal(cast_weight(weight, LOW), weight.bfloat16())
        assert not torch.equal(cast_weight(weight, LOW), before)


def test_an_edit_within_the_scope_and_other_weights_at_the_same_address():
    weight = nn.Parameter(torch.rand(4, 4))
    with low_precision_weights():
        cast_weight(weight, LOW)
        with torch.no_grad():
            weight.add_(1)
        assert torch.equal(cast_weight(weight, LOW), weight.bfloat16())
        for value in range(20):
            other = torch.full((64, 64), float(value))
            assert cast_weight(other, LOW)[0, 0] == value


def test_views_of_one_storage_and_formats_are_told_apart():
    storage = torch.arange(8.0)
    with low_precision_weights():
        halves = [cast_weight(half, LOW) for half in (storage[:4], storage[4:])]
        assert torch.equal(torch.cat(halves), cast_weight(storage, LOW))
        assert cast_weight(storage, torch.float16).dtype == torch.float16
        assert cast_weight(storage.view(2, 4), LOW).shape == (2, 4)
        with torch.inference_mode():
            inferred = torch.rand(3)
        assert torch.equal(cast_weight(inferred, LOW), inferred.bfloat16())


def test_nothing_is_taken_into_a_scope_or_out_of_it():
    weight = torch.rand(4, 4)
    with low_precision_weights():
        outer = cast_weight(weight, LOW)
        with low_precision_weights():
            inner = cast_weight(weight, LOW)
            assert cast_weight(weight, LOW) is inner
            assert inner is not outer
        assert cast_weight(weight, LOW) is outer
    assert low_precision._scope.casts is None
    assert cast_weight(weight, LOW) is not cast_weight(weight, LOW)


def test_an_exception_leaves_the_scope():
    def fail():
        with low_precision_weights():
            cast_weight(torch.rand(2), LOW)
            raise ArithmeticError

    with low_precision_weights():
        with pytest.raises(ArithmeticError):
            fail()
        assert not low_precision._scope.casts
    with pytest.raises(ArithmeticError):
        fail()
    assert low_precision._scope.casts is None


def test_threads_do_not_share():
    weight, seen = torch.rand(4, 4), []

    def look():
        seen.append(low_precision._scope.casts)
        with low_precision_weights():
            seen.append(cast_weight(weight, LOW))

    with low_precision_weights():
        mine = cast_weight(weight, LOW)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert seen[0] is None
        assert seen[1] is not mine
        assert cast_weight(weight, LOW) is mine


def test_a_graph_that_outlives_its_scope_goes_on_with_its_weights():
    """What the forward pass has kept is what it has computed with."""
    chain, x = chain_of(2), images()
    with low_precision_weights(), torch.autocast("cpu", LOW):
        loss = chain(x).square().mean()
    loss.backward(retain_graph=True)
    first = [p.grad.clone() for p in chain.parameters()]
    chain.zero_grad()
    with low_precision_weights():
        loss.backward()
    torch.testing.assert_close([p.grad for p in chain.parameters()], first, rtol=0, atol=0)


class Copies(TorchDispatchMode):
    """Operations that write low precision, by name."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if str(function) in ("aten._to_copy.default", "aten._foreach_copy_.default"):
            self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def test_on_a_device_weights_are_cast_together():
    convs = [nn.Conv2d(4, 4, size, device="meta") for size in (1, 2, 3)]
    weights = [conv.weight for conv in convs]
    with Copies() as copies, low_precision_weights(p for c in convs for p in c.parameters()):
        for _ in range(2):
            for weight in weights:
                assert cast_weight(weight, LOW).dtype == LOW
                assert cast_weight(weight, LOW).shape == weight.shape
                assert cast_weight(weight, LOW, torch.neg).shape == weight.shape
        assert copies.names == ["aten._foreach_copy_.default"]
        cast_weight(nn.Parameter(torch.rand(2, 2, device="meta")), LOW)
        assert copies.names[1:] == ["aten._to_copy.default"]


def test_weights_that_are_cast_together_are_those_that_are_cast_alone(monkeypatch):
    monkeypatch.setattr(low_precision, "_HOST", "none")
    weights = [torch.randn(3, 4, size, size) for size in (1, 3, 5)]
    weights += [w.to(memory_format=torch.channels_last) for w in weights]
    weights += [torch.randn(2, 2, 3, 3, dtype=torch.float64), torch.randn(5, 2)]
    with low_precision_weights(weights):
        for weight in (*weights[1:], weights[0], weights[2].detach(), weights[2] + 1):
            low = cast_weight(weight, LOW)
            assert torch.equal(low, weight.bfloat16())
            assert low.stride() == weight.bfloat16().stride()
        with torch.no_grad():
            weights[0].add_(1)
        assert torch.equal(cast_weight(weights[0], LOW), weights[0].bfloat16())
