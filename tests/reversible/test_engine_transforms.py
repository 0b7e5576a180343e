"""The engine among compilers, transforms of torch.func and networks of other kinds."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.autograd.functional import jacobian
from torch.utils.checkpoint import checkpoint

from genrev.networks import RevNet, RevNetConfig, revnet_config
from genrev.reversible import (
    AdditiveCoupling,
    AffineCoupling,
    Engine,
    HaarBands,
    ReversibleSequential,
    SmallMapConv2d,
    round_to_grid,
)


def network(channels=4):
    return nn.Sequential(SmallMapConv2d(channels, 3), nn.Tanh(), SmallMapConv2d(3, channels))


def pair(f=network, **options):
    torch.manual_seed(0)
    blocks = [AdditiveCoupling(f(), f()), HaarBands(2), AdditiveCoupling(f(), f())]
    stored = ReversibleSequential(*blocks, memory="stored", **options).double()
    reversible = copy.deepcopy(stored)
    reversible.set_engine(stored.engine.replace(memory="reversible"))
    return stored, reversible


def images(side=2):
    return torch.rand(2, 8, side, side, dtype=torch.float64)


def gradients(chain, x, run=None):
    x = x.clone().requires_grad_()
    ((run or chain)(x) ** 2).sum().backward()
    return [x.grad, *(p.grad for p in chain.parameters())]


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("side", [1, 3])  # products of matrices, and PyTorch's kernels
def test_many_gradients_at_once(exact, side):
    x = images(side).requires_grad_()
    for chain in pair(exact=exact):
        inputs = (x, *chain.parameters())
        z = chain(x)
        directions = torch.rand(3, *z.shape, dtype=z.dtype)
        together = torch.autograd.grad(
            z, inputs, directions, retain_graph=True, is_grads_batched=True
        )
        singly = [torch.autograd.grad(z, inputs, d, retain_graph=True) for d in directions]
        same(together, tuple(torch.stack(grads) for grads in zip(*singly, strict=True)))


@pytest.mark.parametrize("preset", ["mnist", "mnist-haar", "faces32-haar"])
def test_many_gradients_of_the_networks_that_are_trained(preset):
    config = revnet_config(preset)
    stages, image = len(config.blocks), (config.channels, config.image_size, config.image_size)
    small = config.replace(hidden_channels=(2,) * stages, blocks=(1,) * stages)
    net = RevNet(small).double()
    x = torch.rand(1, *image, dtype=torch.float64)
    for run, at in ((net.encode, x), (net.decode, net.encode(x).detach())):

        def few(value, run=run):
            return run(value).flatten()[:2]

        same(jacobian(few, at, vectorize=True), jacobian(few, at))


@pytest.mark.parametrize("exact", [False, True])
def test_jacobians_and_derivatives_of_every_kind_agree(exact):
    for chain in pair(exact=exact):
        x = images(1)
        direction = torch.rand_like(x)
        expected = jacobian(chain, x)
        along = torch.tensordot(expected, direction, 4)
        same(jacobian(chain, x, vectorize=True), expected)
        same(jacobian(chain, x, vectorize=True, strategy="forward-mode"), expected)
        same(torch.func.jacrev(chain)(x), expected)
        same(torch.func.jacfwd(chain)(x), expected)
        same(torch.func.jvp(chain, (x,), (direction,))[1], along)
        with forward_ad.dual_level():
            dual = chain(forward_ad.make_dual(x, direction))
            same(forward_ad.unpack_dual(dual).tangent, along)
        assert torch.func.hessian(lambda x, run=chain: run(x).square().sum())(x).isfinite().all()


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap():
    x = images()
    for chain in pair():
        same(torch.func.vmap(lambda one, run=chain: run(one[None])[0])(x), chain(x))
    for chain in pair(exact=True):
        with pytest.raises(TypeError, match=r"vmap does not allow; give the chain a batch"):
            torch.func.vmap(lambda one, run=chain: run(one[None])[0])(x)


def lazy():
    return nn.Sequential(nn.LazyConv2d(3, 1), nn.Tanh(), nn.LazyConv2d(4, 1))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("inverse", [False, True])
def test_lazy_networks_learn_from_the_first_step(exact, inverse):
    results = []
    for memory in ("stored", "reversible"):
        torch.manual_seed(0)
        blocks = AdditiveCoupling(lazy(), lazy()), AdditiveCoupling(lazy(), lazy())
        chain = ReversibleSequential(*blocks, memory=memory, exact=exact)
        x = images().float().requires_grad_()
        (chain.inverse if inverse else chain)(x).square().sum().backward()
        results.append([x.grad, *(p.grad for p in chain.parameters())])
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)


class Recurrent(nn.Module):
    """Reads pixels one after the other; nn.LSTM keeps a list of its parameters."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x):
        read = self.lstm(x.flatten(2).transpose(1, 2))[0]
        return read.transpose(1, 2).reshape(x.shape)


class Listed(nn.Module):
    """Keeps its module in a list besides."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.order = [self.conv]

    def forward(self, x):
        return self.order[0](x)


class Shared(nn.Module):
    """Uses one module twice, under two names."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 4, 1)
        self.second = self.first

    def forward(self, x):
        return self.second(self.first(x).tanh())


def normalised():
    return torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))


def dynamo(network):
    return torch.compile(network, backend="eager")


def compiled_in_place():
    made = network()
    made.compile(backend="eager")
    return made


NETWORKS = {
    "recurrent": Recurrent,
    "shared": Shared,
    "weight norm": normalised,
    "graph": lambda: torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh())),
    "compiled": lambda: dynamo(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh())),
    "compiled in place": compiled_in_place,
    "listed": Listed,
    "scripted": lambda: torch.jit.script(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh())),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("hooks", [False, True])
@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_of_every_kind_get_the_gradients_of_plain_autograd(kind, hooks):
    results = []
    for memory in ("stored", "reversible"):
        torch.manual_seed(0)
        blocks = (AdditiveCoupling(NETWORKS[kind](), NETWORKS[kind]()) for _ in range(2))
        chain = ReversibleSequential(*blocks, memory=memory).double()
        for parameter in chain.parameters() if hooks else ():
            parameter.register_hook(lambda grad: 2 * grad)
        if hooks and memory == "reversible" and kind in ("listed", "scripted"):
            # They cannot be run without the hooks: better told than two times two.
            with pytest.raises(ValueError, match="use memory='stored'"):
                gradients(chain, images())
            return
        results.append(gradients(chain, images()))
    same(results[1], results[0])


def test_functional_calls_with_blocks_that_have_only_forward_and_inverse():
    """Their inverse must see the weights of the call, too, or what it gives back is no input."""
    torch.manual_seed(0)
    blocks = (
        AffineCoupling(nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 1), 8),
        AdditiveCoupling(network(), network()),
    )
    results = []
    for memory in ("stored", "reversible"):
        chain = ReversibleSequential(*blocks, memory=memory).double()
        given = {n: (1.5 * p).detach().requires_grad_() for n, p in chain.named_parameters()}
        x = torch.ones(2, 8, 2, 2, dtype=torch.float64, requires_grad=True)
        z = torch.func.functional_call(chain, given, (x,))
        results.append(torch.autograd.grad(z.square().sum(), (x, *given.values())))
    same(results[1], results[0])


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_within_a_checkpoint(reentrant, exact):
    stored, reversible = pair(exact=exact)
    x = images(3)

    def run(x):
        return checkpoint(reversible, x, use_reentrant=reentrant)

    same(gradients(reversible, x, run), gradients(stored, x))


def test_saved_tensors_that_come_back_as_copies():
    stored, reversible = pair()
    x = images()

    def run(x):
        with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda kept: kept):
            return reversible(x)

    same(gradients(reversible, x, run), gradients(stored, x))


@pytest.fixture
def graphs():
    torch._dynamo.reset()
    seen = []

    def backend(graph, example_inputs):
        del example_inputs
        seen.append(graph)
        return graph.forward

    seen.append(backend)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield seen
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("options", "coupling"),
    [
        ({}, "additive"),
        ({"exact": True}, "additive"),
        ({"memory": "stored"}, "additive"),
        ({}, "affine"),
    ],
)
def test_compiled_models_have_the_gradients_of_plain_ones(graphs, options, coupling):
    if options.get("exact") and torch.__version__ < (2, 8):
        pytest.skip("torch 2.7 compiles what is to run as it is")
    backend = graphs.pop()
    net = RevNet(
        RevNetConfig(
            image_size=4,
            channels=1,
            hidden_channels=(3, 3),
            blocks=(1, 1),
            kernel_sizes=(3, 1),
            coupling=coupling,
        ),
        Engine(**options),
    ).double()
    x = round_to_grid(torch.rand(2, 1, 4, 4, dtype=torch.float64))
    encode = torch.compile(net.encode, backend=backend)
    decode = torch.compile(net.decode, backend=backend)

    def loss(encode, decode):
        z = encode(x * 1.0) + 0.0
        return decode(0.9 * z).square().sum() + z.square().sum()

    results = []
    for functions in ((net.encode, net.decode), (encode, decode), (encode, decode)):
        net.zero_grad()
        loss(*functions).backward()
        results.append([p.grad.clone() for p in net.parameters()])
    same(results[1], results[0])
    same(results[2], results[0])
    with torch.no_grad():
        same(decode(encode(x)), x)


def test_a_compiled_block_is_run_as_it_is(graphs):
    backend = graphs.pop()
    stored, reversible = pair()
    for position, block in enumerate(reversible.blocks):
        reversible.blocks[position] = torch.compile(block, backend=backend)
    x = images()
    same(gradients(reversible, x), gradients(stored, x))


def test_an_exported_program_is_made_with_gradients_on():
    net = RevNet(
        RevNetConfig(
            image_size=4, channels=1, hidden_channels=(3, 3), blocks=(1, 1), kernel_sizes=(3, 1)
        )
    )
    program = torch.export.export(net, (torch.rand(2, 1, 4, 4),), strict=False).module()
    x = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(program(x), net(x))
