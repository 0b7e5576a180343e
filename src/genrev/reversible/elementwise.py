r"""Shifts and stretches of every number by itself.

**Offset** adds a constant, to centre pixels around zero. **Diagonal scaling** has one learned shift
and one learned stretch for every latent dimension,

.. math:: z_i = (y_i - b_i) \exp(s_i), \qquad \log |\det J| = \sum_i s_i .

Additive couplings preserve volume, so without this layer a network of them could not tell a
dimension that matters from one that carries noise: NICE ends with it for that reason. The shift
spares the couplings from having to centre dimensions whose scale becomes large.

References: Dinh et al., "NICE" (2015), Section 3.3.
"""

from typing import Any

import torch
from torch import Tensor, nn

from genrev.reversible.block import Block
from genrev.reversible.engine.replay import Replay
from genrev.reversible.stream import Halves, halves, parts, shifted, value

_SMALLEST_STD = 1e-6  # of a dimension that does not vary at all


class Offset(Block):
    """Add a constant; the inverse subtracts it.

    With -1/2, which is on the grid, the large common mean of pixels in [0, 1], which Haar bands
    collect in a few dimensions, moves near zero, where a prior wants it.

    Example:
        >>> Offset(-0.5)(torch.tensor([0.0, 0.5, 1.0])).tolist()
        [-0.5, 0.0, 0.5]
    """

    preserves_volume = preserves_grid = repeatable = True
    _in_halves = True

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant = constant

    def forward(self, x: Any) -> Any:
        """Map x to x + constant, any shape."""
        return self._halved(x, inverse=False)

    def inverse(self, y: Any) -> Any:
        """Map y to y - constant, any shape."""
        return self._halved(y, inverse=True)

    def _halved(self, x: Any, inverse: bool) -> Any:
        if isinstance(x, Halves):
            return halves([self._halved(part, inverse) for part in parts(x)], x.dim)
        return shifted(x, torch.full_like(value(x), self.constant), -1 if inverse else 1)

    def backtrack(
        self, y: Any, grad: Any, replay: Replay, inverse: bool, grad_log_det: Tensor | None = None
    ) -> tuple[Any, Any]:
        """Undo ``forward`` (or ``inverse``); the gradient passes."""
        return self._halved(y, not inverse), grad


class DiagonalScaling(Block):
    """Shift and stretch each of ``dim`` dimensions by itself; starts as the identity.

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

    @property
    def is_identity(self) -> bool:
        """Whether it has neither been initialised nor trained."""
        return not (self.shift.any() or self.log_scale.any())

    @torch.no_grad()
    def initialise_(self, mean: Tensor, std: Tensor) -> None:
        """Make dimensions of this mean and standard deviation, (D,) each, centred and of 1.

        That is ActNorm's start from data (Kingma and Dhariwal, "Glow", 2018, Section 3.1).
        """
        self.shift.copy_(mean)
        self.log_scale.copy_(-std.clamp(min=_SMALLEST_STD).log())

    def forward(self, y: Tensor) -> Tensor:
        """Map (N, D) to (N, D)."""
        return (y - self.shift) * self.log_scale.exp()

    def inverse(self, z: Tensor) -> Tensor:
        """Map (N, D) back to (N, D)."""
        return z * (-self.log_scale).exp() + self.shift

    def forward_with_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The same as ``forward``, and log|det| of the Jacobian, (N,): the same everywhere."""
        return self(y), self.log_scale.sum().expand(len(y))
