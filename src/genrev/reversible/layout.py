"""In which order the numbers of the stream lie in memory.

Shapes are (N, C, H, W) everywhere. What a convolution wants, and returns, is another order in
memory: channels innermost on the CPU. A stream that stays in that order through all couplings of
a stage is never reordered between them, and sums of two tensors of one order run at full speed;
of two orders they take ten times as long.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from genrev.reversible.tracing import transformed

__all__ = ["CHANNELS_LAST", "CONTIGUOUS", "ROWS", "Order", "cat_channels", "laid_out"]

Order = tuple[int, int, int, int]
"""Dimensions of (N, C, H, W) from the outermost in memory to the innermost."""

CONTIGUOUS: Order = (0, 1, 2, 3)
CHANNELS_LAST: Order = (0, 2, 3, 1)
ROWS: Order = (2, 0, 3, 1)  # what matrix_conv works on
_INVERSE = {CONTIGUOUS: CONTIGUOUS, CHANNELS_LAST: (0, 3, 1, 2), ROWS: (1, 3, 0, 2)}


def laid_out(x: Tensor, order: Order) -> Tensor:
    """x itself if it lies densely in this order, otherwise a copy that does.

    Example:
        >>> laid_out(torch.rand(2, 3, 4, 4), CHANNELS_LAST).stride()
        (48, 1, 12, 3)
    """
    return x.permute(order).contiguous().permute(_INVERSE[order])


def cat_channels(pieces: Sequence[Tensor], order: Order, *, gradients: bool = False) -> Tensor:
    """Join (N, C_i, H, W) along the channels; the result lies in this order."""
    parts = [piece.permute(order) for piece in pieces]
    channels = order.index(1)
    if gradients or torch.is_grad_enabled() or torch.compiler.is_compiling() or transformed():
        return torch.cat(parts, dim=channels).permute(_INVERSE[order])
    # No view, for autograd forbids to edit a view that a Function returned.
    n, _, height, width = pieces[0].shape
    joined = torch.empty_permuted(
        (n, sum(piece.shape[1] for piece in pieces), height, width),
        order,
        dtype=pieces[0].dtype,
        device=pieces[0].device,
    )
    torch.cat(parts, dim=channels, out=joined.permute(order))
    return joined
