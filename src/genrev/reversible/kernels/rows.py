"""What f and g do beside their convolutions, on maps as matrices of one row per pixel.

A map (N, C, H, W) that lies with its channels innermost is a matrix of N H W rows and C columns.
Between two convolutions stand small operations: a cast, zeros that fill the channels up, a bias, a
ReLU, the stream that is shifted, and backwards the sums of columns that are a bias's gradient.
Each alone reads and writes the whole map. On CUDA, Triton joins them into one pass each; elsewhere
they are what PyTorch has.
Sums are added in an order that does not change from run to run.
"""

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from genrev.reversible.stream import shifted

_BLOCK = 4096  # numbers that one program takes
_SUMMED = 8192  # the same where it sums columns, enough to wait for memory seldom
FEWEST = 2**14  # numbers; below, it is launches that take time, and compiling
_PROGRAMS = 264  # at most that sum columns, each its share of the rows
_FEWEST_SUMS = 2**11  # the same, where PyTorch would launch several kernels
_MOST_SUMS = 512  # rows of what such programs leave to be added
_ACROSS = 8  # columns that one program adds up, 32 bytes of a row


def rows_of(x: Tensor) -> Tensor:
    """The pixels of a map (N, C, H, W) in channels_last order as a matrix (N H W, C), a view."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def maps_of(rows: Tensor, like: Tensor) -> Tensor:
    """Rows (N H W, C) as maps (N, C, H, W) of the size of another tensor's, a view."""
    n, _, height, width = like.shape
    return rows.view(n, height, width, -1).permute(0, 3, 1, 2)


def filled(rows: Tensor, columns: int, dtype: torch.dtype) -> Tensor:
    """The rows in another precision, with columns of zeros at their end."""
    more = columns - rows.shape[1]
    if not more:
        return rows.to(dtype)
    if not _joins(rows):
        return functional.pad(rows.to(dtype), (0, more))
    out = rows.new_empty((len(rows), columns), dtype=dtype)
    _launch("fill", (rows, out), out.numel(), rows.shape[1], columns)
    return out


def cropped(rows: Tensor, columns: int, dtype: torch.dtype, more: Tensor | None = None) -> Tensor:
    """The first columns in another precision, and what else is to be added to them."""
    least = FEWEST if more is None else _FEWEST_SUMS  # it saves two launches then
    if not _joins(rows, *_given(more), least=least):
        first = rows[:, :columns].to(dtype)
        return first if more is None else more + first
    out = rows.new_empty((len(rows), columns), dtype=dtype)
    adds = int(more is not None)
    tensors = rows, out if more is None else more, out
    _launch("crop", tensors, out.numel(), columns, rows.shape[1], adds)
    return out


def add_bias_and_relu(rows: Tensor, bias: Tensor) -> None:
    """Add a bias (c) and cut off what is negative, in place; further columns stay zero."""
    if not _joins(rows):
        rows[:, : len(bias)] += bias.to(rows.dtype)
        rows.relu_()
        return
    _launch("bias_relu", (rows, bias), rows.numel(), len(bias), rows.shape[1])


def with_bias(
    rows: Tensor, bias: Tensor, dtype: torch.dtype, stream: Tensor | None = None, sign: int = 1
) -> Tensor:
    """The first c columns, a bias (c) added, in another precision.

    Where a stream of that precision is given, they are added to it (sign 1) or subtracted (-1).
    """
    columns = len(bias)
    if not _joins(rows, *_given(stream)):
        shift = rows[:, :columns].to(dtype) + bias.to(dtype)
        return shift if stream is None else shifted(stream, shift, sign)
    out = rows.new_empty((len(rows), columns), dtype=dtype)
    tensors = rows, bias, out if stream is None else stream, out
    _launch(
        "with_bias", tensors, out.numel(), columns, rows.shape[1], 0 if stream is None else sign
    )
    return out


def filled_and_summed(
    rows: Tensor, columns: int, dtype: torch.dtype, sign: int = 1
) -> tuple[Tensor, Tensor]:
    """``filled``, and what adds up to the sums of the columns; both of ``-rows`` where sign is -1.

    The second is what ``added_up`` takes.
    """
    if not _joins(rows):
        rows = rows if sign == 1 else -rows
        return filled(rows, columns, dtype), rows
    out = rows.new_empty((len(rows), columns), dtype=dtype)
    return out, _summed("fill_sum", rows, out, rows.shape[1], columns, sign)


def masked_and_summed(rows: Tensor, activations: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """Zero where an activation is, and what adds up to the sums of the first columns.

    The second is what ``added_up`` takes. ``rows`` may be changed.
    """
    if not _joins(rows):
        masked = rows * (activations > 0)
        return masked, masked
    return rows, _summed("mask_sum", rows, activations, columns, rows.shape[1])


def added_up(
    partial: Tensor, columns: int, dtype: torch.dtype, more: Tensor | None = None
) -> Tensor:
    """The sums of the first columns, (columns,), of a matrix whose rows are still to be added.

    Where there is ``more``, they are added to it.
    """
    if not (_joins(partial, least=_FEWEST_SUMS) and len(partial) <= _MOST_SUMS):
        found = partial[:, :columns].sum(0).to(dtype)
        return found if more is None else more + found
    out = partial.new_empty(columns, dtype=dtype)
    down = max(2, 1 << (len(partial) - 1).bit_length())  # all of them, in one go
    constants = columns, partial.shape[1], int(more is not None), down, _ACROSS
    tensors = partial, out if more is None else more, out
    run_kernel("sum", (-(-columns // _ACROSS), 1, 1), tensors, len(partial), constants)
    return out


def _given(rows: Tensor | None) -> tuple[Tensor, ...]:
    return () if rows is None else (rows,)


def _joins(rows: Tensor, *others: Tensor, least: int = FEWEST) -> bool:
    """Whether Triton computes it, from these matrices."""
    large = rows.device.type == "cuda" and rows.numel() >= least
    return large and all(each.is_contiguous() for each in (rows, *others)) and find_triton()


@cache
def find_triton() -> bool:
    """Whether Triton is there, which PyTorch brings along for CUDA on Linux."""
    return find_spec("triton") is not None


def _launch(
    name: str, tensors: tuple[Tensor, ...], numbers: int, c: int, width: int, *more: int
) -> None:
    """Run a kernel on so many numbers, a block for each program."""
    run_kernel(name, (-(-numbers // _BLOCK), 1, 1), tensors, numbers, (c, width, *more, _BLOCK))


def _summed(name: str, first: Tensor, second: Tensor, c: int, width: int, *more: int) -> Tensor:
    """Run a kernel that sums columns, each program those of its share of the rows."""
    across = min(128, max(16, 1 << (width - 1).bit_length()))
    down, strips, count = _SUMMED // across, -(-width // across), len(first)
    programs = max(1, min(-(-count // down), _PROGRAMS // strips))
    share = -(-count // (down * programs))  # blocks of rows a program takes
    partial = first.new_empty((programs, width), dtype=torch.float32)
    constants = c, width, *more, share, down, across
    run_kernel(name, (programs, strips, 1), (first, second, partial), count, constants)
    return partial


_compiled: dict[tuple[Any, ...], Any] = {}


def run_kernel(
    name: str,
    grid: tuple[int, int, int],
    tensors: tuple[Tensor, ...],
    number: int,
    constants: tuple[int, ...],
) -> None:
    """Run a kernel of Triton, compiled at its first use with these constants."""
    device = tensors[0].device
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):  # Triton runs it on the current one, wherever tensors are
            return run_kernel(name, grid, tensors, number, constants)
    # To find out what to run, and where tensors lie, takes Triton longer than most kernels take.
    places = [t.data_ptr() for t in tensors]
    kinds = [t.dtype for t in tensors]
    aligned = [place % 16 == 0 for place in (*places, number)]
    # Triton takes 1 for a constant, and what int32 does not hold for another type.
    key = name, device, number == 1, number >= 2**31, *kinds, *aligned, *constants
    kernel = _compiled.get(key)
    if kernel is None:
        warps = 8 if name.endswith("sum") else 4
        _compiled[key] = _kernels()[name][grid](*tensors, number, *constants, num_warps=warps)
    else:
        kernel[grid](*places, number, *constants)
    return None


@cache
def _kernels() -> dict[str, Any]:
    """Compiled at their first use; Triton is imported here, as it is not everywhere."""
    from genrev.reversible.kernels import rows_triton

    return rows_triton.KERNELS
