"""The stream between blocks: floats, or whole numbers of steps, in an order that suits kernels.

**Fixed point.** In floating point (x + s) - s is x only up to rounding, and the error of a chain of
couplings grows with its depth. On a grid of steps of 2^-16 both operations are exact: with the
stream held as an int32 number of steps and every shift rounded to whole steps, the inverse recovers
the very same integers, however coarsely f and g computed the shift, as long as they compute it the
same way twice. f and g still see floats and still have gradients: where autograd looks on, a
``FixedPoint`` carries beside the integers their value as a float tensor, and the gradient passes
the rounding as if it were not there ("straight through").

**Order in memory.** Shapes are (N, C, H, W) everywhere. What a convolution wants, and returns, is
another order in memory: channels innermost on the CPU. A stream that stays in that order through
all couplings of a stage is never reordered between them, and sums of two tensors of one order run
at full speed; of two orders they take ten times as long.

**Halves.** A coupling splits the channels in two and joins them again, only for the next one to
split them in the same place. Between blocks that keep the halves apart, the stream is a pair of
tensors and is not copied: ``Halves``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import reduce
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.autograd import Function

from genrev.errors import GenrevError
from genrev.reversible.engine.execution import batched, transformed

Order = tuple[int, int, int, int]
"""Dimensions of (N, C, H, W) from the outermost in memory to the innermost; others have none."""

CONTIGUOUS: Order = (0, 1, 2, 3)
CHANNELS_LAST: Order = (0, 2, 3, 1)
ROWS: Order = (2, 0, 3, 1)  # what matrix_conv works on
_FORMATS = {CONTIGUOUS: torch.contiguous_format, CHANNELS_LAST: torch.channels_last}
_INVERSE = {CONTIGUOUS: CONTIGUOUS, CHANNELS_LAST: (0, 3, 1, 2), ROWS: (1, 3, 0, 2)}

GRID = 2.0**-16  # one step
LARGEST = 2.0**13  # magnitudes from here on are refused: a quarter of what int32 holds
_POISON = 2.0**30  # steps; more than two legal numbers can cancel, less than int32 overflows
_EXACT_STEPS = {torch.float32: 2**24, torch.float64: 2**53}


class FixedPoint(NamedTuple):
    """A tensor on the grid: int32 ``steps``, each of 2^-16.

    ``dtype`` is that of ``value``, and ``traced`` is the value with the autograd graph through it,
    ``None`` where nothing is traced.
    """

    steps: Tensor
    dtype: torch.dtype
    traced: Tensor | None = None

    @property
    def value(self) -> Tensor:
        """The same as floating point; float32 rounds magnitudes above 256, ``steps`` never are."""
        return _value(self.steps, self.dtype) if self.traced is None else self.traced

    @classmethod
    def of(cls, x: Tensor) -> "FixedPoint":
        """Round x (float32 or float64) to the grid, gradient straight through."""
        if x.dtype not in _EXACT_STEPS:
            raise TypeError(
                f"exact=True keeps the stream in steps of 2^-16 and takes float32 or float64, not "
                f"{x.dtype}; keep network and input in one of these (.float()), and use autocast "
                "to run f and g in lower precision."
            )
        steps = _whole_steps(x)
        if not torch.is_grad_enabled():
            return cls(steps, x.dtype)
        return cls(steps, x.dtype, _Carry.apply(_value(steps, x.dtype), x, None, 1))

    def shifted(self, shift: Tensor, sign: int) -> "FixedPoint":
        """Add (sign 1) or subtract (sign -1) a float shift after rounding it to whole steps."""
        steps = torch.add(self.steps, _whole_steps(shift), alpha=sign)
        if self.traced is None:
            return self._replace(steps=steps)
        traced = _Carry.apply(_value(steps, self.dtype), self.traced, shift, sign)
        return FixedPoint(steps, self.dtype, traced)

    def moved(self, move: Callable[[Tensor], Tensor]) -> "FixedPoint":
        """The result of a function that moves numbers about and does not change them."""
        traced = None if self.traced is None else move(self.traced)
        return FixedPoint(move(self.steps), self.dtype, traced)

    def chunk(self, pieces: int, dim: int = 1) -> list["FixedPoint"]:
        """Equal groups of the channels."""
        steps = self.steps.chunk(pieces, dim)
        traced = [None] * pieces if self.traced is None else self.traced.chunk(pieces, dim)
        return [FixedPoint(s, self.dtype, t) for s, t in zip(steps, traced, strict=True)]

    def peak(self) -> Tensor:
        """Largest magnitude in steps, a scalar on the device; past ``LARGEST`` after overflow."""
        if self.steps.numel() == 0:
            return self.steps.new_zeros(())
        low, high = torch.aminmax(self.steps)
        return torch.maximum(high, -low)

    def check(self, peaks: list[Tensor]) -> None:
        """Raise unless all went well so far and ``value`` holds the number exactly.

        ``peaks`` are ``peak()`` of the stream at the entry and after every block.
        """
        late = _late.get()
        if late is not None:
            late.append(Deferred(torch.stack(peaks), self.dtype))
            return
        try:  # one transfer from the device for the whole chain
            Deferred(torch.stack(peaks), self.dtype).check()
        except RuntimeError as error:
            if not transformed():
                raise
            raise TypeError(
                "exact=True looks at the numbers to refuse what is too large, which "
                "torch.func.vmap does not allow; give the chain a batch, or use exact=False."
            ) from error


class Deferred(NamedTuple):
    """How far an exact chain went, which is still to be looked at.

    ``peaks`` are its magnitudes in steps, at the entry and after every block; the chain ends with
    numbers of ``dtype``.
    """

    peaks: Tensor
    dtype: torch.dtype

    def check(self) -> None:
        """Raise the ``error`` if there is one."""
        if error := self.error():
            raise error

    def error(self) -> GenrevError | None:
        """What is wrong, unless nothing overflowed and the result is exact."""
        # What a transform has wrapped is no list in torch 2.7.
        peaks = [peak.item() for peak in self.peaks] if transformed() else self.peaks.tolist()
        last = peaks[-1]
        if max(peaks) >= LARGEST / GRID:
            return GenrevError(
                f"exact=True holds magnitudes below {LARGEST:.0f}, and the chain reached more, or "
                "a number that is not finite; lower the learning rate or use exact=False."
            )
        if last > _EXACT_STEPS[self.dtype]:
            return GenrevError(
                f"The chain ends with a magnitude of {last * GRID:.0f} and float32 has steps of "
                "2^-16 up to 256 only; give the chain float64 tensors or use exact=False."
            )
        return None


_late: ContextVar[list[Deferred] | None] = ContextVar("late", default=None)


@contextmanager
def deferred_checks() -> Iterator[list[Deferred]]:
    """Within it, exact chains do not check how far they went.

    What is to be checked is collected in the list that it gives: later, on a device that the host
    would have to wait for, or on all ranks of a training together.
    """
    late: list[Deferred] = []
    token = _late.set(late)
    try:
        yield late
    finally:
        _late.reset(token)


def round_to_grid(x: Tensor) -> Tensor:
    """Nearest multiples of 2^-16; a tensor that ``exact=True`` gives back bit for bit.

    x is float32 of magnitude up to 256, or float64 up to 8192.

    Example:
        Pixels k/255 move by less than 2^-17 and are the same 8-bit numbers as before:

        >>> pixels = torch.arange(256)
        >>> x = round_to_grid(pixels / 255)
        >>> torch.equal((x * 255).round().int(), pixels.int())
        True
    """
    return FixedPoint.of(x).value


class Halves(NamedTuple):
    """A stream as the two halves of its channels, (N, C/2, ...) each; ``dim`` is the channels'."""

    first: Any
    second: Any
    dim: int = 1


Stream = TypeVar("Stream", Tensor, FixedPoint)


def halves(both: Sequence[Any], dim: int = 1) -> Halves:
    """Two tensors, or numbers on the grid, as a stream."""
    first, second = both
    return Halves(first, second, dim)


def parts(stream: Any) -> tuple[Any, ...]:
    """The tensors, or numbers on the grid, that a stream is made of: one or two."""
    # No slice: the compiler of torch 2.7 cannot read one of a named tuple.
    return (stream.first, stream.second) if isinstance(stream, Halves) else (stream,)


def whole(stream: Any) -> Any:
    """The stream as one tensor, or one ``FixedPoint``."""
    return joined(parts(stream), CONTIGUOUS, stream.dim) if isinstance(stream, Halves) else stream


def as_parts(stream: Any, count: int, dim: int = 1) -> Any:
    """The stream as a whole (1), or in halves (2) of its dimension ``dim``."""
    if count == 1 or (isinstance(stream, Halves) and stream.dim != dim):
        stream = whole(stream)
    if count == 1 or isinstance(stream, Halves):
        return stream
    return halves(stream.chunk(2, dim), dim)


def peak(stream: Any) -> Tensor:
    """``FixedPoint.peak`` of a stream, be it in halves."""
    return reduce(torch.maximum, [part.peak() for part in parts(stream)])


def moved(x: Stream, move: Callable[[Tensor], Tensor]) -> Stream:
    """The result of a function that moves numbers about and does not change them."""
    return x.moved(move) if isinstance(x, FixedPoint) else move(x)


def value(stream: Tensor | FixedPoint) -> Tensor:
    """The numbers as floating point; a tensor of whole numbers raises ``TypeError``."""
    if isinstance(stream, FixedPoint):
        return stream.value
    if not (stream.is_floating_point() or stream.is_complex()):
        raise TypeError(
            f"Invertible blocks take floats and got {stream.dtype}; give x.float(), or "
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


def joined(parts: Sequence[Stream], order: Order, dim: int = 1) -> Stream:
    """Parts (N, C_i, ...) side by side along ``dim``, lying in this order in memory."""
    if not isinstance(parts[0], FixedPoint):
        return cat_channels(parts, order, dim)
    steps = cat_channels([part.steps for part in parts], order, dim)
    traced = [part.traced for part in parts if part.traced is not None]
    whole = cat_channels(traced, order, dim) if len(traced) == len(parts) else None
    return FixedPoint(steps, parts[0].dtype, whole)


def laid_out(x: Stream, order: Order) -> Stream:
    """x itself if it lies densely in this order, otherwise a copy that does."""
    if isinstance(x, FixedPoint):
        return x.moved(lambda part: laid_out(part, order))
    if x.dim() != len(order):
        return x.contiguous()
    memory_format = _FORMATS.get(order)
    # One operation in place of three, where it is not batched, and a compiler does not look on.
    if memory_format is not None and (torch.compiler.is_compiling() or not batched(x)):
        return x.contiguous(memory_format=memory_format)
    return x.permute(order).contiguous().permute(_INVERSE[order])


def cat_channels(pieces: Sequence[Tensor], order: Order, dim: int = 1) -> Tensor:
    """Join (N, C_i, ...) along the channels; the result lies in this order."""
    if pieces[0].dim() != len(order):  # no images: the only order is PyTorch's
        return torch.cat(list(pieces), dim)
    parts = [piece.permute(order) for piece in pieces]
    channels = order.index(dim)
    seen = torch.compiler.is_compiling() or transformed() or any(map(batched, pieces))
    if seen or torch.is_grad_enabled():
        return torch.cat(parts, dim=channels).permute(_INVERSE[order])
    # No view, for autograd forbids to edit a view that a Function returned.
    first = pieces[0]
    shape = list(first.shape)
    shape[dim] = sum(piece.shape[dim] for piece in pieces)
    joined = torch.empty_permuted(shape, order, dtype=first.dtype, device=first.device)
    torch.cat(parts, dim=channels, out=joined.permute(order))
    return joined


def _whole_steps(x: Tensor) -> Tensor:
    scaled = (x.detach() if x.dtype == torch.float64 else x.detach().float()) / GRID
    # Casting NaN or a large float to int32 is undefined, and each device does as it likes.
    return scaled.round_().nan_to_num_(_POISON).clamp_(-_POISON, _POISON).to(torch.int32)


def _value(steps: Tensor, dtype: torch.dtype) -> Tensor:
    return steps.to(dtype).mul_(GRID)


class _Carry(Function):
    """``result`` with the gradients of ``stream + sign * shift``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(result: Tensor, stream: Tensor, shift: Tensor | None, sign: int) -> Tensor:
        return result.view_as(result)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, _, shift, ctx.sign = inputs
        ctx.shift_dtype = None if shift is None else shift.dtype

    @staticmethod
    def jvp(ctx: Any, result: Tensor, stream: Tensor, shift: Tensor | None, sign: int) -> Tensor:
        tangent = stream if shift is None else stream + ctx.sign * shift
        return tangent.view_as(tangent)  # as forward does

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor | None, None]:
        if ctx.shift_dtype is None:
            return None, grad, None, None
        return None, grad, (grad if ctx.sign == 1 else -grad).to(ctx.shift_dtype), None
