"""f and g as one operation with a backward pass of its own, as accelerators compute them.

On the CPU the operation is called directly; kernels of Triton are compared where there is a card.
"""

from threading import Thread

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genrev.networks import RevNet, RevNetConfig
from genrev.reversible import ConvPair, Engine, SmallMapConv2d, low_precision_weights
from genrev.reversible.kernels import pair as pairs_module
from genrev.reversible.kernels import rows
from genrev.reversible.kernels.pair import joined_pair, kernel_in_twos, kernel_of_twos


def pair_of(channels, hidden, kernel_size=3, outputs=None):
    torch.manual_seed(0)
    first = SmallMapConv2d(channels, hidden, kernel_size)
    return ConvPair(first, SmallMapConv2d(hidden, outputs or channels, kernel_size))


def distance(a, b):
    return float((a - b).detach().norm() / b.detach().norm())


@pytest.fixture
def everywhere(monkeypatch):
    """The CPU computes pairs as an accelerator does, in float64 too."""
    monkeypatch.setattr(pairs_module, "_DEVICES", ("cpu",))


@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 9)),
    kernel_size=st.sampled_from([1, 3, 5]),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
)
@settings(max_examples=30, deadline=None)
def test_it_is_two_convolutions_with_a_relu_between_them(sizes, kernel_size, height, width):
    channels, hidden, outputs = sizes
    pair = pair_of(channels, hidden, kernel_size, outputs).double()
    x = torch.randn(3, channels, height, width, dtype=torch.float64, requires_grad=True)
    results = []
    for y in (pair(x), joined_pair(x, *pair.parameters())):
        grads = torch.autograd.grad(y.cos().sum(), (x, *pair.parameters()))
        results.append([y, *grads])
    for plain, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("width", [3, 4])  # in twos where that goes
def test_derivatives_are_those_of_finite_differences(width):
    pair = pair_of(3, 4).double()
    inputs = (
        torch.randn(2, 3, 2, width, dtype=torch.float64, requires_grad=True),
        *pair.parameters(),
    )
    assert torch.autograd.gradcheck(joined_pair, inputs)
    assert torch.autograd.gradgradcheck(joined_pair, inputs)


@given(
    outputs=st.integers(1, 5),
    inputs=st.integers(1, 5),
    height=st.integers(1, 4),
    pairs=st.integers(1, 4),
)
@settings(max_examples=20, deadline=None)
def test_two_pixels_as_one(outputs, inputs, height, pairs):
    """The kernel for them convolves as the kernel for pixels, and its gradient is the adjoint's."""
    kernel = torch.randn(outputs, inputs, 3, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, inputs, height, 2 * pairs, dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last)
    y = pairs_module._apart(
        torch.conv2d(pairs_module._in_twos(x), kernel_in_twos(kernel), padding=1)
    )
    torch.testing.assert_close(y, torch.conv2d(x, kernel, padding=1))
    grad = torch.randn_like(kernel_in_twos(kernel))
    (expected,) = torch.autograd.grad(kernel_in_twos(kernel), kernel, grad)
    torch.testing.assert_close(kernel_of_twos(grad), expected)


def test_many_gradients_at_once():
    pair = pair_of(3, 4).double()
    inputs = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True), *pair.parameters()
    y = joined_pair(*inputs)
    grads = torch.randn(5, *y.shape, dtype=torch.float64)
    together = torch.autograd.grad(y, inputs, grads, is_grads_batched=True, retain_graph=True)
    for number, grad in enumerate(grads):
        alone = torch.autograd.grad(y, inputs, grad, retain_graph=True)
        for many, one in zip(together, alone, strict=True):
            torch.testing.assert_close(many[number], one, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("channels", [6, 8])
def test_low_precision_fills_channels_up_and_gives_the_precision_of_the_stream(channels):
    pair = pair_of(channels, 25)
    x = torch.randn(4, channels, 8, 8, requires_grad=True)
    inputs = x, *pair.parameters()
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = joined_pair(*inputs), pair(x)
    assert ours.dtype == torch.float32
    errors, exact = [], pair(x)
    exact_grads = torch.autograd.grad(exact.square().sum(), inputs)
    for y in (ours, theirs):
        grads = torch.autograd.grad(y.float().square().sum(), inputs)
        errors.append([distance(y, exact), *map(distance, grads, exact_grads)])
    for one, other in zip(*errors, strict=True):
        assert 0 < one < 1.5 * other  # no worse than autocast's


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("exact", [False, True])
def test_the_engine_pulls_back_without_autograd(exact, monkeypatch):
    config = RevNetConfig(
        image_size=8, channels=3, hidden_channels=(5, 6), blocks=(2, 1), kernel_sizes=(3, 1)
    )
    net, x = RevNet(config), torch.rand(4, 3, 8, 8)
    pulled = []
    real = ConvPair.value_and_pull
    monkeypatch.setattr(
        ConvPair, "value_and_pull", lambda self, x: pulled.append(self) or real(self, x)
    )
    results = {}
    for memory in ("stored", "reversible"):
        net.set_engine(Engine(memory=memory, exact=exact))
        net.zero_grad()
        net.decode(net.encode(x).clamp(-1, 1)).square().sum().backward()
        results[memory] = [p.grad.clone() for p in net.parameters()]
        assert len(pulled) == (0 if memory == "stored" else 2 * 2 * 3)
    for stored, again in zip(*results.values(), strict=True):
        if exact:
            assert torch.equal(stored, again)
        else:
            assert (stored - again).norm() <= 1e-4 * stored.norm()


@pytest.mark.usefixtures("everywhere")
def test_a_parametrized_or_compiled_pair_is_left_to_autograd():
    x, pair = torch.rand(2, 3, 4, 4), pair_of(3, 4)
    assert pair.value_and_pull(x) is not None
    torch.nn.utils.parametrizations.weight_norm(pair[0])
    assert pair.value_and_pull(x) is None
    pair = pair_of(3, 4)
    pair._compiled_call_impl = pair._call_impl  # as torch.compile leaves it
    assert pair.value_and_pull(x) is None

    class Louder(ConvPair):
        def forward(self, x):
            return 2 * super().forward(x)

    louder = Louder(SmallMapConv2d(3, 4), SmallMapConv2d(4, 3))
    assert louder.value_and_pull(x) is None


@pytest.mark.usefixtures("everywhere")
def test_frozen_weights_and_hooks():
    config = RevNetConfig(
        image_size=4, channels=2, hidden_channels=(5,), blocks=(2,), kernel_sizes=(3,)
    )
    net = RevNet(config)
    couplings = list(net.blocks.blocks)[1:]
    couplings[0].f[0].weight.requires_grad_(False)
    seen = []
    couplings[1].g[0].register_forward_hook(lambda *_: seen.append(1))
    net.encode(torch.rand(3, 2, 4, 4)).square().sum().backward()
    assert couplings[0].f[0].weight.grad is None
    assert couplings[0].f[0].bias.grad is not None
    assert len(seen) == 2  # forward and again, as with any hook


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("memory", ["stored", "reversible"])
def test_gradients_of_frozen_weights_are_not_computed(memory, monkeypatch):
    computed = []
    real = pairs_module._weight_gradient

    def counted(*tensors):
        computed.append(tensors[-1])
        return real(*tensors)

    monkeypatch.setattr(pairs_module, "_weight_gradient", counted)
    config = RevNetConfig(
        image_size=4, channels=2, hidden_channels=(5,), blocks=(1,), kernel_sizes=(3,)
    )
    net, x = RevNet(config, engine=Engine(memory=memory)), torch.rand(3, 2, 4, 4)
    net.encode(x).square().sum().backward()
    whole = {name: p.grad for name, p in net.named_parameters()}
    assert len(computed) == 4
    for frozen in whole:
        net.zero_grad()
        computed.clear()
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name != frozen)
        net.encode(x).square().sum().backward()
        assert len(computed) == (3 if frozen.endswith("weight") else 4)
        for name, parameter in net.named_parameters():
            if name == frozen:
                assert parameter.grad is None
            else:
                assert torch.equal(parameter.grad, whole[name])


@pytest.mark.usefixtures("everywhere")
def test_kernels_are_prepared_once_a_step_in_float32_and_in_a_thread_of_autograd(monkeypatch):
    prepared = []
    real = pairs_module._filled_up
    monkeypatch.setattr(pairs_module, "_filled_up", lambda k: prepared.append(k) or real(k))
    config = RevNetConfig(
        image_size=4, channels=2, hidden_channels=(5,), blocks=(2,), kernel_sizes=(1,)
    )
    net = RevNet(config)
    with low_precision_weights():
        loss = net.encode(torch.rand(3, 2, 4, 4)).square().sum()
        thread = Thread(target=loss.backward)  # as autograd does for what is on a device
        thread.start()
        thread.join()
    assert len(prepared) == 2 * 2 * 2


def added(found):
    """A matrix, and the sums of the other's columns."""
    return found[0], found[1].sum(0)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("count", "columns", "width"), [(300, 6, 8), (70001, 25, 32), (9, 400, 400)]
)
def test_kernels_of_triton_compute_what_pytorch_does(count, columns, width, monkeypatch):
    torch.manual_seed(0)
    x, bias = torch.randn(count, columns).cuda(), torch.randn(columns).cuda()
    maps = torch.randn(count, width).cuda()
    maps[:, columns:] = 0
    results = []
    for joins in (False, True):
        monkeypatch.setattr(rows, "_joins", lambda _, joins=joins: joins)
        hidden = maps.bfloat16()
        rows.add_bias_and_relu(hidden, bias)
        results.append(
            [
                hidden,
                rows.filled(x, width, torch.bfloat16),
                rows.with_bias(maps.bfloat16(), bias, torch.float32),
                rows.cropped(maps.bfloat16(), columns, torch.float32),
                *added(rows.filled_and_summed(x, width, torch.bfloat16)),
                *added(rows.masked_and_summed(maps.clone(), maps.relu(), columns)),
            ]
        )
    for plain, ours in zip(*results, strict=True):
        assert plain.dtype == ours.dtype
        torch.testing.assert_close(
            ours.float(), plain.float(), rtol=1e-2, atol=1e-2 if plain.dim() == 2 else 0.1
        )
