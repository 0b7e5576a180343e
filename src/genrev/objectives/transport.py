r"""Optimal transport between encodings and samples of the prior.

For two sets of points the exact transport with Euclidean cost is

.. math:: OT(z, s) = \min_{P \in U} \sum_{ij} P_{ij} \lVert z_i - s_j \rVert ,

with uniform marginals. Between sets of equal size an optimal plan is an assignment. By the envelope
theorem the gradient flows through the costs at the fixed optimal plan: only matched pairs take
part, never the (n, m, d) tensor of all differences.

**Bias.** OT between two finite samples of the *same* distribution is not zero: it shrinks only as
:math:`n^{-1/d}`, and faster when the distribution is made narrower, so a model trained on it learns
standard deviations that are too small. Subtracting what two samples of one distribution would pay,

.. math:: OT(z, s) - \tfrac12 OT(z, z') - \tfrac12 OT(s, s') ,

removes that incentive: it is zero on average when both distributions are equal.

**Sliced.** On a line the optimal transport between two samples of equal size pairs them in sorted
order. Averaging it over directions :math:`\theta` drawn uniformly from the unit sphere gives

.. math:: SW_p^p(a, b) = E_\theta \, \frac1n \sum_i
          | \langle a, \theta \rangle_{(i)} - \langle b, \theta \rangle_{(i)} |^p ,

which is zero only for equal samples and costs :math:`O(n \log n)` a direction. Between two samples
of *one* distribution it shrinks as 1/n for p = 2, and says something beside that baseline only.

References: Schirrmeister et al. 2018, Section 3.2 (exact transport per class); Genevay et al.,
"Learning Generative Models with Sinkhorn Divergences" (2018), for debiasing; Fatras et al.,
"Minibatch optimal transport distances" (2021), for what minibatches do; Rabin et al., "Wasserstein
barycenter and its application to texture mixing" (2011), and Bonneel et al., "Sliced and Radon
Wasserstein barycenters of measures" (2015).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_SMALLEST_SQUARED_DISTANCE = 1e-12  # below it the gradient of the root is cut to zero


def optimal_transport_loss(z: Tensor, samples: Tensor) -> Tensor:
    """Exact optimal transport with Euclidean cost: the mean distance over the optimal plan.

    Args:
        z: points (n, d), of equal weight.
        samples: points (m, d); for n other than m, POT solves the problem.

    Raises:
        ValueError: an empty set, or points of different dimension.
        GenrevError: SciPy is not installed, or n differs from m and POT is not.

    Example:
        >>> z = torch.tensor([[0.0], [1.0], [2.0]])
        >>> float(optimal_transport_loss(z, z[[2, 0, 1]] + 3.0))
        3.0
    """
    if z.dim() != 2 or samples.dim() != 2 or z.shape[1] != samples.shape[1]:
        raise ValueError(
            f"Transport takes points (n, d) and (m, d) and got {tuple(z.shape)} "
            f"and {tuple(samples.shape)}."
        )
    if not len(z) or not len(samples):
        raise ValueError("Transport between empty sets of points is not defined.")
    # On CUDA, float32 may be rounded to TF32, and distances are differences of large numbers.
    dtype = torch.float64 if z.is_cuda else torch.float32
    costs = torch.cdist(z.detach().to(dtype), samples.detach().to(dtype)).cpu().numpy()
    if not np.isfinite(costs).all():  # the solver would refuse; the loss says it to whoever trains
        return (z.sum() + samples.sum()) * math.nan
    rows, columns, mass = _plan(costs)
    squared = (z[rows] - samples[columns]).square().sum(1)
    distances = squared.clamp(min=_SMALLEST_SQUARED_DISTANCE).sqrt()
    return (distances * mass.to(distances)).sum()


def debiased_transport_loss(z: Tensor, samples: Tensor) -> Tensor:
    """Optimal transport less what equal distributions would pay; see the module's text.

    Both sets are halved, (z, z') and (s, s'); the four transports across are averaged.

    Args:
        z, samples: points (n, d), n even and at least 2, in random order.

    Raises:
        ValueError: sizes that differ or are odd.
    """
    if len(z) != len(samples) or len(z) % 2 or not len(z):
        raise ValueError(
            "Debiased transport halves both sets, so they need one even size; "
            f"they have {len(z)} and {len(samples)} points."
        )
    z_halves, sample_halves = z.chunk(2), samples.chunk(2)
    across = [optimal_transport_loss(a, b) for a in z_halves for b in sample_halves]
    within = [optimal_transport_loss(*z_halves), optimal_transport_loss(*sample_halves)]
    return sum(across) / 4 - sum(within) / 2  # type: ignore[return-value]


def class_transport_loss(
    z: Tensor,
    samples: Tensor,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor] = optimal_transport_loss,
) -> Tensor:
    """Sum over the classes of the transport between encodings and samples, as in the authors' code.

    Args:
        z, samples: encodings (N, d), and samples of the prior drawn with the same labels.
        labels: class of every row of both, (N,).
        loss: transport between two sets of points.
    """
    present = labels.unique().tolist()
    return sum(loss(z[labels == c], samples[labels == c]) for c in present)  # type: ignore[return-value]


def random_directions(num: int, dim: int, generator: torch.Generator | None = None) -> Tensor:
    """Directions drawn uniformly from the unit sphere, on the CPU: (num, dim), rows of length 1."""
    return F.normalize(torch.randn(num, dim, generator=generator), dim=1)


def sliced_wasserstein(
    a: Tensor,
    b: Tensor,
    directions: Tensor | None = None,
    num_projections: int = 128,
    p: float = 2.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Sliced Wasserstein distance between two samples, to the p-th power, as directions average it.

    Args:
        a, b: points (n, d).
        directions: unit vectors (K, d) to project on; drawn anew when ``None``.
        num_projections: number K of directions to draw; without effect when they are given.
        p: exponent, at least 1.
        generator: source of the directions, on the CPU.

    Raises:
        ValueError: shapes that differ or are not (n, d), or p below 1.

    Example:
        >>> a = torch.tensor([[0.0], [1.0], [2.0]])
        >>> float(sliced_wasserstein(a, a[[2, 0, 1]] + 3.0))
        9.0
    """
    if a.dim() != 2 or a.shape != b.shape or len(a) == 0:
        raise ValueError(
            "sliced_wasserstein takes two samples of the same shape (n, d) with n >= 1 and got "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )
    if not p >= 1:
        raise ValueError(f"p must be 1 or more and is {p}.")
    if directions is None:
        directions = random_directions(num_projections, a.shape[1], generator)
    directions = directions.to(a)
    on_lines_a, on_lines_b = ((directions @ points.T).sort(1).values for points in (a, b))
    return (on_lines_a - on_lines_b).abs().pow(p).mean()  # of (K, n)


def _plan(costs: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Optimal plan as (rows, columns, mass), only where mass is not zero."""
    n, m = costs.shape
    if n == m:
        from scipy.optimize import linear_sum_assignment

        plan = (*linear_sum_assignment(costs), np.full(n, 1.0 / n))
    else:
        import ot

        matrix = np.asarray(ot.emd([], [], costs.astype(np.float64)))
        plan = (*np.nonzero(matrix), matrix[np.nonzero(matrix)])
    rows, columns, mass = map(torch.from_numpy, plan)
    return rows, columns, mass
