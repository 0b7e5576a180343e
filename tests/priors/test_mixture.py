"""Mixture of Gaussians: against scikit-learn, against closed forms, through a file and back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from genrev.errors import GenrevError
from genrev.models import GenerativeModel, load, save
from genrev.networks import revnet
from genrev.priors import GaussianMixturePrior, mixture
from genrev.priors.expectation import fit_mixture

ACTIVE = torch.tensor([1, 3, 4])


def random_mixture(seed, classes=2, components=3, covariance="full"):
    """Any weights, means and (lower triangular or diagonal) factors."""
    generator = torch.Generator().manual_seed(seed)
    prior = GaussianMixturePrior(classes, components, covariance, 6, ACTIVE)
    weights = torch.rand(prior.weights.shape, generator=generator) + 0.1
    prior.weights.copy_(weights / weights.sum(1, keepdim=True))
    prior.means.copy_(torch.randn(prior.means.shape, generator=generator))
    factors = torch.randn(prior.factors.shape, generator=generator) / 3
    if covariance == "full":
        prior.factors.copy_(
            factors.tril(-1) + torch.diag_embed(0.5 + factors.diagonal(0, 2, 3).abs())
        )
    else:
        prior.factors.copy_(0.5 + factors.abs())
    return prior


def by_scikit_learn(prior, label):
    """The same mixture as scikit-learn's, its precisions computed from scratch."""
    factors = prior.factors[label].double().numpy()
    if prior.covariance == "diag":
        factors = np.stack([np.diag(factor) for factor in factors])
    covariances = factors @ factors.transpose(0, 2, 1)
    mixture = GaussianMixture(prior.components)
    mixture.weights_ = prior.weights[label].double().numpy()
    mixture.means_ = prior.means[label].double().numpy()
    mixture.covariances_ = covariances
    mixture.precisions_cholesky_ = np.stack(
        [np.linalg.cholesky(np.linalg.inv(covariance)) for covariance in covariances]
    )
    return mixture


@settings(max_examples=15)
@given(seed=st.integers(0, 9999), covariance=st.sampled_from(["full", "diag"]))
def test_log_density_is_scikit_learns(seed, covariance):
    prior = random_mixture(seed, covariance=covariance).double()
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(seed)).double()
    by_class = [by_scikit_learn(prior, label).score_samples(points.numpy()) for label in (0, 1)]
    for label in (0, 1):
        np.testing.assert_allclose(
            prior.distribution(label).log_prob(points), by_class[label], rtol=1e-6
        )
    whole = np.logaddexp(*by_class) - np.log(2)
    np.testing.assert_allclose(prior.distribution(None).log_prob(points), whole, rtol=1e-6)


@pytest.mark.parametrize("covariance", ["full", "diag"])
@pytest.mark.parametrize("label", [None, 0, 1])
def test_moments_of_samples_are_the_closed_form(covariance, label):
    prior = random_mixture(3, covariance=covariance)
    n = 100_000
    z = prior.sample(n, label, torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(z.mean(0), prior.center(label).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(z.std(0), prior.scale(label).double(), atol=0.02, rtol=0)
    assert not z[:, [0, 2, 5]].any()  # pinned
    if label is not None:  # the covariances too, against weights, means and factors
        weights, means = prior.weights[label].double(), prior.means[label].double()
        factors = prior.factors[label].double()
        factors = factors if covariance == "full" else torch.diag_embed(factors)
        centred = means - weights @ means
        expected = torch.einsum("m,mij,mkj->ik", weights, factors, factors)
        expected += torch.einsum("m,mi,mj->ij", weights, centred, centred)
        torch.testing.assert_close(z[:, ACTIVE].T.cov(), expected, atol=0.03, rtol=0)


def test_classes_are_cycled_and_noise_comes_from_the_generator():
    prior = random_mixture(0)
    prior.means[0] -= 100
    z = prior.sample(6, generator=torch.Generator().manual_seed(1))
    assert (z[:, 1] < -50).tolist() == [True, False] * 3
    assert torch.equal(z, prior.sample(6, generator=torch.Generator().manual_seed(1)))
    mixed = prior.sample(3, torch.tensor([1, 0, 1]), torch.Generator().manual_seed(1))
    assert (mixed[:, 1] < -50).tolist() == [False, True, False]


def test_a_component_of_no_weight_is_never_drawn():
    prior = random_mixture(0, classes=1)
    prior.weights.copy_(torch.tensor([[0.0, 1.0, 0.0]]))
    prior.means[0, [0, 2]] = 1000
    assert prior.sample(1000).max() < 500


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_a_fit_is_scikit_learns(covariance):
    truth = random_mixture(1, covariance=covariance)
    labels = torch.arange(600) % 2
    active = truth.restrict(truth.sample(600, labels, torch.Generator().manual_seed(0)))
    prior = GaussianMixturePrior(2, 2, covariance, 6, ACTIVE, bound=2.0)
    prior.fit_(active, labels, seed=5)
    for label in (0, 1):
        mine = active[labels == label]
        expected = GaussianMixture(2, covariance_type=covariance, max_iter=500, random_state=5)
        expected = expected.fit(mine.double().numpy()).score_samples(mine.double().numpy())
        np.testing.assert_allclose(prior.distribution(label).log_prob(mine), expected, atol=1e-4)
    assert torch.equal(prior.active_dims, ACTIVE)
    assert prior.bound == 2.0


@settings(max_examples=10)
@given(seed=st.integers(0, 9999), covariance=st.sampled_from(["full", "diag"]))
def test_a_fit_where_the_encodings_are_is_scikit_learns(seed, covariance):
    truth = random_mixture(seed, 1, covariance=covariance)
    active = truth.restrict(truth.sample(400, None, torch.Generator().manual_seed(seed))).double()
    found, log_prob = fit_mixture(active, 3, covariance == "full", seed)
    prior = GaussianMixturePrior(1, 3, covariance, 6, ACTIVE).double()
    told = prior.fit_(active, torch.zeros(400, dtype=torch.int64), seed)  # by scikit-learn
    density = float(prior.distribution().log_prob(active).mean())
    assert log_prob == pytest.approx(told["log_prob"], abs=1e-8)
    assert density - 2e-3 < log_prob < density + 1e-6
    for mine, theirs in zip(found, (prior.weights, prior.means, prior.factors), strict=True):
        torch.testing.assert_close(mine, theirs[0], atol=1e-8, rtol=1e-8)


def test_a_fit_with_a_covariance_of_no_size_is_refused():
    points = 1e12 * torch.randn(20, 1) * torch.randn(1, 50)  # on a line
    with pytest.raises(ValueError, match="positive definite"):
        fit_mixture(points, 1, True, 0)


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_a_model_with_a_mixture_comes_back_bit_for_bit(tmp_path, covariance):
    prior = GaussianMixturePrior(3, 2, covariance, 64, torch.tensor([5, 9]), bound=2.0)
    prior.weights.copy_(torch.tensor([0.3, 0.7]))
    prior.means.normal_()
    prior.factors.mul_(0.3)
    model = GenerativeModel(revnet("digits"), prior, ("a", "b", "c")).eval()
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert isinstance(again.prior, GaussianMixturePrior)
    assert again.prior.describe() == prior.describe()
    state = again.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    one, two = (m.sample(6, generator=torch.Generator().manual_seed(0)) for m in (model, again))
    assert torch.equal(one, two)
    assert {path.name for path in (tmp_path / "m").iterdir()} == {
        "config.json",
        "model.safetensors",
    }


@settings(max_examples=15)
@given(seed=st.integers(0, 9999), rate=st.floats(0.01, 1), batches=st.integers(1, 5))
def test_following_is_one_gaussian_with_the_moments_of_all_weighted_points(seed, rate, batches):
    prior = GaussianMixturePrior(2, 3, "full", 6, ACTIVE)
    generator = torch.Generator().manual_seed(seed)
    # The standard normal of the start, as six points of the same moments.
    start = 3**0.5 * torch.cat((torch.eye(3), -torch.eye(3)))
    points, shares = [start], [torch.full((6,), (1 - rate) ** batches / 6)]
    for batch in range(batches):
        active = 0.3 * torch.randn(9, 3, generator=generator) + batch
        prior.follow_(active, rate)
        points.append(active)
        shares.append(torch.full((9,), rate * (1 - rate) ** (batches - 1 - batch) / 9))
    all_points, weights = torch.cat(points).numpy(), torch.cat(shares).numpy()
    mean = np.average(all_points, axis=0, weights=weights)
    covariance = np.cov(all_points.T, aweights=weights, ddof=0)
    for label in (0, 1):
        for m in range(3):
            np.testing.assert_allclose(prior.means[label, m], mean, atol=1e-5)
            factor = prior.factors[label, m].double().numpy()
            np.testing.assert_allclose(factor @ factor.T, covariance, rtol=1e-4, atol=1e-5)
            assert np.array_equal(factor, np.tril(factor))


def test_following_survives_batches_of_one_point():
    prior = GaussianMixturePrior(1, 1, "full", 6, ACTIVE)
    for _ in range(50):
        prior.follow_(torch.ones(1, 3), 1.0)
    assert torch.equal(prior.means[0, 0], torch.ones(3))
    assert (prior.scale()[ACTIVE] < 2e-3).all()
    with pytest.raises(ValueError, match="full covariances"):
        GaussianMixturePrior(1, 1, "diag", 6, ACTIVE).follow_(torch.ones(1, 3), 1.0)


def test_following_leaves_out_what_would_end_it():
    prior = GaussianMixturePrior(1, 1, "full", 6, ACTIVE)
    prior.follow_(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), 0.5)
    before = prior.means.clone(), prior.factors.clone()
    far = torch.tensor([[1e12, 1e12, 1e12], [-1e12, -1e12, -1e12]])
    for batch in (far, torch.full((2, 3), torch.nan), torch.full((2, 3), torch.inf)):
        prior.follow_(batch, 0.01)
        assert torch.equal(prior.means, before[0])
        assert torch.equal(prior.factors, before[1])


def test_refuses_encodings_that_do_not_fit():
    full, diagonal = (GaussianMixturePrior(2, 5, kind, 6, ACTIVE) for kind in ("full", "diag"))
    labels = torch.arange(38) % 2
    with pytest.raises(GenrevError, match=r"need 20 images of every class and one has 19"):
        full.fit_(torch.randn(38, 3), labels)
    diagonal.fit_(torch.randn(38, 3), labels)
    with pytest.raises(GenrevError, match="not finite"):
        full.fit_(torch.full((38, 3), torch.nan), labels)


@pytest.mark.parametrize("arguments", [(0, 1, "full"), (1, 0, "full"), (1, 1, "tied")])
def test_refuses_mixtures_there_are_not(arguments):
    with pytest.raises(ValueError, match="full or diag"):
        GaussianMixturePrior(*arguments, 6)
    with pytest.raises(ValueError, match="label must lie between"):
        random_mixture(0).sample(3, 2)


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_many_samples_are_drawn_a_part_at_a_time(monkeypatch, covariance):
    prior = random_mixture(3, 2, covariance=covariance)
    labels = torch.arange(50) % prior.num_classes
    noise = prior.noise(50, torch.Generator().manual_seed(0))
    whole = prior.from_noise(noise, labels)
    monkeypatch.setattr(mixture, "_MOST_NUMBERS", 3 * prior.factors[0, 0].numel())
    torch.testing.assert_close(prior.from_noise(noise, labels), whole)
    assert prior.sample(0).shape == (0, prior.dim)
