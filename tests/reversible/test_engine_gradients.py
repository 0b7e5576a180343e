"""Reversible gradients are the stored ones, whatever is done with z and with the decoder."""

import copy
import pickle

import pytest
import torch
from torch import nn

from genrev.reversible import AdditiveCoupling, Block, CheckerboardSubsample, ReversibleSequential


def shift_network(channels, hidden=6):
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, channels, 3, padding=1),
    )


def blocks(depth=2, channels=1):
    modules = []
    for _ in range(2):
        channels *= 4
        modules.append(CheckerboardSubsample())
        for _ in range(depth):
            f, g = shift_network(channels // 2), shift_network(channels // 2)
            modules.append(AdditiveCoupling(f, g))
    return modules


def pair(dtype=torch.float64, exact=False, depth=2):
    stored = ReversibleSequential(*blocks(depth), memory="stored", exact=exact).to(dtype)
    reversible = ReversibleSequential(
        *copy.deepcopy(list(stored.blocks)), memory="reversible", exact=exact
    )
    return stored, reversible


def phase_one_loss(chain, x):
    """z meets three consumers: an adversary, the penalty, and the decoder of the clamped z."""
    z = chain(x)
    mask = torch.zeros_like(z)
    mask[:, :3] = 1
    z_clamped = (z * mask).clamp(-0.5, 0.5)
    adversary = (z[:, :2] ** 3).sum()
    decoded = chain.inverse(z_clamped)
    return (decoded - x).abs().mean() + (z - z_clamped).square().mean() + 0.1 * adversary


def inverse_loss(chain, x):
    return chain.inverse(x.reshape(len(x), 16, 2, 2)).square().sum()


def restored_twice_loss(chain, x):
    z = chain(x)
    return (chain.inverse(z) * chain.inverse(z + 0.1)).sum()


LOSSES = {
    "encoder": lambda chain, x: (chain(x) ** 3).sum(),
    "decoder": inverse_loss,
    "phase one": phase_one_loss,
    "several decoders": restored_twice_loss,
}


def gradients(chain, loss, x):
    x = x.clone().requires_grad_()
    value = loss(chain, x)
    return [value.detach(), *torch.autograd.grad(value, (x, *chain.parameters()))]


def relative_error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm().clamp(min=1e-30)).item()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_gradients_are_those_of_plain_autograd(name, dtype, tolerance):
    stored, reversible = pair(dtype)
    x = torch.rand(5, 1, 8, 8, dtype=dtype)
    ours, theirs = (
        torch.cat([g.flatten() for g in gradients(chain, LOSSES[name], x)])
        for chain in (reversible, stored)
    )
    assert relative_error(ours, theirs) < tolerance


@pytest.mark.parametrize("inverse", [False, True])
def test_gradcheck(inverse):
    chain = ReversibleSequential(
        CheckerboardSubsample(),
        AdditiveCoupling(
            *(
                nn.Sequential(nn.Conv2d(2, 3, 1), nn.Tanh(), nn.Conv2d(3, 2, 3, padding=1))
                for _ in "fg"
            )
        ),
        memory="reversible",
    ).double()
    x = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    x = (chain(x) if inverse else x).detach().requires_grad_()
    run = chain.inverse if inverse else chain

    def function(x, *_):
        return run(x)

    assert torch.autograd.gradcheck(function, (x, *chain.parameters()))


def backward(chain, x, times=1):
    for _ in range(times):
        phase_one_loss(chain, x).backward()
    return [p.grad for p in chain.parameters()]


def test_backward_accumulates_into_grad_when_the_images_need_none():
    stored, reversible = pair()
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    for ours, theirs in zip(backward(reversible, x, 2), backward(stored, x, 2), strict=True):
        assert relative_error(ours, theirs) < 1e-12


def test_retain_graph_gives_the_same_gradients_again():
    _, reversible = pair()
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    loss = phase_one_loss(reversible, x)
    parameters = list(reversible.parameters())
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    second = torch.autograd.grad(loss, parameters)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, parameters)


def test_frozen_blocks_get_no_gradient_and_pass_it_on():
    stored, reversible = pair()
    for chain in (stored, reversible):
        chain[2].requires_grad_(False)
        chain[1].f[0].weight.requires_grad_(False)
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    for ours, theirs in zip(backward(reversible, x), backward(stored, x), strict=True):
        if theirs is None:
            assert ours is None
        else:
            assert relative_error(ours, theirs) < 1e-12


@pytest.mark.parametrize("first", [2, 4])
def test_the_first_blocks_frozen_and_images_without_gradient(first):
    stored, reversible = pair()
    for chain in (stored, reversible):
        for block in chain.blocks[:first]:
            block.requires_grad_(False)
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    for ours, theirs in zip(backward(reversible, x), backward(stored, x), strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or relative_error(ours, theirs) < 1e-12


def test_a_parameter_shared_by_blocks_gets_the_sum():
    f, g = shift_network(2), shift_network(2)
    shared = [CheckerboardSubsample(), AdditiveCoupling(f, g), AdditiveCoupling(g, f)]
    tied = [AdditiveCoupling(f, f)]
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    results = []
    for memory in ("reversible", "stored"):
        chain = ReversibleSequential(*shared, *tied, memory=memory).double()
        results.append(gradients(chain, LOSSES["phase one"], x))
    for ours, theirs in zip(*results, strict=True):
        assert relative_error(ours, theirs) < 1e-12


def test_without_gradients_there_is_no_graph():
    stored, reversible = pair()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        z = reversible(x)
    assert not z.requires_grad
    assert torch.equal(z, stored(x))
    with torch.inference_mode():
        assert torch.equal(reversible.inverse(z), stored.inverse(z))
    reversible.requires_grad_(False)
    assert not reversible(x).requires_grad


@pytest.mark.parametrize("exact", [False, True])
def test_neither_inputs_nor_outputs_are_modified(exact):
    _, reversible = pair(exact=exact)
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    before = x.detach().clone()
    z = reversible(x)
    kept = z.detach().clone()
    reversible.inverse(z).sum().backward()
    assert torch.equal(x, before)
    assert torch.equal(z, kept)


@pytest.mark.parametrize("last", ["coupling", "other"])
def test_changing_z_in_place_is_noticed_or_does_no_harm(last):
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    chain = ReversibleSequential(*blocks(1), *([Scale()] if last == "other" else [])).double()
    (2 * chain(x)).sum().backward()
    expected = [p.grad.clone() for p in chain.parameters()]
    chain.zero_grad()
    z = chain(x)
    z.mul_(2)
    if last == "other":  # its output is z itself, and the backward pass starts from it
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.sum().backward()
    else:  # the chain keeps the halves, of which z is a copy
        z.sum().backward()
        assert all(map(torch.equal, expected, (p.grad for p in chain.parameters())))


def test_changing_parameters_before_the_backward_pass_is_noticed():
    _, reversible = pair()
    z = reversible(torch.rand(2, 1, 8, 8, dtype=torch.float64))
    with torch.no_grad():
        reversible[1].f[0].weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_second_derivatives_are_refused_in_a_sentence():
    _, reversible = pair()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    with pytest.raises(NotImplementedError, match="memory='stored' for that"):
        torch.autograd.grad(reversible(x).square().sum(), x, create_graph=True)


def test_two_graphs_at_once():
    """Micro-batches whose backward passes come later, in any order."""
    stored, reversible = pair()
    batches = torch.rand(3, 2, 1, 8, 8, dtype=torch.float64)
    for chain in (stored, reversible):
        losses = [phase_one_loss(chain, x) for x in batches]
        for index in (1, 0, 2):
            losses[index].backward()
    for ours, theirs in zip(reversible.parameters(), stored.parameters(), strict=True):
        assert relative_error(ours.grad, theirs.grad) < 1e-12


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_independent_and_work(clone):
    _, reversible = pair()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    phase_one_loss(reversible, x).backward()
    copied = clone(reversible)
    copied.zero_grad()
    phase_one_loss(copied, x).backward()
    for ours, theirs in zip(copied.parameters(), reversible.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    assert copied.engine.memory == "reversible"


def test_a_failed_backward_pass_leaves_nothing_behind():
    _, reversible = pair()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    z = reversible(x)

    def fail(grad):
        raise ArithmeticError("not now")

    handle = reversible[1].f[0].weight.register_hook(fail)
    with pytest.raises(ArithmeticError):
        z.sum().backward(retain_graph=True)
    handle.remove()
    reversible.zero_grad()
    z.sum().backward()
    grads = [p.grad for p in reversible.parameters()]
    reversible.zero_grad()
    reversible(x).sum().backward()
    assert all(torch.equal(g, p.grad) for g, p in zip(grads, reversible.parameters(), strict=True))


class Scale(Block):
    """An invertible block that has nothing but forward and inverse."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(0.3))

    def forward(self, x):
        return x * self.log_scale.exp()

    def inverse(self, y):
        return y / self.log_scale.exp()


@pytest.mark.parametrize("name", LOSSES)
def test_any_invertible_block_will_do(name):
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    modules = [Scale(), *blocks(1), Scale()]
    results = []
    for memory in ("reversible", "stored"):
        chain = ReversibleSequential(*modules, memory=memory).double()
        found = gradients(chain, LOSSES[name], x)
        results.append(torch.cat([part.flatten() for part in found]))  # some are 0 but for rounding
    assert relative_error(*results) < 1e-12


def test_an_empty_chain_and_an_empty_batch():
    chain = ReversibleSequential(memory="reversible")
    x = torch.rand(2, 1, 4, 4, requires_grad=True)
    assert torch.equal(chain.inverse(chain(x)), x)
    _, reversible = pair()
    reversible(torch.rand(0, 1, 8, 8, dtype=torch.float64)).sum().backward()
    assert all((p.grad == 0).all() for p in reversible.parameters())


def test_unknown_memory_mode():
    with pytest.raises(ValueError, match="memory takes one of reversible, stored and got 'cheap'"):
        ReversibleSequential(memory="cheap")
