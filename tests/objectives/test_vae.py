"""Terms of the variational autoencoder against torch.distributions, Monte Carlo and each other."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Independent, Normal
from torch.distributions import kl_divergence as kl_of

from genrev.objectives import bernoulli_loss, kl_divergence, squared_error


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@given(n=st.integers(1, 9), dim=st.integers(1, 9), seed=st.integers(0, 1000))
def test_divergence_is_that_of_torch_distributions(n, dim, seed):
    mean, log_variance = 2 * normal(n, dim, seed=seed), normal(n, dim, seed=seed + 1)
    posterior = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), kl_of(posterior, prior).mean())


def test_divergence_is_the_mean_log_ratio_of_densities():
    mean, log_variance = normal(3, 4), normal(3, 4, seed=1) - 1
    std = (log_variance / 2).exp()
    z = mean + std * normal(200_000, 3, 4, seed=2)
    ratio = Normal(mean, std).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    estimate = ratio.sum(-1).mean(1)  # one per draw
    error = float(estimate.std()) / math.sqrt(len(estimate))
    assert float(kl_divergence(mean, log_variance)) == pytest.approx(
        float(estimate.mean()), abs=4 * error
    )


def test_divergence_is_zero_at_the_prior_and_pulls_towards_it():
    mean, log_variance = torch.zeros(5, 3), torch.zeros(5, 3)
    assert float(kl_divergence(mean, log_variance)) == 0
    mean, log_variance = (t.add(0.5).requires_grad_() for t in (mean, log_variance))
    kl_divergence(mean, log_variance).backward()
    assert bool((mean.grad > 0).all() and (log_variance.grad > 0).all())


def test_squared_error_is_the_gaussian_log_likelihood_up_to_a_constant():
    variance = 0.3
    x, first, second = (normal(4, 3, 5, 5, seed=s) for s in range(3))
    likelihoods = [
        float(-Normal(d, math.sqrt(variance)).log_prob(x).sum() / len(x)) for d in (first, second)
    ]
    errors = [float(squared_error(x, d)) / (2 * variance) for d in (first, second)]
    assert likelihoods[0] - likelihoods[1] == pytest.approx(errors[0] - errors[1])
    assert likelihoods[0] - errors[0] == pytest.approx(75 / 2 * math.log(2 * math.pi * variance))


def test_bernoulli_loss_is_the_log_likelihood_of_pixels():
    x, logits = normal(4, 1, 5, 5).sign().relu(), 3 * normal(4, 1, 5, 5, seed=1)
    expected = -Bernoulli(logits=logits).log_prob(x).sum() / len(x)
    torch.testing.assert_close(bernoulli_loss(x, logits), expected)


def test_grey_pixels_cost_their_entropy_at_the_best():
    x = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    entropy = -(x * x.log() + (1 - x) * (1 - x).log()).sum() / 2
    torch.testing.assert_close(bernoulli_loss(x, x.logit()), entropy)
    assert bernoulli_loss(x, x.logit() + 0.1) > entropy


@pytest.mark.parametrize("loss", [squared_error, bernoulli_loss])
def test_images_are_summed_over_and_batches_averaged(loss):
    x, other = torch.rand(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    one_by_one = torch.stack([loss(x[i : i + 1], other[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(loss(x, other), one_by_one.mean())
    torch.testing.assert_close(
        loss(x.repeat(1, 2, 1, 1), other.repeat(1, 2, 1, 1)), 2 * loss(x, other)
    )
