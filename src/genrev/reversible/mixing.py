r"""What mixes the features of vectors, so that further couplings split them in another way.

A coupling tells every feature of one half about the other half, and nothing about its own.
**Rotation** is an orthogonal matrix that is learned, Cayley's transform of a skew-symmetric one,

.. math:: R = (1 + A)^{-1} (1 - A), \qquad A = B - B^T,

whose inverse is its transpose, and whose log-determinant is 0. **Deal** is one permutation:
features of either half are dealt to both.

References: Cayley, "Sur quelques proprietes des determinants gauches" (1846); Kingma and Dhariwal,
"Glow" (2018), Section 3.2, for learned mixing between couplings.
"""

import math

import torch
from torch import Tensor, nn

from genrev.reversible.block import Block


class Rotation(Block):
    """A learned orthogonal matrix on the last dimension; it begins by turning random planes by 45°.

    Args:
        features: size D of the last dimension.

    Example:
        >>> x, rotation = torch.randn(4, 3), Rotation(3)
        >>> torch.allclose(rotation.inverse(rotation(x)), x, atol=1e-5)
        True
    """

    preserves_volume = repeatable = True

    def __init__(self, features: int) -> None:
        super().__init__()
        q, half = nn.init.orthogonal_(torch.empty(features, features)), features // 2
        self.weight = nn.Parameter(math.tan(math.pi / 8) * q[:, :half] @ q[:, half : 2 * half].T)

    def matrix(self) -> Tensor:
        """The orthogonal matrix, (D, D)."""
        skew = self.weight - self.weight.T
        one = torch.eye(len(skew), dtype=skew.dtype, device=skew.device)
        return torch.linalg.solve(one + skew, one - skew)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, ..., D) to the same shape."""
        return self._product(x, inverse=False)

    def inverse(self, y: Tensor) -> Tensor:
        """Map (N, ..., D) back to the same shape."""
        return self._product(y, inverse=True)

    def _product(self, x: Tensor, inverse: bool) -> Tensor:
        # Autocast would round the stream, and a matrix that is orthogonal only to 8 bits does not
        # preserve volume.
        with torch.autocast(x.device.type, enabled=False):
            matrix = self.matrix().to(x.dtype)
            return x @ (matrix.T if inverse else matrix)


class Deal(Block):
    """Features with even numbers first, then those with odd ones, in the last dimension.

    Example:
        >>> Deal()(torch.arange(5.0)[None])
        tensor([[0., 2., 4., 1., 3.]])
    """

    is_permutation = repeatable = True

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, ..., D) to the same shape."""
        return x.index_select(-1, _dealt(x))

    def inverse(self, y: Tensor) -> Tensor:
        """Map (N, ..., D) back to the same shape."""
        return y.index_select(-1, _dealt(y).argsort())


def _dealt(x: Tensor) -> Tensor:
    numbers = torch.arange(x.shape[-1], device=x.device)
    return torch.cat((numbers[::2], numbers[1::2]))
