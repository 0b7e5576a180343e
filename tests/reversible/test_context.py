"""Conditions: gradients, memory, exactness and densities of chains with a context."""

import copy

import pytest
import torch
from kept_memory import kept_bytes
from torch import nn

from genrev.reversible import (
    AdditiveCoupling,
    AffineCoupling,
    Block,
    CheckerboardSubsample,
    ContextPair,
    ConvPair,
    FactorOut,
    ReversibleSequential,
    SmallMapConv2d,
    round_to_grid,
)

K = 5
SHAPES = {"vector": (4, K), "map": (4, K, 8, 8)}


def context_pair(ins, outs, hidden=6):
    return ContextPair(SmallMapConv2d(ins, hidden), SmallMapConv2d(hidden, outs), K)


def coupling(kind, channels, conditional=True):
    half, outs = channels // 2, channels // 2 * (2 if kind == "affine" else 1)
    pairs = [context_pair(half, outs) for _ in "fg"]
    if not conditional:
        pairs = [ConvPair(SmallMapConv2d(half, 6), SmallMapConv2d(6, outs)) for _ in "fg"]
    if kind == "affine":
        return AffineCoupling(*pairs, channels, conditional=conditional)
    return AdditiveCoupling(*pairs, conditional=conditional)


class Tilt(Block):
    """A conditional block that has no ``backtrack`` of its own."""

    conditional = True

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(0.3))

    def shift(self, context):
        return (self.log_scale.exp() * context).flatten(1).sum(1)[:, None, None, None]

    def forward(self, x, context):
        return x * self.log_scale.exp() + self.shift(context)

    def inverse(self, y, context):
        return (y - self.shift(context)) / self.log_scale.exp()

    def forward_with_log_det(self, x, context):
        return self(x, context), self.log_scale.expand(len(x)) * x[0].numel()


def blocks(kind, depth=2):
    modules, channels = [], 1
    for _ in range(2):
        channels *= 4
        modules += [CheckerboardSubsample(), coupling(kind, channels, conditional=False)]
        modules += [coupling(kind, channels) for _ in range(depth)]
    return modules


def pair(kind="additive", depth=2, dtype=torch.float64, exact=False, extra=()):
    stored = ReversibleSequential(*blocks(kind, depth), *extra, memory="stored", exact=exact)
    stored = stored.to(dtype)
    return stored, ReversibleSequential(*copy.deepcopy(list(stored.blocks)), exact=exact)


def density(chain, x, context):
    z, log_det = chain.forward_with_log_det(x, context)
    return (z.cos().flatten(1).sum(1) * log_det.exp().clamp(max=3) + log_det).sum()


def there_and_back(chain, x, context):
    z = chain(x, context)
    mask = torch.zeros_like(z)
    mask[:, :5] = 1
    decoded = chain.inverse((mask * z).clamp(-0.5, 0.5), context)
    return (decoded - x).square().sum() + 0.1 * (z**3).sum()


LOSSES = {
    "encoder": lambda chain, x, context: (chain(x, context) ** 3).sum(),
    "decoder": lambda chain, x, context: (
        chain.inverse(x.reshape(len(x), 16, 2, 2), context).square().sum()
    ),
    "there and back": there_and_back,
    "density": density,
}


def gradients(chain, loss, x, context, allow_unused=False):
    x, context = (t.clone().requires_grad_() for t in (x, context))
    value = loss(chain, x, context)
    inputs = x, context, *chain.parameters()
    return [value.detach(), *torch.autograd.grad(value, inputs, allow_unused=allow_unused)]


def assert_close(ours, theirs, tolerance=1e-9):
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= tolerance * b.norm().clamp(min=1e-30)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["additive", "affine"])
def test_gradients_are_the_stored_ones_for_the_context_too(kind, name, shape):
    if kind == "additive" and name == "density":  # it has no other gradient than the encoder
        name = "encoder"
    stored, reversible = pair(kind, extra=[] if name == "decoder" else [Tilt()])
    x, context = torch.rand(4, 1, 8, 8).double(), torch.randn(SHAPES[shape]).double()
    ours, theirs = (gradients(chain, LOSSES[name], x, context) for chain in (reversible, stored))
    assert ours[2].abs().min() > 0  # every number of the context matters
    assert_close(ours, theirs)


def test_gradcheck():
    _, chain = pair("affine", 1)
    x = torch.rand(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    context = torch.randn(2, K, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *both: chain(*both), (x, context))


def test_a_context_alone_can_have_a_gradient():
    stored, reversible = pair()
    found = []
    for chain in (stored, reversible):
        chain.requires_grad_(False)
        context = torch.ones(3, K, dtype=torch.float64, requires_grad=True)
        x = torch.linspace(0, 1, 3 * 64, dtype=torch.float64).view(3, 1, 8, 8)
        chain(x, context).square().sum().backward()
        found.append(context.grad)
    assert_close(found[1:], found[:1])


def test_whole_numbers_and_dropout_can_be_repeated():
    class Embedded(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.drop = nn.Embedding(7, 2), nn.Dropout(0.5)
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x, context):
            return self.conv(self.drop(x)) + self.table(context)[:, :, None, None]

    modules = [AdditiveCoupling(Embedded(), Embedded(), conditional=True) for _ in range(3)]
    labels, x = torch.tensor([6, 0, 3]), torch.rand(3, 4, 4, 4, dtype=torch.float64)
    found = []
    for memory in ("stored", "reversible"):
        chain = ReversibleSequential(*modules, memory=memory).double()
        torch.manual_seed(0)
        loss = chain(x, labels).square().sum()
        found.append(torch.autograd.grad(loss, list(chain.parameters())))
    assert_close(found[1], found[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_bit_for_bit(shape, dtype):
    stored, reversible = pair(dtype=dtype, exact=True)
    x = round_to_grid(torch.rand(4, 1, 8, 8, dtype=dtype))
    context = torch.randn(SHAPES[shape], dtype=dtype)
    for chain in (stored, reversible):
        assert torch.equal(chain.inverse(chain(x, context), context), x)
    ours, theirs = (gradients(chain, there_and_back, x, context) for chain in (reversible, stored))
    assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("kind", ["additive", "affine"])
def test_the_inverse_needs_the_same_context(kind):
    _, chain = pair(kind)
    x, one, other = torch.rand(4, 1, 8, 8).double(), *torch.randn(2, 4, K).double()
    z = chain(x, one)
    torch.testing.assert_close(chain.inverse(z, one), x, rtol=0, atol=1e-10)
    assert (chain.inverse(z, other) - x).abs().max() > 1e-2


@pytest.mark.parametrize("factored", [False, True])
def test_log_determinants_are_those_of_the_jacobian(factored):
    chain = pair("affine", 1, extra=[] if factored else [Tilt()])[1]
    if factored:
        stages = [
            ReversibleSequential(CheckerboardSubsample(), coupling("affine", c)) for c in (4, 8)
        ]
        chain = FactorOut(stages, [(4, 2, 2), (8, 1, 1)]).double()
    x, context = torch.rand(3, 1, 4, 4).double(), torch.randn(3, K).double()
    z, log_det = chain.forward_with_log_det(x, context)
    torch.testing.assert_close(chain.inverse(z, context), x)

    def alone(image, condition):
        return chain(image.view(1, 1, 4, 4), condition[None]).flatten()

    for image, condition, found in zip(x, context, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda image, c=condition: alone(image, c), image.flatten()
        )
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], found)


def total(chain, x, context):
    return chain(x, context).sum()


@pytest.mark.parametrize("shape", SHAPES)
def test_memory_does_not_grow_with_the_depth(shape):
    x, context = torch.rand(4, 1, 8, 8), torch.randn(SHAPES[shape], requires_grad=True)
    kept = {
        (memory, depth): kept_bytes(
            total, ReversibleSequential(*blocks("additive", depth), memory=memory), x, context
        )
        for depth in (1, 8)
        for memory in ("reversible", "stored")
    }
    assert kept["reversible", 8] == kept["reversible", 1]
    assert kept["reversible", 8] <= x.nbytes + context.nbytes
    assert kept["stored", 8] > 3 * kept["stored", 1]


def test_a_vector_is_what_further_channels_would_be():
    """Within the border, where a convolution pads its input and not the bias."""
    pair = context_pair(2, 3).double()
    x, context = torch.rand(2, 2, 8, 8).double(), torch.randn(2, K).double()
    first, last = pair[0], pair[2]
    weight = torch.zeros(6, 2 + K, 3, 3, dtype=torch.float64)
    weight[:, :2] = first.weight
    weight[:, 2:, 1, 1] = pair.context.weight
    joined = torch.cat([x, context[:, :, None, None].expand(2, K, 8, 8)], dim=1)
    hidden = torch.conv2d(joined, weight, first.bias, padding=1).relu()
    torch.testing.assert_close(pair(x, context), last(hidden))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_maps_are_averaged_down_to_the_stream(dims):
    convs = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    layer = ContextPair(convs[dims](2, 4, 1), convs[dims](4, 2, 1), K)
    x, context = torch.rand(3, 2, *[4] * dims), torch.randn(3, K)
    constant = context.reshape(3, K, *[1] * dims).expand(3, K, *[8] * dims)
    torch.testing.assert_close(layer(x, constant), layer(x, context))
    changed = constant.clone()
    changed[:, :, 0] += 1  # the first two rows, in part
    assert (layer(x, changed) != layer(x, constant)).flatten(2).any(2).all()
    torch.testing.assert_close(layer(x, changed)[:, :, 1:], layer(x, constant)[:, :, 1:])
    with pytest.raises(ValueError, match=r"A map of .* cannot be averaged"):
        layer(x, torch.rand(3, K, *[6] * dims))


def test_a_context_too_few_or_too_many_is_one_sentence():
    x, context = torch.rand(2, 4, 4, 4), torch.rand(2, K)
    plain, conditional = coupling("additive", 4, conditional=False), coupling("additive", 4)
    for block in (plain, ReversibleSequential(plain)):
        with pytest.raises(ValueError, match=r"takes no context; leave it out"):
            block(x, context)
    for block in (conditional, ReversibleSequential(conditional)):
        for run in (block, block.inverse):
            with pytest.raises(ValueError, match=r"needs a context and got none; give one\."):
                run(x)
