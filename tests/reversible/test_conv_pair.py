"""f and g as one operation with a backward pass of its own, as accelerators compute them.

On the CPU the operation is called directly; kernels of Triton are compared where there is a card.
"""

import copy
from contextlib import nullcontext
from threading import Thread

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.modules import module
from torch.profiler import ProfilerActivity, profile

from genrev.networks import RevNet, RevNetConfig
from genrev.reversible import (
    AdditiveCoupling,
    ConvPair,
    Engine,
    ReversibleSequential,
    SmallMapConv2d,
    low_precision_weights,
)
from genrev.reversible.kernels import pair as pairs_module
from genrev.reversible.kernels import rows
from genrev.reversible.kernels.pair import (
    joined_pair,
    kernel_in_twos,
    kernel_of_twos,
    shifting_pair,
)


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


def shifting_inputs(width=3):
    """What a pair reads, what it shifts, and its weights."""
    x, stream = torch.randn(2, 2, 3, 2, width, dtype=torch.float64)
    return x.requires_grad_(), stream.requires_grad_(), *pair_of(3, 4).double().parameters()


@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 9)),
    sign=st.sampled_from([1, -1]),
    width=st.integers(1, 4),
    read=st.booleans(),
    written=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_it_shifts_a_stream_and_adds_up_gradients(sizes, sign, width, read, written):
    channels, hidden, outputs = sizes
    pair = pair_of(channels, hidden, 3, outputs).double()
    x = torch.randn(3, channels, 2, width, dtype=torch.float64, requires_grad=True)
    stream = torch.randn(3, outputs, 2, width, dtype=torch.float64, requires_grad=True)
    inputs, results = (x, stream, *pair.parameters()), []
    plain = x, stream + sign * pair(x)
    for same, shifted in (plain, shifting_pair(x, stream, sign, *pair.parameters())):
        torch.testing.assert_close(same, x, rtol=0, atol=0)
        loss = (read * same.sin() + x.cos()).sum() + (shifted.cos().sum() if written else 0)
        results.append([shifted, *torch.autograd.grad(loss, inputs, materialize_grads=True)])
    for expected, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("width", [3, 4])
def test_derivatives_of_a_shift_are_those_of_finite_differences(sign, width):
    def shift(x, stream, *weights):
        return shifting_pair(x, stream, sign, *weights)

    inputs = shifting_inputs(width)
    assert torch.autograd.gradcheck(shift, inputs)
    assert torch.autograd.gradgradcheck(shift, inputs)


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


@pytest.mark.parametrize("shifts", [False, True])
def test_many_gradients_at_once(shifts):
    x, stream, *weights = inputs = shifting_inputs()
    if shifts:
        y = torch.cat(shifting_pair(x, stream, -1, *weights), 1)
    else:
        inputs, y = (x, *weights), joined_pair(x, *weights)
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
        ConvPair, "value_and_pull", lambda self, *args: pulled.append(self) or real(self, *args)
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


def gradients_of(chain, x, inverse):
    """The output of a chain of couplings, and the gradients of a loss of it."""
    x = x.detach().requires_grad_()
    y = chain.inverse(x) if inverse else chain(x)
    return [y, *torch.autograd.grad(y.float().cos().sum(), (x, *chain.parameters()))]


def chain_of(channels, hidden, memory, kernel_size=3, exact=False):
    couplings = [
        AdditiveCoupling(*(pair_of(channels, hidden, kernel_size) for _ in "fg")) for _ in range(2)
    ]
    return ReversibleSequential(*couplings, memory=memory, exact=exact)


@pytest.mark.parametrize("memory", ["stored", "reversible"])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_couplings_shift_as_they_do_on_the_cpu(memory, inverse, exact, everywhere, monkeypatch):
    chain, x = chain_of(3, 5, memory, exact=exact), torch.rand(4, 6, 4, 4)
    called = []
    real = pairs_module._Pair.apply
    monkeypatch.setattr(pairs_module._Pair, "apply", lambda *a: called.append(a[3]) or real(*a))
    ours = gradients_of(chain, x, inverse)
    streams = [stream is not None for stream in called]
    assert streams == ([not exact] * 4 if memory == "stored" else [])
    monkeypatch.setattr(pairs_module, "_DEVICES", ())
    for expected, found in zip(gradients_of(chain, x, inverse), ours, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("memory", ["stored", "reversible"])
def test_a_hook_on_a_pair_changes_what_it_shifts(memory):
    chain, x = chain_of(3, 5, memory), torch.rand(4, 6, 4, 4)
    plain = gradients_of(chain, x, inverse=False)
    hook = chain[1].f.register_forward_hook(lambda _, inputs, output: 2 * output)
    hooked = gradients_of(chain, x, inverse=False)
    hook.remove()
    with torch.no_grad():
        for parameter in chain[1].f[2].parameters():
            parameter *= 2
    louder = gradients_of(chain, x, inverse=False)
    doubled = [f"1.f.2.{name}" for name in ("weight", "bias")]
    names = ["y", "x", *(name.removeprefix("blocks.") for name, _ in chain.named_parameters())]
    for name, one, two in zip(names, hooked, louder, strict=True):
        torch.testing.assert_close(one, two * (1 + (name in doubled)), atol=1e-4, rtol=1e-4)
    assert distance(hooked[0], plain[0]) > 1e-3


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize(
    "register",
    [
        module.register_module_forward_pre_hook,
        module.register_module_forward_hook,
        module.register_module_full_backward_pre_hook,
        module.register_module_full_backward_hook,
    ],
)
def test_hooks_of_all_modules_see_pairs(register):
    chain, x, seen = chain_of(3, 5, "stored"), torch.rand(4, 6, 4, 4), []
    hook = register(lambda module, *_: seen.append(module))
    try:
        gradients_of(chain, x, inverse=False)
    finally:
        hook.remove()
    pairs = [m for m in chain.modules() if type(m) is ConvPair]
    assert all(any(pair is other for other in seen) for pair in pairs)


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
        computed.append(tensors[-2])
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


def both_ways(chain, x):
    """A loss of two passes through the same weights, as of encoding and decoding."""
    z = chain(x)
    return chain.inverse(0.9 * z).sin().sum() + z.square().sum()


def gradients(chain, x):
    return torch.autograd.grad(both_ways(chain, x), [*chain.parameters()])


def twice_through_a_graph(chain, x):
    loss = both_ways(chain, x)
    loss.backward(retain_graph=True)
    loss.backward()
    return [p.grad for p in chain.parameters()]


def of_the_input_first(chain, x):
    loss = both_ways(chain, x)
    first = torch.autograd.grad(loss, x, retain_graph=True)
    return *first, *torch.autograd.grad(loss, [x, *chain.parameters()])


def after_a_failure(chain, x):
    """The pass that failed had the gradients of the second use already."""
    z = chain(x)
    loss = chain.inverse(0.9 * z).sin().sum()

    def fail(grad):
        raise ZeroDivisionError

    hook = z.register_hook(fail)
    with pytest.raises(ZeroDivisionError):
        loss.backward(retain_graph=True)
    hook.remove()
    return torch.autograd.grad(loss, [*chain.parameters()])


def with_a_hook(chain, x):
    seen = []
    hooks = [
        p.register_hook(lambda grad: seen.append(grad) or 2 * grad) for p in chain.parameters()
    ]
    found = gradients(chain, x)
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(hooks)
    return *found, *sorted(seen, key=torch.Tensor.numel)


def of_a_gradient(chain, x):
    first = torch.autograd.grad(both_ways(chain, x), x, create_graph=True)[0]
    return torch.autograd.grad(first.square().sum() + both_ways(chain, x), [*chain.parameters()])


def partly_frozen(chain, x):
    chain[0].f[0].weight.requires_grad_(False)
    both_ways(chain, x).backward()
    return [p.grad for p in chain.parameters() if p.grad is not None]


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize(
    "compute",
    [
        gradients,
        twice_through_a_graph,
        of_the_input_first,
        after_a_failure,
        with_a_hook,
        of_a_gradient,
        partly_frozen,
    ],
)
def test_within_a_scope_uses_add_up_gradients_of_weights(compute, monkeypatch):
    chain, adds = chain_of(3, 5, "stored"), []
    x = torch.rand(4, 6, 4, 4, requires_grad=True)
    expected = compute(copy.deepcopy(chain), x)
    real = pairs_module.added_up
    monkeypatch.setattr(
        pairs_module, "added_up", lambda *a: adds.append(a[3] is not None) or real(*a)
    )
    with low_precision_weights():
        found = compute(chain, x)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
    assert any(adds)
    if compute is gradients:
        assert sum(adds) == len(adds) / 2 == 2 * 4  # the second use of every bias


def added(found, columns):
    """A matrix, and the sums of the other's columns."""
    return found[0], rows.added_up(found[1], columns, torch.float32)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("count", "columns", "width"), [(300, 6, 8), (70001, 25, 32), (9, 400, 400)]
)
def test_kernels_of_triton_compute_what_pytorch_does(count, columns, width, monkeypatch):
    torch.manual_seed(0)
    x, stream = torch.randn(2, count, columns).cuda()
    bias = torch.randn(columns).cuda()
    maps = torch.randn(count, width).cuda()
    maps[:, columns:] = 0
    results = []
    for joins in (False, True):
        monkeypatch.setattr(rows, "_joins", lambda *_, joins=joins, **__: joins)
        hidden = maps.bfloat16()
        rows.add_bias_and_relu(hidden, bias)
        results.append(
            [
                hidden,
                rows.filled(x, width, torch.bfloat16),
                rows.with_bias(maps.bfloat16(), bias, torch.float32),
                rows.cropped(maps.bfloat16(), columns, torch.float32),
                *added(rows.filled_and_summed(x, width, torch.bfloat16), columns),
                *added(rows.masked_and_summed(maps.clone(), maps.relu(), columns), columns),
                rows.cropped(maps.bfloat16(), columns, torch.float32, stream),
                *added(rows.filled_and_summed(x, width, torch.bfloat16, -1), columns),
                rows.added_up(maps[:200].clone(), columns, torch.float32, bias),
                rows.with_bias(maps.bfloat16(), bias, torch.float32, stream, 1),
                rows.with_bias(maps.bfloat16(), bias, torch.float32, stream, -1),
            ]
        )
    for plain, ours in zip(*results, strict=True):
        assert plain.dtype == ours.dtype
        torch.testing.assert_close(
            ours.float(), plain.float(), rtol=1e-2, atol=1e-2 if plain.dim() == 2 else 0.1
        )


@pytest.mark.gpu
@pytest.mark.parametrize(
    "sizes", [(6, 25, 3, 32), (24, 50, 3, 16), (96, 200, 3, 4), (48, 400, 1, 2)]
)
@pytest.mark.parametrize("memory", ["stored", "reversible"])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float32])
def test_couplings_on_cuda(sizes, memory, inverse, low, monkeypatch):
    """About as far from float64 as PyTorch's own operations are.

    Those round hidden maps once; here they are rounded after the product and after its bias.
    """
    channels, hidden, kernel_size, size = sizes
    chain = chain_of(channels, hidden, memory, kernel_size).cuda()
    x = torch.rand(250, 2 * channels, size, size, device="cuda")
    exact = gradients_of(copy.deepcopy(chain).double(), x.double(), inverse)
    errors = []
    for joins in (True, False):
        if not joins:
            monkeypatch.setattr(rows, "_joins", lambda *_, **__: False)
        with torch.autocast("cuda", low, enabled=low != torch.float32):
            found = gradients_of(chain, x, inverse)
        errors.append([distance(one.double(), two) for one, two in zip(found, exact, strict=True)])
    for ours, plain in zip(*errors, strict=True):
        assert ours < 2 * plain + 1e-6
        assert ours < (0.1 if low == torch.bfloat16 else 1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("memory", ["stored", "reversible"])
def test_nothing_but_sums_of_weights_is_added_or_negated_on_cuda(memory):
    chain = chain_of(6, 40, memory).cuda()  # not in twos, whose taps are added
    x = torch.rand(64, 12, 16, 16, device="cuda", requires_grad=True)
    y = chain(x)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        y.cos().sum().backward()
    calls = {event.key: event.count for event in profiler.key_averages()}
    assert calls.get("aten::neg", 0) <= 1  # of the cosine
    assert calls.get("aten::add", 0) == 0
    assert calls.get("aten::sub", 0) == 0


@pytest.mark.gpu
def test_gradients_of_weights_that_are_used_twice_in_a_scope_on_cuda():
    chain = chain_of(48, 100, "stored").cuda()
    x = torch.rand(64, 96, 16, 16, device="cuda", requires_grad=True)
    results, sums = [], []
    for scope in (nullcontext(), low_precision_weights(chain.parameters())):
        with scope, torch.autocast("cuda", torch.bfloat16):
            loss = both_ways(chain, x)
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                results.append(torch.autograd.grad(loss, [*chain.parameters()]))
        events = profiler.key_averages()
        sums.append(sum(e.count for e in events if e.key in ("aten::add", "aten::add_")))
    assert sums[0] - sums[1] >= len(results[0]) // 2  # of the weights; sums for a bias may be small
    for outside, within in zip(*results, strict=True):
        assert outside.stride() == within.stride()
        assert distance(within, outside) < 1e-3
