"""Jet: splits, transformers, round trips, log-determinants, gradients, memory, files, errors."""

import itertools
import math
from functools import partial

import pytest
import torch
from kept_memory import kept_bytes
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

import genrev
from genrev.export import export
from genrev.networks import NETWORKS, Jet, JetConfig
from genrev.networks.jet import (
    TokenSplit,
    TokenTransformer,
    TransformerCoupling,
    channel_order,
    place_order,
)
from genrev.options import OptionError
from genrev.priors import ActiveGaussian
from genrev.reversible import Engine
from genrev.reversible.engine.replay import Survey

PLACES = JetConfig().places
TINY = JetConfig(
    image_size=4, channels=2, patch_size=(1, 2), couplings=4, splits=("channels", "spatial"),
    width=6, depth=1, heads=3,
)  # fmt: skip
SHAPES = [TINY, TINY.replace(scaling=True, splits=("spatial",)), TINY.replace(patch_size=(2, 1))]


def far(config=TINY, memory="reversible"):
    """A network far from the identity, in float64, and images."""
    torch.manual_seed(0)
    net = Jet(config, Engine(memory=memory)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net, torch.rand(3, *net.image_shape, dtype=torch.float64)


@pytest.mark.parametrize("places", PLACES)
def test_spatial_splits_keep_one_colour_and_change_the_other(places):
    rows, columns = 4, 6
    order = place_order(places, rows, columns)
    assert sorted(order.tolist()) == [*range(rows * columns)]
    kept = set(order[: rows * columns // 2].tolist())
    colour = {"c": lambda r, c: r + c, "v": lambda _, c: c, "h": lambda r, _: r}[places[0]]
    wanted = {
        r * columns + c
        for r, c in itertools.product(range(rows), range(columns))
        if colour(r, c) % 2 == places.endswith("-inv")
    }
    assert kept == wanted


def test_orders_of_channels_are_those_of_saved_models():
    """They are in no file, so they may never change."""
    assert channel_order(8, 0).tolist() == [5, 1, 7, 0, 3, 6, 4, 2]
    orders = {tuple(channel_order(48, number).tolist()) for number in range(32)}
    assert len(orders) == 32
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(48))}


@pytest.mark.parametrize("dim", [1, 2])
def test_splits_and_joins_undo_each_other(dim):
    tokens, channels = 8, 6
    order = place_order("hstripes", 4, 2) if dim == 1 else channel_order(channels, 3)
    split = TokenSplit(order, dim)
    x = torch.randn(5, tokens, channels)
    first, second = split(x)
    assert first.shape == second.shape == (5, tokens, channels // 2)
    assert torch.equal(split.join(first, second), x)
    ours = split(split.join(second, first))
    assert torch.equal(ours[0], second)
    assert torch.equal(ours[1], first)
    half = order[: len(order) // 2]
    assert torch.equal(first.flatten(1), x.index_select(dim, half).flatten(1))


def test_a_layer_is_that_of_torch():
    """Attention and perceptron of PyTorch with normalised inputs, from the same weights."""
    ours = TokenTransformer(5, 3, 4, width=12, depth=1, heads=3).double()
    theirs = nn.TransformerEncoderLayer(
        12, 3, 48, 0.0, partial(functional.gelu, approximate="tanh"), 1e-6, True, True
    ).double()
    layer = ours.layers[0]
    pairs = [
        (theirs.self_attn.out_proj, layer.output), (theirs.linear1, layer.widen),
        (theirs.linear2, layer.narrow), (theirs.norm1, layer.norms[0]),
        (theirs.norm2, layer.norms[1]),
    ]  # fmt: skip
    for their, own in pairs:
        their.load_state_dict(own.state_dict())
    theirs.self_attn.in_proj_weight.data = layer.inputs.weight.data
    theirs.self_attn.in_proj_bias.data = layer.inputs.bias.data
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    nn.init.normal_(ours.last.weight)
    wanted = ours.last(ours.norm(theirs(ours.first(x) + ours.position)))
    torch.testing.assert_close(ours(x), wanted)
    assert ours(x).std() > 0.1


def test_a_coupling_by_hand():
    """A network that ignores its input: one half is shifted, then stretched by 2 sigmoid(r)."""
    network = nn.Linear(1, 2).double()
    nn.init.zeros_(network.weight)
    network.bias.data = torch.tensor([0.3, -0.7], dtype=torch.float64)
    coupling = TransformerCoupling(network, TokenSplit(torch.tensor([1, 0]), 2))
    x = torch.randn(4, 5, 2, dtype=torch.float64)
    y, log_det = coupling.forward_with_log_det(x)
    stretch = 2 / (1 + math.exp(0.7))
    torch.testing.assert_close(y[..., 0], (x[..., 0] + 0.3) * stretch)
    assert torch.equal(y[..., 1], x[..., 1])
    torch.testing.assert_close(log_det, torch.full((4,), 5 * math.log(stretch)).double())


def test_it_begins_with_pixels_from_minus_one_to_one():
    net = Jet(TINY)
    x = torch.rand(3, *net.image_shape)
    z, log_det = net.encode_with_log_det(x)
    torch.testing.assert_close(z, (2 * x - 1).flatten(1))
    torch.testing.assert_close(log_det, torch.full((3,), 32 * math.log(2)))


@pytest.mark.parametrize("config", SHAPES)
def test_decoding_undoes_encoding(config):
    net, x = far(config)
    z = net.encode(x)
    assert (z - (2 * x - 1).flatten(1)).abs().mean() > 0.1
    torch.testing.assert_close(net.decode(z), x, rtol=0, atol=1e-10)
    torch.testing.assert_close(net.encode(net.decode(-z)), -z, rtol=0, atol=1e-10)
    assert net.decode(net.encode(x[:0])).shape == (0, *net.image_shape)


@pytest.mark.parametrize("memory", ["stored", "reversible"])
@pytest.mark.parametrize("config", SHAPES)
def test_log_determinants_are_those_of_the_jacobian(config, memory):
    net, x = far(config, memory)
    z, log_det = net.encode_with_log_det(x)
    torch.testing.assert_close(z, net.encode(x))
    for image, number in zip(x[:2], log_det, strict=False):
        jacobian = torch.autograd.functional.jacobian(lambda a: net.encode(a[None])[0], image)
        wanted = torch.linalg.slogdet(jacobian.reshape(32, 32)).logabsdet
        torch.testing.assert_close(number, wanted)
    assert log_det.std() > 1e-3  # it depends on the image


def loss(net, x):
    """A likelihood, and what decoding a changed latent costs."""
    z, log_det = net.encode_with_log_det(x)
    value = (z.square().sum(1) / 2 - log_det * z.detach()[:, 0].cos()).sum()
    return value + (net.decode(0.9 * z) - x).abs().pow(1.5).sum()


@pytest.mark.parametrize("config", SHAPES)
def test_gradients_are_the_stored_ones(config):
    net, x = far(config)
    x.requires_grad_()
    found = []
    for memory in ("reversible", "stored"):
        net.set_engine(Engine(memory=memory))
        parts = torch.autograd.grad(loss(net, x), (x, *net.parameters()))
        found.append(torch.cat([part.flatten() for part in parts]))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


def test_gradients_in_low_precision_are_near_the_stored_ones():
    net, x = far()
    net, x, found = net.float(), x.float(), []
    for memory in ("reversible", "stored"):
        net.set_engine(Engine(memory=memory))
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(net, x)
        parts = torch.autograd.grad(value, tuple(net.parameters()))
        found.append(torch.cat([part.flatten() for part in parts]))
    assert (found[0] - found[1]).norm() < 5e-2 * found[1].norm()


def test_random_numbers_of_a_network_of_ones_own_are_repeated():
    """Dropout in the couplings: the engine runs it again with the same numbers."""
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5)).double() for _ in range(3)]
    couplings = [TransformerCoupling(f, TokenSplit(channel_order(4, 0), 2)) for f in networks]
    x = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    found = []
    for memory in ("reversible", "stored"):
        chain = genrev.ReversibleSequential(*couplings, memory=memory)
        torch.manual_seed(1)
        y, log_det = chain.forward_with_log_det(x)
        found.append(torch.autograd.grad(y.square().sum() - log_det.sum(), x)[0])
    torch.testing.assert_close(*found)


def likelihood(net, x):
    z, log_det = net.encode_with_log_det(x)
    return (z.square().sum(1) - log_det).sum()


def test_memory_does_not_grow_with_the_depth():
    x = torch.rand(10, 2, 4, 4)
    kept = {
        (memory, couplings): kept_bytes(
            likelihood, Jet(TINY.replace(couplings=couplings), Engine(memory=memory)), x
        )
        for memory, couplings in itertools.product(("reversible", "stored"), (2, 20))
    }
    assert kept["reversible", 20] == kept["reversible", 2] < 10 * x.nbytes
    assert kept["stored", 20] > 8 * kept["stored", 2]


def test_the_engine_need_not_watch_for_random_numbers():
    net = Jet(TINY)
    assert all(Survey.of(block).repeatable for block in net.blocks.blocks)


def test_every_pixel_reaches_every_latent():
    net, x = far(TINY.replace(couplings=6))
    jacobian = torch.autograd.functional.jacobian(lambda x: net.encode(x).sum(0), x)
    assert (jacobian.abs().amax(1) > 0).all()


def test_the_published_network():
    with torch.device("meta"):
        net = Jet(JetConfig())
    width, tokens, channels = 512, 256, 48
    layer = 12 * width**2 + 9 * width + 4 * width  # weights, their biases, two normalisations
    transformer = 2 * layer + width * (channels // 2 + 1 + tokens) + 2 * width
    transformer += (width + 1) * channels
    assert sum(p.numel() for p in net.parameters()) == 32 * transformer
    assert net.image_shape == (3, 64, 64)
    dims = [coupling.split.dim for coupling in net.blocks.blocks]
    assert dims == [*[2, 2, 2, 2, 1] * 6, 2, 2]
    assert NETWORKS["jet"] is Jet
    assert net.bijective


def test_a_model_is_saved_without_its_orders(tmp_path):
    net, x = far(TINY.replace(scaling=True))
    model = genrev.GenerativeModel(net, ActiveGaussian(32))
    model.save_pretrained(tmp_path)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "order" in name]
    loaded = genrev.load(tmp_path)
    assert torch.equal(loaded.log_prob(x), model.log_prob(x))
    sample = [m.sample(2, generator=torch.Generator().manual_seed(0)) for m in (model, loaded)]
    assert torch.equal(*sample)


def test_exported_with_batches_of_any_size(tmp_path):
    """``export`` compares the program with the model, at several sizes."""
    model = genrev.GenerativeModel(far(TINY.replace(couplings=2))[0].float(), ActiveGaussian(32))
    (done,) = export(model, tmp_path / "jet.pt2", "encode")
    assert done.difference <= done.tolerance


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": (3, 2)}, "Patches of 3x2 do not divide images of 4x4; change patch_size"),
        ({"channels": 1, "patch_size": (1, 1)}, "have 1 numbers, which cannot be split"),
        ({"heads": 4}, "multiple of the 4 heads and is 6; change"),
        ({"patch_size": (4, 1)}, "hstripes does not split 1x4 tokens in two halves; leave it out"),
        ({"patch_size": (4, 4)}, "checkerboard does not split 1x1 tokens in two halves"),
        ({"places": ()}, "places"),
        ({"places": ("stripes",)}, "checkerboard"),
    ],
)
def test_shapes_that_do_not_fit_are_one_sentence(change, message):
    with pytest.raises(OptionError, match=message):
        TINY.replace(**change)


def test_splits_that_no_coupling_makes_need_not_fit():
    net, x = far(TINY.replace(patch_size=(4, 4), splits=("channels",)))
    torch.testing.assert_close(net.decode(net.encode(x)), x)


def test_what_does_not_fit_is_refused():
    exact = Engine(exact=True)
    for ask in (lambda: Jet(TINY, exact), lambda: Jet(TINY).set_engine(exact)):
        with pytest.raises(OptionError, match=r"^Exact arithmetic needs additive .* out\.$"):
            ask()
    with pytest.raises(ValueError, match="images must be of shape"):
        Jet(TINY).encode(torch.rand(1, 2, 4, 5))
    with pytest.raises(ValueError, match="latents must be of shape"):
        Jet(TINY).decode(torch.rand(1, 31))


# With a context.


TOLD = TINY.replace(context=3)
CONTEXTS = {
    "classes": lambda net: torch.tensor([2, 0, 1]),
    "features": lambda net: torch.randn(3, 3).double(),
    "maps": lambda net: torch.randn(3, 3, *net.image_shape[1:]).double(),
}


@pytest.mark.parametrize("kind", CONTEXTS)
def test_the_same_context_leads_back_and_another_does_not(kind):
    net, x = far(TOLD)
    context = CONTEXTS[kind](net)
    z, log_det = net.encode_with_log_det(x, context)
    assert torch.equal(z, net.encode(x, context))
    torch.testing.assert_close(net.decode(z, context), x, rtol=0, atol=1e-12)
    assert (net.decode(z, context.roll(1, 0)) - x).abs().max() > 1e-3
    for number, image in enumerate(x):
        jacobian = torch.autograd.functional.jacobian(
            lambda one, n=number: net.encode(one[None], context[n : n + 1])[0], image
        )
        expected = torch.linalg.slogdet(jacobian.reshape(net.latent_dim, -1)).logabsdet
        torch.testing.assert_close(log_det[number], expected)


def test_a_context_is_one_thing_in_all_its_forms():
    """A class is its feature, and a vector is a map that is the same everywhere."""
    net, x = far(TOLD)
    classes = torch.tensor([2, 0, 1])
    features = functional.one_hot(classes, 3).double()
    z = net.encode(x, classes)
    assert torch.equal(z, net.encode(x, features))
    everywhere = features[..., None, None].expand(-1, -1, *net.image_shape[1:])
    torch.testing.assert_close(net.encode(x, everywhere), z)


@pytest.mark.parametrize("kind", ["features", "maps"])
def test_gradients_of_a_context_are_the_stored_ones(kind):
    found = []
    for memory in ("stored", "reversible"):
        net, x = far(TOLD, memory)
        context = CONTEXTS[kind](net).requires_grad_()
        z, log_det = net.encode_with_log_det(x, context)
        loss = (net.decode(z / 2, context) - x).abs().mean() + log_det.cos().sum()
        found.append(torch.autograd.grad(loss, (context, *net.parameters())))
        torch.manual_seed(1)
    assert found[0][0].abs().min() > 0
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() <= 1e-9 * theirs.norm()


def test_digits_are_learned_with_their_classes(tmp_path):
    changes = {"network": {"context": 10, "couplings": 2}, "trainer": {"max_steps": 3}}
    model = genrev.train("digits-jet", **changes, out=tmp_path / "run")
    again = genrev.load(tmp_path / "run")
    x, labels = torch.rand(4, 1, 8, 8), torch.tensor([3, 1, 4, 1])
    assert torch.equal(model.encode(x, labels), again.encode(x, labels))
    assert not torch.allclose(again.encode(x, labels), again.encode(x, labels.flip(0)))
    assert again.sample(4, labels).shape == x.shape
    with pytest.raises(ValueError, match="takes a context and got none"):
        again.net.encode(x)
    plain = Jet(Jet.presets["jet8"])
    with pytest.raises(ValueError, match="takes no context"):
        plain.encode(x, labels)
