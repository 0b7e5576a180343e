"""compile=True gives torch.compile the couplings' networks where that pays, and only there."""

import copy
import functools

import pytest
import torch

from genrev.networks import RevNet, RevNetConfig
from genrev.reversible import AdditiveCoupling, Engine, ReversibleSequential

CONFIG = RevNetConfig(
    image_size=8, channels=1, hidden_channels=(8, 8, 8), blocks=(2, 2, 2), kernel_sizes=(3, 3, 1)
)


@pytest.fixture
def forced(monkeypatch):
    """Compile on the CPU too, counting what the compiler is given; its output is run as it is."""
    graphs = []

    def backend(graph, example_inputs):
        del example_inputs
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr("genrev.reversible.engine.execution._COMPILED", ("cpu",))
    compiler = functools.partial(torch.compile, backend=backend)
    monkeypatch.setattr(torch, "compile", compiler)
    yield graphs
    torch._dynamo.reset()


def losses_and_gradients(net, x):
    z = net.encode(x)
    loss = z.square().mean() + net.decode(0.9 * z).abs().mean()
    loss.backward()
    return loss.detach(), [p.grad for p in net.parameters()]


@pytest.mark.parametrize("memory", ["reversible", "stored"])
def test_compiled_networks_give_the_same_gradients(forced, memory):
    torch.manual_seed(0)
    plain = RevNet(CONFIG).double()
    net = RevNet(CONFIG, Engine(memory=memory, compile=True)).double()
    net.load_state_dict(plain.state_dict())
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    loss, gradients = losses_and_gradients(net, x)
    expected_loss, expected = losses_and_gradients(plain, x)
    assert forced  # the compiler was asked
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, expected, rtol=1e-10, atol=1e-12)


def test_every_shape_is_compiled_and_none_again(forced):
    net = RevNet(CONFIG, Engine(compile=True))
    x = torch.rand(3, 1, 8, 8)
    losses_and_gradients(net, x)
    count = len(forced)
    losses_and_gradients(net, x)
    assert len(forced) == count


def test_a_compiled_network_keeps_its_names_and_can_be_copied(forced):
    net = RevNet(CONFIG, Engine(compile=True))
    names = list(net.state_dict())
    x = torch.rand(2, 1, 8, 8)
    z = net.encode(x)
    assert list(net.state_dict()) == names == list(RevNet(CONFIG).state_dict())
    torch.testing.assert_close(copy.deepcopy(net).encode(x), z)


def test_on_the_cpu_nothing_is_compiled():
    coupling = AdditiveCoupling(torch.nn.Conv2d(2, 2, 1), torch.nn.Conv2d(2, 2, 1))
    ReversibleSequential(coupling, compile=True)(torch.rand(1, 4, 2, 2))
    assert coupling.f._compiled_call_impl is None


def test_exact_and_compile_are_refused_together():
    with pytest.raises(ValueError, match="exact and compile exclude each other"):
        ReversibleSequential(compile=True, exact=True)


def test_more_networks_than_the_compiler_allows_variants(forced, caplog):
    stages = 5
    shape = RevNetConfig(
        image_size=32,
        channels=1,
        hidden_channels=(4,) * stages,
        blocks=(1,) * stages,
        kernel_sizes=(3,) * stages,
    )
    net = RevNet(shape, Engine(compile=True))
    losses_and_gradients(net, torch.rand(2, 1, 32, 32))
    networks = 2 * stages
    assert len(forced) >= 2 * networks  # each with and without gradients
    assert "recompile_limit" not in caplog.text
