"""What blocks do with the stream between them, be it a float tensor or numbers on the grid."""

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

from genrev.reversible.fixed_point import FixedPoint
from genrev.reversible.layout import Order, cat_channels

__all__ = ["Stream", "joined", "shaped", "shifted", "value"]

Stream = TypeVar("Stream", Tensor, FixedPoint)


def value(stream: Tensor | FixedPoint) -> Tensor:
    """The numbers as floating point.

    Raises:
        TypeError: a tensor of whole numbers, in which shifts would be rounded.
    """
    if isinstance(stream, FixedPoint):
        return stream.value
    if not (stream.is_floating_point() or stream.is_complex()):
        raise TypeError(
            f"invertible blocks take floats and got {stream.dtype}; give x.float(), or "
            "x.float() / 255 for 8-bit pixels."
        )
    return stream


def shaped(stream: Tensor | FixedPoint) -> Tensor:
    """A tensor of the stream's shape and device."""
    return stream.steps if isinstance(stream, FixedPoint) else stream


def shifted(stream: Stream, shift: Tensor, sign: int) -> Stream:
    """Add (sign 1) or subtract (sign -1) a float shift; on the grid it is rounded first."""
    if isinstance(stream, FixedPoint):
        return stream.shifted(shift, sign)
    return stream + shift if sign == 1 else stream - shift


def joined(parts: Sequence[Stream], order: Order) -> Stream:
    """Parts (N, C_i, H, W) side by side along the channels, lying in this order in memory."""
    first = parts[0]
    if not isinstance(first, FixedPoint):
        return cat_channels(parts, order)
    traced = [part.traced for part in parts if part.traced is not None]
    return FixedPoint(
        cat_channels([part.steps for part in parts], order),
        first.dtype,
        cat_channels(traced, order) if len(traced) == len(parts) else None,
    )
