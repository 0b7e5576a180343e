"""RevNets for signals, images that are not square, and volumes: as for squares, of any sizes."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_memory import kept_bytes
from torch import nn
from torch.autograd.functional import jacobian

from genrev.errors import GenrevError
from genrev.export import export
from genrev.models import GenerativeModel, load, save
from genrev.networks import RevNet, RevNetConfig
from genrev.options import OptionError
from genrev.priors import ActiveGaussian
from genrev.reversible import Engine, SmallMapConv2d, round_to_grid

SIZES = {"signals": (8,), "images": (4, 8), "volumes": (4, 4, 8)}
LAYERS = {"signals": nn.Conv1d, "images": SmallMapConv2d, "volumes": nn.Conv3d}


def config(sizes, channels=1, **changes):
    shape = {"hidden_channels": (4, 5), "blocks": (1, 2), "kernel_sizes": (3, 1)}
    return RevNetConfig(image_size=sizes, channels=channels, **shape | changes)


@st.composite
def configs(draw, **fixed):
    """Networks of two stages for one to three sizes, some of them padded."""
    dims = draw(st.integers(1, 3))
    padded = [4 * draw(st.integers(1, 2 if dims == 3 else 4)) for _ in range(dims)]
    padding = [draw(st.integers(0, 1)) for _ in range(dims)]
    changes = {
        "padding": tuple(padding),
        "bands": draw(st.sampled_from(["pixels", "haar"])),
        "factor_out": draw(st.booleans()),
        "coupling": draw(st.sampled_from(["additive", "affine"])),
        "scaling": draw(st.booleans()),
        "context": draw(st.sampled_from([0, 3])),
    }
    sizes = tuple(size - 2 * pad for size, pad in zip(padded, padding, strict=True))
    return config(sizes, draw(st.integers(1, 3)), **changes | fixed)


def given_to(net, n):
    """What encode and decode take beside a batch: nothing, or a map as large as it is."""
    if not net.context:
        return ()
    return (torch.randn(n, net.context, *net.image_shape[1:], dtype=torch.float64),)


@given(shape=configs(), n=st.integers(0, 3))
def test_everything_comes_back(shape, n):
    net = RevNet(shape).double()
    x = torch.rand(n, *net.image_shape, dtype=torch.float64)
    context = given_to(net, n)
    z = net.encode(x, *context)
    assert z.shape == (n, net.latent_dim)
    assert net.latent_dim == shape.channels * math.prod(
        size + 2 * pad for size, pad in zip(shape.sizes, shape.padding, strict=True)
    )
    assert torch.allclose(net.decode(z, *context), x, atol=1e-12)
    assert net.bijective == (not any(shape.padding))


@given(
    shape=configs(coupling="additive", scaling=False),
    memory=st.sampled_from(["reversible", "stored"]),
)
def test_everything_comes_back_exactly_in_fixed_point(shape, memory):
    net = RevNet(shape, Engine(exact=True, memory=memory))
    x = round_to_grid(torch.rand(2, *net.image_shape))
    context = tuple(c.float() for c in given_to(net, 2))
    assert torch.equal(net.decode(net.encode(x, *context), *context), x)


def results(net, x, context):
    """Latents and the gradients of a loss of them and of what they decode to."""
    x = x.clone().requires_grad_()
    context = [c.clone().requires_grad_() for c in context]
    z = net.encode(x, *context)
    back = net.decode(0.9 * z, *context)
    loss = (z * z.detach().cos()).sum() + back.square().sum()
    return z.detach(), *torch.autograd.grad(loss, (x, *context, *net.parameters()))


@given(shape=configs())
def test_gradients_are_those_of_stored_activations(shape):
    net = RevNet(shape).double()
    x, context = torch.rand(2, *net.image_shape, dtype=torch.float64), given_to(net, 2)
    found = []
    for memory in ("reversible", "stored"):
        net.set_engine(Engine(memory=memory))
        found.append(results(net, x, context))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@given(shape=configs(coupling="additive", scaling=False))
@settings(max_examples=15)
def test_additive_networks_preserve_volume(shape):
    shape = shape.replace(padding=0, image_size=tuple(4 for _ in shape.sizes))
    net = RevNet(shape).double()
    x, context = torch.rand(1, *net.image_shape, dtype=torch.float64), given_to(net, 1)
    assert torch.equal(net.encode_with_log_det(x, *context)[1], torch.zeros(1).double())


@pytest.mark.parametrize("kind", SIZES)
def test_log_determinants_are_those_of_the_jacobian(kind):
    torch.manual_seed(1)
    net = RevNet(config(SIZES[kind], coupling="affine", scaling=True)).double()
    net.scaling.log_scale.data.normal_()
    x = torch.rand(2, *net.image_shape, dtype=torch.float64)
    z, log_det = net.encode_with_log_det(x)
    assert torch.allclose(z, net.encode(x))
    for one, number in zip(x, log_det, strict=True):
        matrix = jacobian(lambda a: net.encode(a[None])[0], one).reshape(net.latent_dim, -1)
        assert torch.linalg.slogdet(matrix).logabsdet.item() == pytest.approx(number.item())


def there_and_back(net, x):
    return net.decode(net.encode(x).tanh()).square().sum()


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_what_is_kept_does_not_grow_with_depth(kind, coupling):
    sizes = []
    for memory, depth in [("reversible", 1), ("reversible", 12), ("stored", 1), ("stored", 12)]:
        shape = config(SIZES[kind], blocks=(depth, depth), coupling=coupling)
        net = RevNet(shape, Engine(memory=memory))
        sizes.append(kept_bytes(there_and_back, net, torch.rand(2, *net.image_shape)))
    assert sizes[0] == sizes[1]
    assert sizes[3] > 4 * sizes[2]


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("init", ["xavier", "identity"])
def test_f_and_g_are_convolutions_along_all_axes(kind, init):
    net = RevNet(config(SIZES[kind], init=init))
    convs = [m for m in net.modules() if type(m) is LAYERS[kind]]
    assert len(convs) == 2 * 2 * 3
    assert {tuple(conv.kernel_size) for conv in convs} == {
        (side,) * len(SIZES[kind]) for side in (3, 1)
    }
    assert not any(conv.bias.any() for conv in convs[1::2])
    assert any(conv.weight.any() for conv in convs[1::2]) == (init == "xavier")


def test_equal_sizes_are_a_square():
    square = config(8)
    assert config((8, 8)) == square
    assert config([8, 8]).plain() == square.plain()
    assert square.plain()["image_size"] == 8
    assert config((4, 8)).plain()["image_size"] == [4, 8]
    assert RevNetConfig(**json.loads(json.dumps(config((4, 8)).plain()))) == config((4, 8))
    assert config((8,)) != square != config((8, 8, 8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": (4, 6)}, "must be a multiple of 4 and is 6; change padding or stages"),
        ({"image_size": ()}, "three for volumes and got 0"),
        ({"image_size": (4,) * 4}, "three for volumes and got 4"),
        ({"image_size": (4, 0)}, r"whole number of 1 or more, or a list .* and got \[4, 0\]"),
        ({"padding": (2, 2)}, "of 1 numbers padding takes one number, or as many, and has 2"),
        ({"padding": (-1,)}, r"padding takes a whole number of 0 or more, .* got \[-1\]"),
        ({"image_size": "8"}, "image_size takes a whole number of 1 or more"),
    ],
)
def test_impossible_sizes(changes, message):
    with pytest.raises(OptionError, match=message):
        config((8,)).replace(**changes)


def test_wrong_shapes_are_told_with_the_right_ones():
    net = RevNet(config((4, 4, 8), context=2))
    x = torch.zeros(2, 1, 4, 4, 8)
    with pytest.raises(ValueError, match=r"\(N, 1, 4, 4, 8\), .* got \(2, 1, 4, 4\)"):
        net.encode(x[..., 0])
    with pytest.raises(ValueError, match=r"floats \(N, 2\) or \(N, 2, 4, 4, 8\)\.$"):
        net.encode(x, torch.zeros(2, 2, 4, 4))


@pytest.mark.parametrize("kind", SIZES)
def test_models_draw_save_and_load(kind, tmp_path):
    net = RevNet(config(SIZES[kind], 2, coupling="affine", scaling=True))
    model = GenerativeModel(net, ActiveGaussian(net.latent_dim, bound=None)).eval()
    assert model.image_shape == (2, *SIZES[kind])
    model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "x".join(map(str, SIZES[kind])) + f" {kind} with 2 channels" in card
    assert f"{kind} = model.sample(16)" in card
    loaded = load(tmp_path)
    assert loaded.net.config == net.config
    x = loaded.sample(3, generator=torch.Generator().manual_seed(0))
    assert x.shape == (3, *model.image_shape)
    assert torch.equal(x, model.sample(3, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(loaded.reconstruct(x, restricted=False), x, atol=1e-5)
    assert loaded.log_prob(x).shape == (3,)
    assert loaded.interpolate(x[:1], x[1:2], 4).shape == (1, 4, *model.image_shape)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("signals", ".pt2"),
        ("images", ".pt2"),
        ("volumes", ".pt2"),
        pytest.param("signals", ".onnx", marks=pytest.mark.slow),
        pytest.param("volumes", ".onnx", marks=pytest.mark.slow),
    ],
)
def test_models_are_exported(kind, suffix, tmp_path):
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    one = {"hidden_channels": (4,), "blocks": (1,), "kernel_sizes": (3,), "bands": "haar"}
    net = RevNet(config(tuple(size - 2 for size in SIZES[kind]), padding=1, **one))
    model = GenerativeModel(net, ActiveGaussian(net.latent_dim, torch.arange(3))).eval()
    written = export(model, tmp_path / f"model{suffix}")  # which compares it with the model
    assert [file.direction for file in written] == ["encode", "decode"]


@pytest.mark.parametrize("kind", ["signals", "volumes"])
def test_what_is_for_images_says_so(kind):
    from genrev.evaluation import evaluate

    net = RevNet(config(SIZES[kind]))
    model = GenerativeModel(net, ActiveGaussian(net.latent_dim))
    with pytest.raises(GenrevError, match=f"An evaluation takes .* is of {kind} of shape"):
        evaluate(model, torch.rand(20, 1, 4, 4))


def test_files_of_squares_are_as_they_were(tmp_path):
    net = RevNet(config(4))
    save(GenerativeModel(net, ActiveGaussian(16)), tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())["network"]
    assert (described["image_size"], described["padding"]) == (4, 0)
