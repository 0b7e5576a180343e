"""Optimal transport: closed forms, POT as oracle, bias and its removal."""

import itertools

import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genrev.objectives import (
    class_transport_loss,
    debiased_transport_loss,
    optimal_transport_loss,
)

seeds = st.integers(0, 2**31)


def points(n, d, seed, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).to(dtype)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), seeds)
def test_agrees_with_pot(n, m, d, seed):
    z, s = points(n, d, seed), points(m, d, seed + 1)
    cost = torch.cdist(z, s).numpy()
    expected = ot.emd2([], [], cost)
    # The plan is found on costs in float32; its own cost is evaluated in the points' type.
    assert optimal_transport_loss(z, s).item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(st.integers(1, 6), seeds)
def test_agrees_with_trying_all_matchings(n, seed):
    z, s = points(n, 2, seed), points(n, 2, seed + 1)
    cost = torch.cdist(z, s).numpy()
    rows = np.arange(n)
    best = min(cost[rows, list(p)].mean() for p in itertools.permutations(range(n)))
    assert optimal_transport_loss(z, s).item() == pytest.approx(best, rel=1e-6)


@given(st.integers(1, 50), seeds)
def test_in_one_dimension_sorted_points_match(n, seed):
    z, s = points(n, 1, seed), points(n, 1, seed + 1) + 5
    expected = (z.sort(0).values - s.sort(0).values).abs().mean().item()
    assert optimal_transport_loss(z, s).item() == pytest.approx(expected, rel=1e-6)


@given(st.integers(1, 30), st.integers(1, 4), seeds)
def test_a_translation_costs_its_length(n, d, seed):
    z = points(n, d, seed)
    shift = points(1, d, seed + 1)
    moved = (z + shift)[torch.randperm(n)]
    assert optimal_transport_loss(z, moved).item() == pytest.approx(shift.norm().item(), rel=1e-5)


def test_symmetric_and_zero_on_itself():
    z, s = points(12, 3, 0), points(12, 3, 1)
    assert optimal_transport_loss(z, s).item() == pytest.approx(optimal_transport_loss(s, z).item())
    assert optimal_transport_loss(z, z.flip(0)).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("m", [6, 9])
def test_gradients_are_those_of_finite_differences(m):
    z = points(6, 3, 0).requires_grad_()
    s = points(m, 3, 1).requires_grad_()
    assert torch.autograd.gradcheck(optimal_transport_loss, (z, s))


def test_gradient_of_matched_points_is_finite():
    z = points(4, 2, 0).requires_grad_()
    optimal_transport_loss(z, z.detach().clone()).backward()
    assert torch.isfinite(z.grad).all()


def mean_over_draws(loss, std, repeats=300, n=10, d=8):
    generator = torch.Generator().manual_seed(0)
    values = []
    for _ in range(repeats):
        z = torch.randn(n, d, generator=generator)
        values.append(loss(z, std * torch.randn(n, d, generator=generator)).item())
    values = np.array(values)
    return values.mean(), values.std() / np.sqrt(repeats)


def test_plain_transport_rewards_a_prior_that_is_too_narrow():
    """The defect that debiasing cures: the smallest loss is not at the true deviation 1."""
    right, error = mean_over_draws(optimal_transport_loss, 1.0)
    narrow, _ = mean_over_draws(optimal_transport_loss, 0.6)
    assert narrow < right - 5 * error


def test_debiased_transport_is_zero_in_expectation_at_the_truth_and_smallest_there():
    right, error = mean_over_draws(debiased_transport_loss, 1.0)
    assert abs(right) < 4 * error
    for std in (0.6, 1.5):
        off, off_error = mean_over_draws(debiased_transport_loss, std)
        assert off > right + 4 * (error + off_error)


def test_debiased_transport_is_the_formula():
    z, s = points(8, 3, 0), points(8, 3, 1)
    t = optimal_transport_loss
    across = (t(z[:4], s[:4]) + t(z[:4], s[4:]) + t(z[4:], s[:4]) + t(z[4:], s[4:])) / 4
    expected = across - t(z[:4], z[4:]) / 2 - t(s[:4], s[4:]) / 2
    assert debiased_transport_loss(z, s).item() == pytest.approx(expected.item())


def test_classes_are_transported_by_themselves():
    z, s = points(12, 2, 0), points(12, 2, 1)
    labels = torch.tensor([0, 2, 1] * 4)
    expected = sum(optimal_transport_loss(z[i::3], s[i::3]) for i in range(3))
    assert class_transport_loss(z, s, labels).item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optimal_transport_loss(torch.zeros(2, 3), torch.zeros(2, 4)), r"\(n, d\)"),
        (lambda: optimal_transport_loss(torch.zeros(2), torch.zeros(2)), r"\(n, d\)"),
        (lambda: optimal_transport_loss(torch.zeros(0, 3), torch.zeros(2, 3)), "empty"),
        (lambda: debiased_transport_loss(torch.zeros(3, 2), torch.zeros(3, 2)), "even"),
        (lambda: debiased_transport_loss(torch.zeros(4, 2), torch.zeros(2, 2)), "even"),
        (lambda: debiased_transport_loss(torch.zeros(0, 2), torch.zeros(0, 2)), "even"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_missing_pot_is_told_with_the_cure(without):
    without("ot")
    with pytest.raises(ImportError, match=r'pip install "genrev\[ot\]"'):
        optimal_transport_loss(torch.zeros(2, 1), torch.zeros(3, 1))
