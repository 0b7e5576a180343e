"""What figures, evaluation and the explorer count on holds for every class of models."""

import pytest
import torch

from genrev.models import GenerativeModel, load, save
from genrev.models.inference import is_autoencoder
from genrev.networks import (
    NETWORKS,
    ConvAutoencoder,
    ConvAutoencoderConfig,
    Jet,
    RevNet,
    RevNetConfig,
)
from genrev.priors import ActiveGaussian, ClassConditionalGaussian

ACTIVE = torch.tensor([0, 3, 60])


def conv(stochastic):
    config = ConvAutoencoderConfig(
        image_size=8,
        channels=1,
        latent_dim=5,
        encoder_channels=(4,),
        decoder_channels=(6, 5),
        kernel_size=3,
        stochastic=stochastic,
    )
    return GenerativeModel(ConvAutoencoder(config), ActiveGaussian(5, bound=None))


BUILDERS = {
    "revnet": lambda: GenerativeModel(
        RevNet(
            RevNetConfig(
                image_size=8, channels=1, hidden_channels=(4,), blocks=(1,), kernel_sizes=(3,)
            )
        ),
        ActiveGaussian(64, ACTIVE),
    ),
    "class-conditional revnet": lambda: GenerativeModel(
        RevNet(
            RevNetConfig(
                image_size=8, channels=1, hidden_channels=(4,), blocks=(1,), kernel_sizes=(3,)
            )
        ),
        ClassConditionalGaussian(3, 64, ACTIVE),
    ),
    "jet": lambda: GenerativeModel(Jet(Jet.presets["jet8"]), ActiveGaussian(64, ACTIVE)),
    "autoencoder": lambda: conv(False),
    "stochastic autoencoder": lambda: conv(True),
}


@pytest.fixture(params=BUILDERS)
def model(request):
    return BUILDERS[request.param]().eval()


def test_every_network_is_here():
    assert {type(build().net) for build in BUILDERS.values()} == {
        NETWORKS[n] for n in NETWORKS.names()
    }


def test_protocol(model):
    assert is_autoencoder(model)
    assert not is_autoencoder(model.net)
    assert isinstance(model, GenerativeModel)
    x = torch.rand(4, *model.image_shape)
    z = model.encode(x)
    assert z.shape == (4, model.prior.dim)
    assert torch.equal(z, model.encode(x))  # no noise outside of training
    assert model.decode(z).shape == x.shape
    assert model.prior.restrict(z).shape == (4, len(model.prior.active_dims))


def test_samples_depend_on_their_generator_alone(model):
    def draw(seed):
        return model.sample(6, generator=torch.Generator().manual_seed(seed))

    assert draw(0).shape == (6, *model.image_shape)
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert 0 <= draw(0).min() <= draw(0).max() <= 1


def test_walks(model):
    a, b = torch.rand(2, 2, *model.image_shape)
    walk = model.interpolate(a, b, steps=4)
    assert walk.shape == (2, 4, *model.image_shape)
    torch.testing.assert_close(walk[:, -1], model.reconstruct(b))
    assert model.traverse([0, 3], steps=3).shape == (2, 3, *model.image_shape)


def test_folder(model, tmp_path):
    save(model, tmp_path)
    loaded = load(tmp_path)
    assert type(loaded) is type(model)
    assert loaded.config() == model.config()
    x = torch.rand(2, *model.image_shape)
    assert torch.equal(loaded.reconstruct(x), model.reconstruct(x))
