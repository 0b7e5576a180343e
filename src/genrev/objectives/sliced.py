r"""Sliced Wasserstein: optimal transport made cheap by projecting to lines.

On a line the optimal transport between two samples of equal size pairs them in sorted order, so

.. math:: W_p^p(a, b) = \frac1n \sum_i | a_{(i)} - b_{(i)} |^p .

Averaging that over directions :math:`\theta` drawn uniformly from the unit sphere gives

.. math:: SW_p^p(a, b) = E_\theta \, W_p^p(\langle a, \theta \rangle, \langle b, \theta \rangle) ,

which is zero only for equal samples, costs :math:`O(n \log n)` a direction and is differentiable.
Between two different samples of *one* distribution it is not zero but shrinks as 1/n for p = 2;
it says something beside that baseline only.

References: Rabin et al., "Wasserstein barycenter and its application to texture mixing" (2011);
Bonneel et al., "Sliced and Radon Wasserstein barycenters of measures" (2015).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["random_directions", "sliced_wasserstein"]


def random_directions(num: int, dim: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw directions uniformly from the unit sphere.

    Args:
        num: how many.
        dim: dimension d of the space.
        generator: source of the noise, on the CPU.

    Returns:
        Float tensor of shape (num, d), rows of length 1.
    """
    return F.normalize(torch.randn(num, dim, generator=generator), dim=1)


def sliced_wasserstein(
    a: Tensor,
    b: Tensor,
    directions: Tensor | None = None,
    num_projections: int = 128,
    p: float = 2.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Sliced Wasserstein distance to the p-th power between two samples of equal size.

    The p-th power and not its root is returned because it is what gets averaged over directions
    and because its gradient stays finite where ``a`` equals ``b``.

    Args:
        a: points (n, d).
        b: points (n, d).
        directions: unit vectors (K, d) to project on; drawn anew when ``None``.
        num_projections: number K of directions to draw; without effect when they are given.
        p: exponent, at least 1.
        generator: source of the directions, on the CPU.

    Returns:
        Scalar tensor, differentiable in ``a`` and ``b``.

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
    sorted_a = (directions @ a.T).sort(1).values  # (K, n)
    sorted_b = (directions @ b.T).sort(1).values  # (K, n)
    return (sorted_a - sorted_b).abs().pow(p).mean()
