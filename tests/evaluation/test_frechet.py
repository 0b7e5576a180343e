"""Fréchet distance against closed forms, scipy and torchmetrics; statistics against numpy."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from genrev.evaluation import FeatureStatistics, frechet_distance

SEEDS = st.integers(0, 10_000)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance(dim: int, rank: int, seed: int) -> torch.Tensor:
    factor = normal(dim, rank, seed=seed)
    return factor @ factor.T


@settings(deadline=None)
@given(dim=st.integers(1, 8), seed=SEEDS)
def test_commuting_covariances(dim, seed):
    basis, _ = torch.linalg.qr(normal(dim, dim, seed=seed))
    std1, std2 = normal(2, dim, seed=seed + 1).abs()
    mu1, mu2 = normal(2, dim, seed=seed + 2)
    cov1, cov2 = ((basis * std.square()) @ basis.T for std in (std1, std2))
    expected = (mu1 - mu2).square().sum() + (std1 - std2).square().sum()
    assert frechet_distance(mu1, cov1, mu2, cov2) == pytest.approx(float(expected), abs=1e-6)


@settings(deadline=None)
@given(dim=st.integers(2, 8), seed=SEEDS)
def test_from_a_point_any_gaussian_is_as_far_as_its_trace(dim, seed):
    cov = covariance(dim, dim - 1, seed)
    distance = frechet_distance(torch.zeros(dim), torch.zeros(dim, dim), torch.ones(dim), cov)
    assert distance == pytest.approx(dim + float(cov.trace()))


@settings(deadline=None)
@given(dim=st.integers(2, 8), seed=SEEDS)
def test_singular_covariances_of_orthogonal_supports(dim, seed):
    basis, _ = torch.linalg.qr(normal(dim, dim, seed=seed))
    first, second = basis[:, :1], basis[:, 1:]
    zero = torch.zeros(dim)
    distance = frechet_distance(zero, 4 * first @ first.T, zero, 9 * second @ second.T)
    assert distance == pytest.approx(4 + 9 * (dim - 1))


@settings(deadline=None)
@given(dim=st.integers(1, 8), seed=SEEDS)
def test_symmetric_and_zero_for_equal(dim, seed):
    rank = max(1, dim // 2)
    mu1, mu2 = normal(2, dim, seed=seed)
    cov1, cov2 = covariance(dim, rank, seed), covariance(dim, dim, seed + 1)
    there, back = frechet_distance(mu1, cov1, mu2, cov2), frechet_distance(mu2, cov2, mu1, cov1)
    assert there == pytest.approx(back, abs=1e-6)
    assert 0 <= frechet_distance(mu1, cov1, mu1, cov1) < 1e-6


@settings(deadline=None)
@given(dim=st.integers(1, 8), seed=SEEDS)
def test_agrees_with_scipy(dim, seed):
    mu1, mu2 = normal(2, dim, seed=seed)
    cov1 = covariance(dim, dim, seed) + 0.1 * torch.eye(dim)
    cov2 = covariance(dim, dim, seed + 1) + 0.1 * torch.eye(dim)
    root = scipy.linalg.sqrtm((cov1 @ cov2).numpy()).real
    expected = (mu1 - mu2).square().sum() + (cov1 + cov2).trace() - 2 * np.trace(root)
    assert frechet_distance(mu1, cov1, mu2, cov2) == pytest.approx(float(expected), rel=1e-6)


class FirstPixels(nn.Module):
    """Eight features torchmetrics can compute by itself."""

    def forward(self, images):
        return images.flatten(1)[:, :8]


def test_agrees_with_torchmetrics():
    reference = FrechetInceptionDistance(feature=FirstPixels(), input_img_size=(1, 4, 4)).set_dtype(
        torch.float64
    )
    real, fake = torch.rand(2, 200, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    fake = fake**2
    reference.update(real, real=True)
    reference.update(fake, real=False)
    ours = [FeatureStatistics.of(x.flatten(1)[:, :8]) for x in (real, fake)]
    distance = frechet_distance(ours[0].mean, ours[0].covariance, ours[1].mean, ours[1].covariance)
    assert distance == pytest.approx(float(reference.compute()), rel=1e-6)


@pytest.mark.parametrize(
    "shapes", [((2,), (2, 2), (3,), (3, 3)), ((2,), (2, 3), (2,), (2, 2)), ((2,), (2,), (2,), (2,))]
)
def test_refuses_shapes_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match="must agree"):
        frechet_distance(*(torch.zeros(shape) for shape in shapes))


def test_refuses_values_that_are_not_finite():
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(torch.zeros(1), torch.eye(1), torch.tensor([np.nan]), torch.eye(1))


@settings(deadline=None)
@given(n=st.integers(2, 60), batch=st.integers(1, 60), seed=SEEDS)
def test_statistics_do_not_depend_on_the_batch_size(n, batch, seed):
    # A mean a million times the standard deviation: sums of squares would cancel.
    features = normal(n, 3, seed=seed) + 1e6
    statistics = FeatureStatistics.of(features, batch_size=batch)
    assert statistics.count == n
    np.testing.assert_allclose(statistics.mean, features.numpy().mean(0), rtol=1e-14)
    expected = np.cov(features.numpy() - 1e6, rowvar=False)
    np.testing.assert_allclose(statistics.covariance, expected, atol=1e-8)


@settings(deadline=None)
@given(n=st.integers(2, 60), ranks=st.integers(1, 5), seed=SEEDS)
def test_statistics_do_not_depend_on_the_split_over_ranks(n, ranks, seed):
    features = normal(n, 3, seed=seed)
    whole, merged = FeatureStatistics.of(features), FeatureStatistics(3)
    for rank in range(ranks):  # may be an empty share
        merged.merge(FeatureStatistics.of(features[rank::ranks]))
    assert merged.count == n
    torch.testing.assert_close(merged.mean, whole.mean)
    torch.testing.assert_close(merged.covariance, whole.covariance)


def test_merging_leaves_the_other_as_it_was():
    one, two = (FeatureStatistics.of(normal(5, 2, seed=seed)) for seed in (0, 1))
    before = two.mean.clone(), two.covariance.clone(), two.count
    one.merge(two)
    assert torch.equal(two.mean, before[0])
    assert torch.equal(two.covariance, before[1])
    assert two.count == before[2]


def test_statistics_refuse_other_features_and_too_few():
    statistics = FeatureStatistics(3)
    with pytest.raises(ValueError, match="shape"):
        statistics.update(torch.zeros(5, 2))
    statistics.update(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="needs two"):
        _ = statistics.covariance
