"""Maximum mean discrepancy against populations known in closed form and a double loop."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from genrev.objectives import imq_kernel, mmd, rbf_kernel

KERNELS = [imq_kernel, rbf_kernel]


def points(n, dim, seed):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_rbf(variance, shift, dim, bandwidth):
    """E exp(-|u|^2 / 2 h^2) with u normal of this variance per dimension and mean length."""
    h2 = bandwidth**2
    return (h2 / (h2 + variance)) ** (dim / 2) * math.exp(-(shift**2) / (2 * (h2 + variance)))


def mean_imq(variance, shift, dim, c):
    """E c / (c + |u|^2), as the integral over t of c exp(-t c) E exp(-t |u|^2)."""

    def integrand(t):
        return c * math.exp(-t * c) * mean_rbf(variance, shift, dim, 1 / math.sqrt(2 * t))

    return quad(integrand, 0, math.inf, epsabs=1e-10)[0]


def population_mmd(mean, scale, shift, dim):
    """Of N(0, I) and N(m, scale^2 I) with |m| = shift, for a mean kernel of differences."""
    across = mean(1 + scale**2, shift, dim)
    return mean(2.0, 0.0, dim) + mean(2 * scale**2, 0.0, dim) - 2 * across


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.0, 1.0), (0.5, 0.0), (1.5, 0.7)])
@pytest.mark.parametrize(
    ("kernel", "mean"),
    [
        (partial(rbf_kernel, bandwidths=[2.0]), partial(mean_rbf, bandwidth=2.0)),
        (partial(imq_kernel, scales=[0.5]), partial(mean_imq, c=4.0)),
    ],
    ids=["rbf", "imq"],
)
def test_unbiased_estimate_scatters_around_the_population_value(kernel, mean, scale, shift):
    dim, offset = 4, torch.tensor([shift, 0.0, 0.0, 0.0])
    estimates = torch.stack(
        [
            mmd(points(30, dim, seed), scale * points(50, dim, 1000 + seed) + offset, kernel)
            for seed in range(400)
        ]
    )
    expected = population_mmd(mean, scale, shift, dim)
    standard_error = estimates.std().item() / math.sqrt(len(estimates))
    assert abs(estimates.mean().item() - expected) < 4 * standard_error
    if scale != 1 or shift:
        assert expected > 8 * standard_error  # the test could tell it from zero


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_distributions_give_either_sign_unless_biased(kernel):
    pairs = [(points(20, 3, seed), points(20, 3, 500 + seed)) for seed in range(50)]
    negative = sum(mmd(x, y, kernel).item() < 0 for x, y in pairs)
    assert 10 < negative < 45
    assert all(mmd(x, y, kernel, biased=True).item() > 0 for x, y in pairs)


@pytest.mark.parametrize("kernel", KERNELS)
def test_biased_estimate_of_a_sample_and_itself_is_zero(kernel):
    x = points(15, 3, 0)
    assert mmd(x, x.flip(0), kernel, biased=True).item() == pytest.approx(0, abs=1e-12)


def looped_imq(a, b):
    c = 2 * len(a)
    squared = sum((s - t) ** 2 for s, t in zip(a, b, strict=True))
    return sum(c * scale / (c * scale + squared) for scale in (0.1, 0.2, 0.5, 1, 2, 5, 10))


def looped_rbf(a, b):
    squared = sum((s - t) ** 2 for s, t in zip(a, b, strict=True))
    return sum(math.exp(-squared / (2 * len(a) * scale)) for scale in (0.25, 0.5, 1, 2, 4))


@pytest.mark.parametrize(("kernel", "looped"), [(imq_kernel, looped_imq), (rbf_kernel, looped_rbf)])
@pytest.mark.parametrize("biased", [False, True])
def test_agrees_with_a_double_loop(kernel, looped, biased):
    x, y = points(5, 3, 0), points(7, 3, 1) + 1

    def mean(a, b, skip_self):
        values = [
            looped(s, t)
            for i, s in enumerate(a.tolist())
            for j, t in enumerate(b.tolist())
            if not (skip_self and i == j)
        ]
        return sum(values) / len(values)

    expected = mean(x, x, not biased) + mean(y, y, not biased) - 2 * mean(x, y, False)
    assert mmd(x, y, kernel, biased).item() == pytest.approx(expected, rel=1e-10)


@settings(deadline=None)
@given(n=st.integers(2, 12), m=st.integers(2, 12), seed=st.integers(0, 1000))
def test_order_of_rows_and_of_samples_and_place_of_the_origin_do_not_matter(n, m, seed):
    x, y = points(n, 3, seed), 2 * points(m, 3, seed + 1)
    generator = torch.Generator().manual_seed(seed)
    shuffled_x = x[torch.randperm(n, generator=generator)]
    shuffled_y = y[torch.randperm(m, generator=generator)]
    for kernel in KERNELS:
        expected = mmd(x, y, kernel)
        torch.testing.assert_close(mmd(shuffled_x, shuffled_y, kernel), expected)
        torch.testing.assert_close(mmd(y, x, kernel), expected)
        torch.testing.assert_close(mmd(x + 5, y + 5, kernel), expected)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient(kernel):
    x, y = points(6, 3, 0).requires_grad_(), points(5, 3, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: mmd(x, y, kernel), (x, y))
    assert torch.autograd.gradcheck(lambda x, y: mmd(x, y, kernel, biased=True), (x, y))


@pytest.mark.parametrize("kernel", KERNELS)
def test_coinciding_points_have_a_finite_gradient(kernel):
    x = points(4, 3, 0).float()[[0, 0, 1, 2, 3]].requires_grad_()
    mmd(x, x.detach()[:3], kernel).backward()
    assert torch.isfinite(x.grad).all()
    torch.testing.assert_close(x.grad[0], x.grad[1])


@pytest.mark.parametrize("kernel", KERNELS)
def test_single_precision_holds_far_from_the_origin(kernel):
    """Squares are 1e8 there: x·x - 2 x·y + y·y would leave errors of the size of the distances."""
    x, y = points(40, 8, 0) + 1000, 0.5 * points(40, 8, 1) + 1000
    x, y = x.float().double(), y.float().double()  # equal points in both precisions
    expected = mmd(x, y, kernel)
    torch.testing.assert_close(
        mmd(x.float(), y.float(), kernel).double(), expected, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_descent_moves_encodings_to_the_prior(kernel):
    encodings, samples = (0.3 * points(100, 64, 0) + 0.5).requires_grad_(), points(300, 64, 1)
    before = mmd(encodings, samples, kernel)
    optimizer = torch.optim.Adam([encodings], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        mmd(encodings, samples, kernel).backward()
        optimizer.step()
    assert mmd(encodings, samples, kernel).item() < 0.05 * before.item()
    assert encodings.mean().item() == pytest.approx(0, abs=0.1)
    assert encodings.std().item() == pytest.approx(1, abs=0.15)


@settings(deadline=None)
@given(sigma=st.floats(0.1, 10), seed=st.integers(0, 1000))
def test_imq_sigma_is_a_change_of_units(sigma, seed):
    x, y = points(6, 3, seed), points(5, 3, seed + 1)
    scaled = imq_kernel(sigma * x, sigma * y, sigma=sigma)
    torch.testing.assert_close(scaled, imq_kernel(x, y))


@pytest.mark.parametrize("kernel", KERNELS)
def test_default_widths_span_the_distances_of_the_prior(kernel):
    """Half of the kernel's height falls off where samples of a 64-d standard normal lie."""
    s, t = points(100, 64, 0), points(100, 64, 1)
    relative = (kernel(s, t) / kernel(s[:1], s[:1])).mean().item()
    assert 0.3 < relative < 0.6


@pytest.mark.parametrize("shapes", [((3, 2), (3, 1)), ((3,), (3,)), ((3, 2, 1), (3, 2, 1))])
def test_refuses_points_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match="mmd takes points"):
        mmd(torch.zeros(shapes[0]), torch.zeros(shapes[1]), imq_kernel)


@pytest.mark.parametrize(("sizes", "biased"), [((1, 5), False), ((5, 1), False), ((0, 5), True)])
def test_refuses_too_few_points(sizes, biased):
    with pytest.raises(ValueError, match="or more points of each"):
        mmd(torch.zeros(sizes[0], 2), torch.zeros(sizes[1], 2), imq_kernel, biased)


def test_one_point_each_will_do_for_the_biased_estimate():
    x, y = torch.zeros(1, 2), torch.ones(1, 2)
    value = mmd(x, y, partial(rbf_kernel, bandwidths=[1.0]), biased=True)
    assert value.item() == pytest.approx(2 - 2 * math.exp(-1))
