"""Sliced Wasserstein against closed forms, another implementation, and its own symmetries."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from genrev.objectives.transport import random_directions, sliced_wasserstein


def points(n: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None)
@given(n=st.integers(1, 30), seed=st.integers(0, 1000))
def test_one_dimension_is_the_exact_distance(n, seed):
    a, b = points(n, 1, seed), 2 * points(n, 1, seed + 1) + 1
    expected = wasserstein_distance(a[:, 0].numpy(), b[:, 0].numpy())
    assert float(sliced_wasserstein(a, b, p=1)) == pytest.approx(expected)


@settings(deadline=None)
@given(p=st.sampled_from([1.0, 2.0, 3.0]), seed=st.integers(0, 1000))
def test_translation_costs_its_projections(p, seed):
    a, shift = points(20, 5, seed), points(1, 5, seed + 1)
    directions = random_directions(64, 5, torch.Generator().manual_seed(seed)).double()
    expected = (directions @ shift.T).abs().pow(p).mean()
    shuffled = (a + shift)[torch.randperm(20)]
    torch.testing.assert_close(sliced_wasserstein(a, shuffled, directions, p=p), expected)


def test_mean_over_all_directions_of_a_translation():
    # E <theta, t>^2 = |t|^2 / d on the sphere.
    a, shift = points(10, 4, 0), torch.tensor([3.0, 0.0, -4.0, 0.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    distance = sliced_wasserstein(a, a + shift, num_projections=200_000, generator=generator)
    assert float(distance) == pytest.approx(25 / 4, rel=0.01)


def test_two_axes_by_hand():
    a = torch.tensor([[0.0, 0.0], [1.0, 5.0]])
    b = torch.tensor([[3.0, 5.0], [0.0, 1.0]])
    # First axis: {0, 1} to {0, 3}, mean square 2; second: {0, 5} to {1, 5}, mean square 0.5.
    assert float(sliced_wasserstein(a, b, torch.eye(2))) == pytest.approx(1.25)


def test_agrees_with_pot():
    ot = pytest.importorskip("ot")
    a, b = points(50, 3, 0), points(50, 3, 1) * 2
    directions = random_directions(40, 3, torch.Generator().manual_seed(2)).double()
    expected = ot.sliced_wasserstein_distance(
        a.numpy(), b.numpy(), projections=directions.T.numpy(), p=2
    )
    assert float(sliced_wasserstein(a, b, directions)) ** 0.5 == pytest.approx(expected)


def test_generator_decides_the_directions():
    a, b = points(10, 3, 0), points(10, 3, 1)

    def distance(seed):
        generator = torch.Generator().manual_seed(seed)
        return float(sliced_wasserstein(a, b, num_projections=4, generator=generator))

    assert distance(0) == distance(0) != distance(1)


def test_directions_have_length_one():
    lengths = random_directions(100, 7).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(100))


def test_gradient():
    a, b = points(6, 3, 0).requires_grad_(), points(6, 3, 1)
    directions = random_directions(5, 3, torch.Generator().manual_seed(2)).double()
    assert torch.autograd.gradcheck(lambda x: sliced_wasserstein(x, b, directions), a)


def test_gradient_is_finite_where_both_are_equal():
    a = points(6, 3, 0).requires_grad_()
    sliced_wasserstein(a, a.detach()).backward()
    assert torch.equal(a.grad, torch.zeros_like(a))


@pytest.mark.parametrize(
    "shapes", [((3, 2), (4, 2)), ((3, 2), (3, 1)), ((3,), (3,)), ((0, 2),) * 2]
)
def test_refuses_samples_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match="same shape"):
        sliced_wasserstein(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


@pytest.mark.parametrize("p", [0.5, np.nan])
def test_refuses_p_below_one(p):
    with pytest.raises(ValueError, match="p must be"):
        sliced_wasserstein(torch.zeros(2, 2), torch.zeros(2, 2), p=p)
