"""The step that takes noise off samples: closed form, a second way, and what is saved."""

import json

import pytest
import torch

from genrev.errors import GenrevError
from genrev.models import GenerativeModel, load, save
from genrev.networks import RevNet, RevNetConfig, revnet
from genrev.priors import ActiveGaussian, ActiveLogistic
from genrev.reversible import Engine

CONFIG = RevNetConfig(
    image_size=4,
    channels=1,
    hidden_channels=(6, 6),
    blocks=(1, 1),
    kernel_sizes=(3, 1),
    coupling="affine",
    scaling=True,
)


def model_of(noise_std, prior=ActiveLogistic, memory="reversible", **changes):
    torch.manual_seed(0)
    net = RevNet(CONFIG.replace(**changes), Engine(memory=memory))
    return GenerativeModel(net, prior(16, bound=None), noise_std=noise_std).eval()


@pytest.mark.parametrize("memory", ["reversible", "stored"])
def test_of_a_gaussian_it_gives_the_mean_of_the_posterior(memory):
    """Normal y with mean m and deviation t: m + t^2 (x - m) / (t^2 + s^2), given x = y + noise."""
    noise, spread, mean = 0.3, 0.2, 0.6
    model = model_of(noise, ActiveGaussian, memory, init="identity", coupling="additive").double()
    width = (spread**2 + noise**2) ** 0.5
    model.net.scaling.initialise_(torch.full((16,), mean), torch.full((16,), width))
    x = torch.randn(5, 1, 4, 4).double()
    expected = mean + spread**2 * (x - mean) / (spread**2 + noise**2)
    torch.testing.assert_close(model.denoise(x), expected, rtol=1e-6, atol=1e-6)


def test_it_follows_the_gradient_of_the_density_by_differences():
    model = model_of(0.2).double()
    for p in model.net.parameters():
        p.data.add_(0.1 * torch.randn_like(p))
    x, step = torch.rand(1, 1, 4, 4).double(), 1e-5
    found = model.denoise(x) - x
    assert not found.requires_grad
    assert all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        for place in range(16):
            shift = torch.zeros(16).double()
            shift[place] = step
            shift = shift.view_as(x)
            slope = (model.log_prob(x + shift) - model.log_prob(x - shift)) / (2 * step)
            assert found.flatten()[place].item() == pytest.approx(0.04 * slope.item(), rel=1e-5)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_samples_are_denoised_where_the_model_learned_noisy_images(mode):
    def drawn():
        return torch.Generator().manual_seed(0)

    noisy, plain = model_of(0.3), model_of(0.0)
    plain.load_state_dict(noisy.state_dict())
    with mode():
        samples = noisy.sample(6, generator=drawn())
    decoded = plain.decode(plain.prior.sample(6, generator=drawn())).detach()
    torch.testing.assert_close(samples, noisy.denoise(decoded).clamp(0, 1))
    torch.testing.assert_close(plain.sample(6, generator=drawn()), decoded.clamp(0, 1))
    assert not torch.allclose(samples, plain.sample(6, generator=drawn()))


def test_a_folder_keeps_the_noise_and_older_ones_have_none(tmp_path):
    for noise in (0.3, 0.0):
        save(model_of(noise), tmp_path / str(noise))
        assert load(tmp_path / str(noise)).noise_std == noise
    assert "noise_std" not in json.loads((tmp_path / "0.0/config.json").read_text())


@pytest.mark.parametrize("value", [-1, 1, "0.1", None, [0.1], True, float("nan")])
def test_noise_out_of_range_is_no_model(tmp_path, value):
    save(model_of(0.3), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "noise_std": value}))
    with pytest.raises(GenrevError, match=r"config\.json"):
        load(tmp_path)
    if isinstance(value, int):
        with pytest.raises(ValueError, match="noise_std must be from 0 to below 1"):
            model_of(value)


def test_a_model_without_a_density_cannot_denoise():
    pinned = GenerativeModel(revnet("digits"), ActiveGaussian(64, torch.arange(5)), noise_std=0.1)
    with pytest.raises(GenrevError, match="no density in all latent"):
        pinned.sample(2)
