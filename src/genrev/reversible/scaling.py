r"""Diagonal scaling: one learned shift and one learned stretch for every latent dimension.

.. math:: z_i = (y_i - b_i) \exp(s_i), \qquad \log |\det J| = \sum_i s_i

Additive couplings preserve volume, so without this layer a network of them could not tell a
dimension that matters from one that carries noise: NICE ends with it for that reason. The shift
does not change the volume; it spares the couplings from having to centre dimensions whose scale
becomes large.

References: Dinh et al., "NICE" (2015), Section 3.3.
"""

import torch
from torch import Tensor, nn

__all__ = ["DiagonalScaling"]

_SMALLEST_STD = 1e-6  # of a dimension that does not vary at all


class DiagonalScaling(nn.Module):
    """Shift and stretch every dimension by itself; starts as the identity.

    Args:
        dim: number of dimensions D.

    Example:
        >>> scaling = DiagonalScaling(3)
        >>> scaling.initialise_(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.5, 1.0, 2.0]))
        >>> scaling(torch.tensor([[2.0, 2.0, 2.0]]))
        tensor([[2., 2., 1.]], grad_fn=<MulBackward0>)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))

    @torch.no_grad()
    def initialise_(self, mean: Tensor, std: Tensor) -> None:
        """Make dimensions of this mean and standard deviation, (D,) each, centred and of 1."""
        self.shift.copy_(mean)
        self.log_scale.copy_(-std.clamp(min=_SMALLEST_STD).log())

    def forward(self, y: Tensor) -> Tensor:
        """Map (N, D) to (N, D)."""
        return (y - self.shift) * self.log_scale.exp()

    def inverse(self, z: Tensor) -> Tensor:
        """Map (N, D) back to (N, D)."""
        return z * (-self.log_scale).exp() + self.shift

    def log_det(self) -> Tensor:
        """Logarithm of the Jacobian's determinant, a scalar: the same everywhere."""
        return self.log_scale.sum()
