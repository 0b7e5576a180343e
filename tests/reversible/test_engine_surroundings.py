"""The engine among hooks, autocast, dropout, functional calls and distributed training."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from genrev.reversible import AdditiveCoupling, Block, CheckerboardSubsample, ReversibleSequential


def shift_network(channels, *extra):
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.ReLU(),
        *extra,
        nn.Conv2d(6, channels, 3, padding=1),
    )


def pair(*extra, **options):
    modules = [
        CheckerboardSubsample(),
        AdditiveCoupling(shift_network(2, *extra), shift_network(2, *extra)),
        AdditiveCoupling(shift_network(2, *extra), shift_network(2, *extra)),
    ]
    stored = ReversibleSequential(*modules, **options)
    return stored, ReversibleSequential(*copy.deepcopy(modules), memory="reversible", **options)


def loss_of(chain, x):
    z = chain(x)
    return (chain.inverse(z.clamp(-0.5, 0.5)) - x).abs().mean() + z.square().mean()


def test_hooks_on_parameters_see_the_gradient_once():
    stored, reversible = pair()
    calls = {}
    for name, chain in (("stored", stored), ("reversible", reversible)):
        calls[name] = 0

        def double(grad, name=name):
            calls[name] += 1
            return 2 * grad

        chain[1].f[0].weight.register_hook(double)
        loss_of(chain, torch.ones(2, 1, 4, 4)).backward()
    assert calls["reversible"] == calls["stored"] == 1
    torch.testing.assert_close(reversible[1].f[0].weight.grad, stored[1].f[0].weight.grad)


def test_hooks_on_modules_and_after_accumulation_fire():
    _, reversible = pair()
    seen = []
    reversible.register_forward_hook(lambda *_: seen.append("chain"))
    reversible[1].register_forward_hook(lambda *_: seen.append("block"))
    reversible[2].f.register_forward_hook(lambda *_: seen.append("f"))
    reversible[1].g[0].weight.register_post_accumulate_grad_hook(lambda _: seen.append("grad"))
    z = reversible(torch.rand(2, 1, 4, 4))
    assert seen == ["block", "f", "chain"]
    z.sum().backward()
    assert seen == ["block", "f", "chain", "f", "grad"]  # f runs again, as in a checkpoint


def test_gradients_arrive_block_by_block():
    """Ranks can exchange the last block's gradients while the first block's are computed."""
    _, reversible = pair()
    order = []
    for name, parameter in reversible.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: order.append(name))
    reversible[1].f[0].register_forward_hook(lambda *_: order.append("replay of block 1"))
    z = reversible(torch.rand(2, 1, 4, 4))
    order.clear()
    z.sum().backward()
    middle = order.index("replay of block 1")
    assert all(name.startswith("blocks.2") for name in order[:middle])
    assert len(order[:middle]) == 8


def test_autocast_is_entered_again():
    stored, reversible = pair()
    dtypes = []
    reversible[1].f.register_forward_hook(lambda _m, _x, y: dtypes.append(y.dtype))
    x = torch.rand(4, 1, 4, 4)
    results = []
    for chain in (reversible, stored):
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(chain, x)
        loss.backward()
        results.append([p.grad for p in chain.parameters()])
    assert dtypes == [torch.bfloat16] * 4
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_backward_inside_autocast_computes_as_the_forward_pass_did():
    _, reversible = pair()
    dtypes = []
    reversible[1].f.register_forward_hook(lambda _m, _x, y: dtypes.append(y.dtype))
    z = reversible(torch.rand(4, 1, 4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        z.sum().backward()
    assert dtypes == [torch.float32] * 2


def test_the_cache_of_autocast_is_left_clean():
    """Casts made under no_grad must not reach code that needs the gradient of the weight."""
    _, reversible = pair()
    convolution = reversible[1].f[0]
    with torch.autocast("cpu", torch.bfloat16):
        reversible(torch.rand(4, 1, 4, 4))
        y = convolution(torch.rand(4, 2, 2, 2))
    assert torch.autograd.grad(y.float().sum(), convolution.weight)[0].abs().sum() > 0


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_dropout_is_repeated(inverse, exact):
    stored, reversible = pair(nn.Dropout(0.5), exact=exact)
    x = torch.rand(4, 4, 2, 2) if inverse else torch.rand(4, 1, 4, 4)
    results = []
    for chain in (reversible, stored):
        torch.manual_seed(3)
        y = (chain.inverse if inverse else chain)(x)
        torch.manual_seed(4)
        y.square().sum().backward()
        results.append([y, *(p.grad for p in chain.parameters()), torch.rand(1)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


class NoisyScale(Block):
    """A block without ``backtrack`` of its own that draws random numbers."""

    def forward(self, x):
        return x + torch.rand_like(x)

    def inverse(self, y):
        return y - torch.rand_like(y)


def test_a_general_block_repeats_its_random_numbers():
    x = torch.rand(2, 1, 4, 4, requires_grad=True)
    chain = ReversibleSequential(CheckerboardSubsample(), NoisyScale(), memory="reversible")
    recovered = []
    run = chain.blocks[0].run
    chain.blocks[0].run = lambda y, inverse: recovered.append(run(y, inverse)) or recovered[-1]
    chain(x).sum().backward()
    torch.testing.assert_close(recovered[1], x.detach())


class Counter(nn.Conv2d):
    """Changes a buffer in every call, as batch or spectral normalisation do."""

    def __init__(self):
        super().__init__(2, 2, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def test_networks_that_edit_their_buffers_are_refused():
    chain = ReversibleSequential(
        CheckerboardSubsample(), AdditiveCoupling(Counter(), Counter()), memory="reversible"
    )
    with pytest.raises(ValueError, match="f changes its buffer calls"):
        chain(torch.rand(2, 1, 4, 4))


def test_functional_call_uses_the_weights_it_was_given():
    stored, reversible = pair()
    weights = {name: (p * 1.5).detach() for name, p in stored.named_parameters()}
    results = []
    for chain in (reversible, stored):
        given = {name: p.clone().requires_grad_() for name, p in weights.items()}
        z = torch.func.functional_call(chain, given, (torch.ones(2, 1, 4, 4),))
        results.append(torch.autograd.grad(z.square().sum(), list(given.values())))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def _train_on_rank(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    chain = pair()[1]
    model = DistributedDataParallel(_PhaseOne(chain))
    x = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    model(x[2 * rank : 2 * rank + 2]).backward()
    if rank == 0:
        torch.save([p.grad for p in chain.parameters()], Path(folder) / "grads.pt")
    torch.distributed.destroy_process_group()


class _PhaseOne(nn.Module):
    def __init__(self, chain):
        super().__init__()
        self.chain = chain

    def forward(self, x):
        return loss_of(self.chain, x)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_ranks_have_the_gradients_of_one(tmp_path):
    # A fresh process may fork; this one has threads by now.
    subprocess.run([sys.executable, __file__, str(tmp_path)], check=True, timeout=100)
    torch.manual_seed(0)
    chain = pair()[0]
    loss_of(chain, torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(1))).backward()
    for ours, parameter in zip(torch.load(tmp_path / "grads.pt"), chain.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-4, atol=1e-6)


if __name__ == "__main__":
    torch.multiprocessing.start_processes(
        _train_on_rank, (sys.argv[1],), nprocs=2, start_method="fork"
    )


class _Scaled(nn.Module):
    """What depends on the mode of the module, without chance."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Conv2d(2, 2, 1)

    def forward(self, x):
        return self.linear(x) * (2.0 if self.training else 1.0)


def test_a_change_of_mode_before_the_backward_pass_does_not_matter():
    gradients = []
    torch.manual_seed(0)
    stored = ReversibleSequential(AdditiveCoupling(_Scaled(), _Scaled()), memory="stored").double()
    reversible = copy.deepcopy(stored)
    reversible.set_engine(stored.engine.replace(memory="reversible"))
    x = torch.rand(3, 4, 2, 2, dtype=torch.float64)
    for chain in (stored, reversible):
        loss = chain(x).square().sum()
        chain.eval()
        loss.backward()
        assert not any(module.training for module in chain.modules())
        gradients.append([p.grad for p in chain.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("n", [1, 4])
def test_a_network_that_edits_its_input_is_refused(n):
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(2, 2, 1))
    x = torch.rand(n, 4, 2, 2) - 0.5
    for f, g in ((network, nn.Conv2d(2, 2, 1)), (nn.Conv2d(2, 2, 1), network)):
        with pytest.raises(ValueError, match="changes its input in place"):
            ReversibleSequential(AdditiveCoupling(f, g))(x)
    with torch.inference_mode():  # nothing is noticed there, and nothing needs to be undone
        AdditiveCoupling(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1))(x)


def test_replicas_of_data_parallel_get_gradients():
    torch.manual_seed(0)
    chain = ReversibleSequential(AdditiveCoupling(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)))
    x = torch.rand(2, 4, 2, 2, requires_grad=True)
    chain(x).square().sum().backward()
    expected = [p.grad.clone() for p in chain.parameters()]
    chain.zero_grad()
    # As replicate() makes them, which itself needs CUDA devices.
    copy_of = chain._replicate_for_data_parallel()
    copy_of.blocks = nn.ModuleList()
    block = chain[0]._replicate_for_data_parallel()
    for name in ("f", "g"):
        network = getattr(chain[0], name)._replicate_for_data_parallel()
        network._parameters = {}
        network.weight, network.bias = (p.clone() for p in getattr(chain[0], name).parameters())
        block._modules[name] = network
    copy_of._modules["blocks"] = nn.ModuleList([block])
    copy_of(x).square().sum().backward()
    torch.testing.assert_close([p.grad for p in chain.parameters()], expected)
