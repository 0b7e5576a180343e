"""Kernel distance: unbiased, in agreement with torchmetrics, with an error bar that holds."""

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from genrev.evaluation import kernel_distance


def normal(n: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_subset_by_hand():
    # Without randomness: the two subsets hold equal features each, so order does not matter.
    real, fake = torch.ones(5, 1), torch.zeros(5, 1)
    # k(1, 1) = 8, k(0, 0) = 1, k(1, 0) = 1.
    assert kernel_distance(real, fake, subsets=2, subset_size=3) == (8 + 1 - 2, 0)


def test_agrees_with_torchmetrics():
    real, fake = normal(40, 6, 0), 1.5 * normal(40, 6, 1) + 0.5
    generator = torch.Generator().manual_seed(2)
    estimate, _ = kernel_distance(real, fake, 10, 20, generator)
    generator.manual_seed(2)
    expected = []
    for _ in range(10):
        parts = [x[torch.randperm(40, generator=generator)[:20]] for x in (real, fake)]
        expected.append(poly_mmd(*parts))
    assert estimate == pytest.approx(float(torch.stack(expected).mean()), rel=1e-10)


def trials(n: int, shift: float, count: int) -> np.ndarray:
    """Estimates and standard errors (count, 2) on fresh data each."""
    return np.array(
        [
            kernel_distance(
                normal(n, 4, 2 * trial),
                normal(n, 4, 2 * trial + 1) + shift,
                subsets=20,
                subset_size=n // 5,
                generator=torch.Generator().manual_seed(trial),
            )
            for trial in range(count)
        ]
    )


def test_unbiased_for_equal_distributions_and_error_not_too_small():
    estimates, errors = trials(200, 0.0, 200).T
    assert abs(estimates.mean()) < 3 * estimates.std() / np.sqrt(200)
    assert (estimates < 0).mean() > 0.2  # a biased estimate is never negative
    assert np.sqrt((errors**2).mean()) > estimates.std()


def test_standard_error_is_right_for_distributions_that_differ():
    estimates, errors = trials(200, 0.5, 200).T
    assert np.sqrt((errors**2).mean()) == pytest.approx(estimates.std(), rel=0.25)
    # The naive error would be far too small here.
    assert estimates.std() > 1.5 * np.median(errors) / np.sqrt(1 / 20 + 1 / 4) / np.sqrt(20)


def test_generator_decides_the_subsets():
    real, fake = normal(30, 3, 0), normal(30, 3, 1)

    def distance(seed):
        return kernel_distance(real, fake, 3, 10, torch.Generator().manual_seed(seed))

    assert distance(0) == distance(0) != distance(1)


@pytest.mark.parametrize(("subsets", "size"), [(1, 5), (5, 1), (5, 10), (5, 20)])
def test_refuses_sizes_that_do_not_fit(subsets, size):
    with pytest.raises(ValueError, match="subsets"):
        kernel_distance(normal(10, 2, 0), normal(30, 2, 1), subsets, size)


def test_refuses_other_features():
    with pytest.raises(ValueError, match="features must be"):
        kernel_distance(normal(10, 2, 0), normal(10, 3, 1), 5, 5)
