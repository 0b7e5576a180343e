"""A constant offset of all numbers, to centre pixels around zero."""

import torch
from torch import Tensor, nn

from genrev.reversible.replay import Replay
from genrev.reversible.stream import Stream, shifted, value

__all__ = ["Offset"]


class Offset(nn.Module):
    """Add a constant; the inverse subtracts it.

    Pixels in [0, 1] have a large common mean, and Haar bands collect it in a few dimensions. With
    an offset of -1/2, which is on the grid of fixed point, these start near zero, where a prior
    wants them.

    Args:
        constant: what is added.

    Example:
        >>> Offset(-0.5)(torch.tensor([0.0, 0.5, 1.0])).tolist()
        [-0.5, 0.0, 0.5]
    """

    is_volume_preserving = True

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant = constant

    def forward(self, x: Stream) -> Stream:
        """Map x to x + constant, any shape."""
        return self._shifted(x, 1)

    def inverse(self, y: Stream) -> Stream:
        """Map y to y - constant, any shape."""
        return self._shifted(y, -1)

    def backtrack(
        self, y: Stream, grad: Tensor, replay: Replay, inverse: bool
    ) -> tuple[Stream, Tensor]:
        """Undo ``forward`` (or ``inverse``); the gradient stays as it is."""
        del replay  # no network is run
        return self._shifted(y, 1 if inverse else -1), grad

    def _shifted(self, x: Stream, sign: int) -> Stream:
        return shifted(x, torch.full_like(value(x), self.constant), sign)
