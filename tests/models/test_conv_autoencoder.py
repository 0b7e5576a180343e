"""The convolutional autoencoder: sizes, modes, its folder on disk."""

import copy

import pytest
import torch
from torch import nn

from genrev.models import GenerativeModel, load, save
from genrev.networks import ConvAutoencoder, ConvAutoencoderConfig, WAEDiscriminator, revnet
from genrev.priors import ActiveGaussian

TINY = ConvAutoencoderConfig(
    image_size=8,
    channels=1,
    latent_dim=3,
    encoder_channels=(4, 6),
    decoder_channels=(6, 5, 4),
    kernel_size=3,
)


def model_of(config, class_names=None):
    return GenerativeModel(
        ConvAutoencoder(config), ActiveGaussian(config.latent_dim, bound=None), class_names
    )


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize(
    ("preset", "other", "share"),
    [("wae32", "faces32", 0.01), ("wae28", "mnist", 0.01), ("wae8", "digits", 0.02)],
)
def test_small_presets_have_as_many_parameters_as_the_revnet(preset, other, share, stochastic):
    net = revnet(other)
    model = ConvAutoencoder(ConvAutoencoder.presets[preset].replace(stochastic=stochastic))
    assert model.image_shape == net.image_shape
    assert parameters(model) == pytest.approx(parameters(net), rel=share)


def test_the_full_size_is_that_of_the_paper():
    model = ConvAutoencoder(ConvAutoencoder.presets["wae64"])
    assert parameters(model) == 39_742_531
    filters = 25 * (3 * 128 + 128 * 256 + 256 * 512 + 512 * 1024)  # of the encoder
    assert sum(m.weight.numel() for m in model.encoder if isinstance(m, nn.Conv2d)) == filters
    maps = []
    for layer in (m for m in model.decoder if isinstance(m, nn.BatchNorm2d)):
        layer.register_forward_hook(lambda _m, _x, y: maps.append(tuple(y.shape[1:])))
    model.eval().decode(torch.randn(1, 64))
    assert maps == [(512, 16, 16), (256, 32, 32), (128, 64, 64)]


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("preset", ["wae8", "wae28", "wae32", "wae64"])
def test_shapes(preset, stochastic):
    config = ConvAutoencoder.presets[preset].replace(stochastic=stochastic)
    model = ConvAutoencoder(config).eval()
    x = torch.rand(2, *config.image_shape)
    z = model.encode(x)
    assert z.shape == (2, config.latent_dim)
    decoded = model.decode(z)
    assert decoded.shape == x.shape
    assert 0 <= decoded.min() <= decoded.max() <= 1
    mean, log_variance = model.posterior(x)
    assert torch.equal(mean, z)
    assert (log_variance is not None) == stochastic
    if log_variance is not None:
        assert log_variance.shape == mean.shape
        assert not torch.equal(log_variance, mean)


def test_restricted_and_full_latent_space_are_one():
    model = model_of(TINY).eval()
    z = 9 * torch.randn(4, 3)
    assert torch.equal(model.prior.clamp(z), z)
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(
        model.reconstruct(x, restricted=True), model.reconstruct(x, restricted=False)
    )


def test_evaluation_does_not_look_at_the_batch_and_leaves_no_trace():
    model = model_of(TINY)
    x = torch.rand(16, 1, 8, 8)
    model.decode(model.encode(x))  # collects statistics
    model.eval()
    before = copy.deepcopy(model.state_dict())
    torch.testing.assert_close(model.encode(x)[:3], model.encode(x[:3]))
    torch.testing.assert_close(model.decode(torch.ones(5, 3))[0], model.decode(torch.ones(1, 3))[0])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_saved_model_comes_back_with_its_statistics(tmp_path, stochastic):
    original = model_of(TINY.replace(stochastic=stochastic), ("all",))
    for _ in range(3):
        original.decode(original.encode(torch.rand(9, 1, 8, 8)))
    original.eval()
    save(original, tmp_path)
    loaded = load(tmp_path)
    assert isinstance(loaded.net, ConvAutoencoder)
    assert loaded.config() == original.config()
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(loaded.reconstruct(x), original.reconstruct(x))


@pytest.mark.parametrize(
    "fields",
    [
        {"image_size": 10},
        {"kernel_size": 4},
        {"encoder_channels": ()},
        {"decoder_channels": (4, 0)},
        {"latent_dim": 0},
    ],
)
def test_sizes_that_do_not_fit_are_refused(fields):
    with pytest.raises(ValueError, match=r"must be|takes"):
        ConvAutoencoderConfig(**{"image_size": 8, "decoder_channels": (6, 5, 4), **fields})


def test_mismatches_are_refused():
    with pytest.raises(ValueError, match="3 latent dimensions, the prior 4"):
        GenerativeModel(ConvAutoencoder(TINY), ActiveGaussian(4))
    assert not any(config.stochastic for config in ConvAutoencoder.presets.values())


def test_the_discriminator_adds_the_density_of_the_prior():
    torch.manual_seed(0)
    plain = WAEDiscriminator(5, hidden=7, layers=2)
    torch.manual_seed(0)
    told = WAEDiscriminator(5, hidden=7, layers=2, with_prior=True)
    z = torch.randn(6, 5)
    log_density = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    difference = told(z) - plain(z) - log_density
    torch.testing.assert_close(difference, difference[:1].expand(6))
    assert [m.out_features for m in WAEDiscriminator(8).layers[::2]] == [512] * 4 + [1]
