"""Densities, dequantisation and bits per dimension against scipy and closed forms."""

import math

import pytest
import torch
from scipy import stats

from genrev.objectives import bits_per_dim, dequantise
from genrev.priors import ActiveGaussian, ActiveLogistic


@pytest.mark.parametrize(
    ("prior", "reference"), [(ActiveGaussian, stats.norm), (ActiveLogistic, stats.logistic)]
)
def test_densities_are_those_of_scipy(prior, reference):
    z = 5 * torch.randn(20, 7, dtype=torch.float64)
    expected = torch.from_numpy(reference.logpdf(z.numpy())).sum(1)
    assert torch.allclose(prior(7).log_prob(z), expected)
    assert torch.isfinite(prior(3).log_prob(torch.full((1, 3), 1e4))).all()


def test_logistic_samples_follow_the_logistic_distribution():
    prior = ActiveLogistic(3)
    z = prior.sample(5000, generator=torch.Generator().manual_seed(0))
    assert stats.kstest(z.flatten().numpy(), stats.logistic.cdf).pvalue > 0.01
    assert z.std().item() == pytest.approx(prior.scale()[0].item(), rel=0.02)
    assert torch.equal(prior.clamp(100 * z), 100 * z)


def test_dequantised_pixels_fill_their_cells_and_no_other():
    pixels = torch.arange(256, dtype=torch.uint8).repeat(200, 1)
    x = dequantise(pixels, torch.Generator().manual_seed(0))
    assert torch.equal((x * 256).floor().to(torch.uint8), pixels)
    fractions = (x.double() * 256 - pixels).flatten().numpy()
    assert stats.kstest(fractions, stats.uniform.cdf).pvalue > 0.01
    stored = pixels.float() / 255  # the image as the rest of genrev has it, in the closed cell
    assert ((stored * 256 >= pixels) & (stored * 256 <= pixels.float() + 1)).all()


def test_a_known_density_gives_the_entropy_of_its_pixels():
    """Pixels 0 to 63, equally often, under the density that is uniform on [0, 1/4): 6 bits."""
    log_prob = torch.full((10,), 12 * math.log(4.0))
    assert torch.allclose(bits_per_dim(log_prob, 12), torch.tensor(6.0))


def test_bits_per_dim_bound_the_probability_of_the_pixel():
    """One logistic pixel: the bound by dequantisation is above the true code length, and near."""
    location, scale = 0.4, 0.05
    pixels = torch.arange(256)
    edges = torch.arange(257, dtype=torch.float64) / 256
    probability = stats.logistic.cdf(edges, location, scale)
    exact = -torch.from_numpy(probability[1:] - probability[:-1]).log2()
    draws = dequantise(pixels.repeat(2000, 1), torch.Generator().manual_seed(0))
    z = ((draws.double() - location) / scale).reshape(-1, 1)
    log_prob = ActiveLogistic(1).log_prob(z) - math.log(scale)
    bound = bits_per_dim(log_prob, 1).reshape(2000, 256).mean(0)
    assert (bound > exact - 2e-3).all()
    assert torch.allclose(bound, exact, atol=0.02)
