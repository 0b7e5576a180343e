"""RevNet and its presets."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd.functional import jacobian

from genrev.errors import GenrevError
from genrev.networks import NETWORKS, PRESETS, Network, RevNet, RevNetConfig, revnet
from genrev.options import OptionError
from genrev.reversible import Engine, round_to_grid


def tiny(**changes):
    fields = {
        "image_size": 8,
        "channels": 1,
        "hidden_channels": (4, 6),
        "blocks": (1, 2),
        "kernel_sizes": (3, 1),
    }
    return RevNetConfig(**{**fields, **changes})


@pytest.mark.parametrize(
    ("preset", "parameters", "latent"),
    [("celeba64", 60_409_572, 12_288), ("mnist", 2_108_180, 1_024), ("digits", None, 64)],
)
def test_presets_have_the_sizes_of_the_paper(preset, parameters, latent):
    with torch.device("meta"):
        net = revnet(preset)
    if parameters is not None:
        assert sum(p.numel() for p in net.parameters()) == parameters
    assert net.config.latent_dim == latent


@pytest.mark.parametrize("preset", ["mnist", "digits"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_every_image_comes_back(preset, dtype, tolerance):
    net = revnet(preset).to(dtype)
    x = torch.rand(3, *net.config.image_shape, dtype=dtype)
    z = net.encode(x)
    assert z.shape == (3, net.config.latent_dim)
    assert torch.allclose(net.decode(z), x, atol=tolerance)


@given(
    size=st.sampled_from([16, 24, 32]),
    channels=st.sampled_from([1, 3]),
    padding=st.sampled_from([0, 4]),
    bands=st.sampled_from(["pixels", "haar"]),
    factor_out=st.booleans(),
    n=st.integers(0, 3),
)
def test_networks_of_other_sizes(size, channels, padding, bands, factor_out, n):
    config = tiny(
        image_size=size,
        channels=channels,
        padding=padding,
        bands=bands,
        factor_out=factor_out,
        centred=bands == "haar",
        colours="luma-chroma" if channels == 3 and bands == "haar" else "rgb",
    )
    net = RevNet(config).double()
    x = torch.rand(n, channels, size, size, dtype=torch.float64)
    assert torch.allclose(net.decode(net.encode(x)), x, atol=1e-12)


def test_without_padding_the_network_is_bijective_and_preserves_volume():
    net = RevNet(tiny()).double()
    z = torch.randn(2, 64, dtype=torch.float64)
    assert torch.allclose(net.encode(net.decode(z)), z, atol=1e-12)
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    matrix = jacobian(net.encode, x).reshape(64, 64)
    assert torch.linalg.det(matrix).abs().item() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("memory", ["reversible", "stored"])
def test_bands_and_colours_come_back_exactly_in_fixed_point(memory):
    config = tiny(channels=3, bands="haar", colours="luma-chroma", centred=True)
    net = RevNet(config, engine=Engine(exact=True, memory=memory))
    x = round_to_grid(torch.rand(4, 3, 8, 8))
    assert torch.equal(net.decode(net.encode(x)), x)


@pytest.mark.parametrize(("bands", "colours"), [("pixels", "rgb"), ("haar", "luma-chroma")])
def test_gradients_are_exact_in_fixed_point(bands, colours):
    """With kernels of 1x1 on maps of several pixels, too."""
    config = tiny(channels=3, bands=bands, colours=colours, centred=bands == "haar")
    reversible = RevNet(config, Engine(exact=True))
    stored = RevNet(config, Engine(exact=True, memory="stored"))
    stored.load_state_dict(reversible.state_dict())
    x = torch.rand(4, 3, 8, 8)
    grads = []
    for net in (reversible, stored):
        z = net.encode(x)
        loss = (net.decode(z.clamp(-1, 1)) - x).abs().mean() + z.square().mean()
        grads.append(torch.autograd.grad(loss, list(net.parameters())))
    assert all(map(torch.equal, *grads))


def test_bands_and_colours_preserve_volume():
    net = RevNet(tiny(image_size=4, channels=3, bands="haar", colours="luma-chroma")).double()
    x = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    matrix = jacobian(net.encode, x).reshape(48, 48)
    assert torch.linalg.det(matrix).abs().item() == pytest.approx(1.0, abs=1e-9)
    assert torch.equal(net.encode_with_log_det(x)[1], torch.zeros(1, dtype=torch.float64))


def test_with_padding_it_is_injective_only():
    net = RevNet(tiny(image_size=4, padding=2)).double()
    z = torch.randn(2, 64, dtype=torch.float64)
    assert not torch.allclose(net.encode(net.decode(z)), z)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 6}, "multiple of 4"),
        ({"blocks": (1,)}, "one entry per stage"),
        ({"blocks": (), "hidden_channels": (), "kernel_sizes": ()}, "one entry per stage"),
        ({"channels": 0}, "channels takes a whole number of 1 or more and got 0"),
        ({"padding": -1}, "padding takes a whole number of 0 or more"),
        ({"kernel_sizes": (3, 2)}, "odd to be centred"),
        ({"init": "orthogonal"}, "init"),
        ({"bands": "wavelet"}, "bands takes one of pixels, haar and got 'wavelet'"),
        ({"colours": "luma-chroma"}, "red, green and blue and has 1 channels"),
    ],
)
def test_impossible_configurations(changes, message):
    with pytest.raises(OptionError, match=message):
        tiny(**changes)


def test_wrong_shapes_are_told_with_the_right_ones():
    net = RevNet(tiny())
    with pytest.raises(ValueError, match=r"\(N, 1, 8, 8\), .* got \(2, 3, 8, 8\)"):
        net.encode(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"\(N, 64\), .* got \(2, 32\)"):
        net.decode(torch.zeros(2, 32))


def test_unknown_preset():
    with pytest.raises(GenrevError, match="celeba64, mnist, digits"):
        revnet("imagenet")


def test_xavier_initialisation_has_zero_biases():
    net = RevNet(tiny(init="xavier"))
    biases = [p for name, p in net.named_parameters() if name.endswith("bias")]
    assert biases
    assert not any(b.any() for b in biases)


@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_identity_initialisation_leaves_the_subsamplings_alone(coupling):
    net = RevNet(tiny(init="identity", coupling=coupling))
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(net.encode(x).sort().values, x.flatten(1).sort().values)
    net.encode(x).square().sum().backward()
    last = [p for name, p in net.named_parameters() if name.endswith("2.weight")]
    assert len(last) == 6
    assert all(p.grad.any() for p in last)  # it can leave the identity


def test_an_untrained_network_of_bands_is_a_haar_wavelet():
    """The coarsest mean comes first: the sum of the image over its side, colours apart."""
    net = RevNet(
        tiny(
            channels=3,
            bands="haar",
            colours="luma-chroma",
            centred=True,
            init="identity",
            hidden_channels=(4, 4, 4),
            blocks=(1, 1, 1),
            kernel_sizes=(3, 3, 3),
        )
    )
    x = torch.rand(5, 3, 8, 8, dtype=torch.float64)
    z = net.double().encode(x)
    red, green, blue = (x - 0.5).sum((2, 3)).T / 8
    expected = torch.stack((red - blue, green - (red + blue) / 2, (red + 2 * green + blue) / 4), 1)
    assert torch.allclose(z[:, :3], expected)
    flat = net.encode(torch.full((1, 3, 8, 8), 0.25, dtype=torch.float64))
    assert flat[:, 3:].abs().max() < 1e-12


def test_presets_survive_json():
    for config in PRESETS.values():
        assert RevNetConfig(**json.loads(json.dumps(config.plain()))) == config


def test_it_is_a_network_of_its_options():
    assert NETWORKS["revnet"] is RevNet
    net = RevNet(RevNet.Options(**tiny(factor_out=True).plain()))
    assert isinstance(net, Network)
    assert (net.image_shape, net.latent_dim, net.coarse_dims) == ((1, 8, 8), 64, 32)
    assert RevNet.presets["digits"] == PRESETS["digits"]


@pytest.mark.parametrize("factor_out", [False, True])
def test_the_engine_can_be_changed_and_changes_no_weight_and_no_result(factor_out):
    net = RevNet(tiny(factor_out=factor_out)).double()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    before, names = net.encode(x), list(net.state_dict())
    assert net.engine == Engine()
    for engine in (Engine(memory="stored"), Engine(exact=True), Engine(compile=True)):
        net.set_engine(engine)
        assert net.engine == engine
        assert torch.allclose(net.encode(x), before, atol=1e-3)
        assert list(net.state_dict()) == names
    assert RevNet(tiny(), engine=Engine(memory="stored")).engine.memory == "stored"
    assert revnet("digits", engine=Engine(exact=True)).engine.exact


@pytest.mark.parametrize("fields", [{"coupling": "affine"}, {"scaling": True}])
def test_exact_is_refused_where_products_leave_the_grid(fields):
    with pytest.raises(
        OptionError, match=r"Exact arithmetic needs additive couplings .* leave exact out\.$"
    ):
        RevNet(tiny(**fields), engine=Engine(exact=True))
    net = RevNet(tiny(**fields))
    with pytest.raises(OptionError, match="needs additive couplings"):
        net.set_engine(Engine(exact=True))
    assert not net.engine.exact
