"""Expectation maximisation for a mixture of Gaussians, where the encodings are.

The same steps as scikit-learn's ``GaussianMixture``, which computes on the CPU alone: from the
clusters of k-means (on the CPU, of which it takes a small part) until the mean log-density gains
less than 1e-3. Tests hold the two together.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

LEAST_VARIANCE = 1e-6  # that of scikit-learn
_MOST_STEPS, _LEAST_GAIN = 500, 1e-3


class Mixture(NamedTuple):
    """Weights (M,), means (M, k), and factors: lower triangles (M, k, k), or (M, k) if diagonal."""

    weights: Tensor
    means: Tensor
    factors: Tensor


def fit_mixture(points: Tensor, components: int, full: bool, seed: int) -> tuple[Mixture, float]:
    """Fit ``components`` Gaussians to points (N, k), in float64 on their device.

    Returns:
        The mixture, and the mean log-density of the points before the last step.

    Raises:
        ValueError: a covariance is not positive definite.
    """
    from sklearn.cluster import KMeans  # takes a second, which nothing else needs

    points = points.double()
    start = KMeans(components, n_init=1, random_state=seed).fit(points.cpu().numpy())
    labels = torch.from_numpy(start.labels_).long().to(points.device)
    shares = torch.nn.functional.one_hot(labels, components).double()  # (N, M)
    mixture, before = _maximised(points, shares, full), -math.inf
    for _ in range(_MOST_STEPS):
        joint = component_log_probs(points, mixture)  # (M, N)
        total = joint.logsumexp(0)
        mixture, now = _maximised(points, (joint - total).exp().T, full), float(total.mean())
        if abs(now - before) < _LEAST_GAIN:
            break
        before = now
    return mixture, now


def followed(active: Tensor, mean: Tensor, factor: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Mean (k,) and factor (k, k) of a Gaussian that moves towards a batch (N, k), in float64.

    A batch so far out that rounding makes the covariance indefinite is left out.
    """
    # A narrow dimension must not lose its variance to rounding, and Apple's devices have no
    # float64.
    where = "cpu" if active.device.type == "mps" else active.device
    active, mean, factor = (numbers.to(where).double() for numbers in (active, mean, factor))
    shift = active.mean(0) - mean
    centred = active - active.mean(0)
    batch = centred.T @ centred / len(active)
    covariance = (1 - rate) * (factor @ factor.T + rate * torch.outer(shift, shift))
    covariance += rate * batch
    covariance.diagonal().add_(rate * LEAST_VARIANCE)
    moved, failed = torch.linalg.cholesky_ex(covariance)
    good = (failed == 0) & moved.isfinite().all()  # the host does not look at it
    return torch.where(good, mean + rate * shift, mean), torch.where(good, moved, factor)


def component_log_probs(points: Tensor, mixture: Mixture) -> Tensor:
    """Natural log-densities (M, N) of components and points (N, k) together."""
    weights, means, factors = mixture
    parts = []
    for weight, mean, factor in zip(weights, means, factors, strict=True):
        centred, full = points - mean, factor.dim() == 2
        solve = torch.linalg.solve_triangular
        white = solve(factor, centred.T, upper=False).T if full else centred / factor  # (N, k)
        log_volume = (factor.diagonal() if full else factor).log().sum()
        constant = weight.log() - log_volume - math.log(2 * math.pi) * len(mean) / 2
        parts.append(constant - white.square().sum(1) / 2)
    return torch.stack(parts)


def _maximised(points: Tensor, shares: Tensor, full: bool) -> Mixture:
    """The most likely mixture where component m has the share (N, M) of every point."""
    counts = shares.sum(0) + 10 * torch.finfo(shares.dtype).eps  # (M,)
    means = shares.T @ points / counts[:, None]
    weights = counts / counts.sum()
    if not full:
        squares = shares.T @ points.square() / counts[:, None]
        return Mixture(weights, means, (squares - means.square() + LEAST_VARIANCE).sqrt())
    factors = []
    for share, mean, count in zip(shares.T, means, counts, strict=True):
        centred = points - mean
        covariance = (share[:, None] * centred).T @ centred / count
        covariance.diagonal().add_(LEAST_VARIANCE)
        factors.append(covariance)
    moved, failed = torch.linalg.cholesky_ex(torch.stack(factors))
    if bool(failed.any()):
        raise ValueError("a covariance is not positive definite")
    return Mixture(weights, means, moved)
