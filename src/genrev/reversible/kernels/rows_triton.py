"""The Triton kernels of ``rows`` and ``patches``; imported on CUDA alone, where Triton is there.

The tensors of ``rows`` are contiguous matrices. ``c`` counts the columns that mean something and
``width`` all that lie in memory. The constants are the sizes of what one program works on.
"""

from typing import Any

import triton
import triton.language as tl


@triton.jit
def _wider(place, c: tl.constexpr, width: tl.constexpr):
    """Where a number of c columns lies in a matrix of more."""
    if c == width:  # which a compiler does not see, and loads of several numbers rest on
        return place
    return place // c * width + place % c


@triton.jit
def _fill(rows, out, numbers, c: tl.constexpr, width: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row, column = place // width, place % width
    x = tl.load(rows + row * c + column, mask=(place < numbers) & (column < c), other=0.0)
    tl.store(out + place, x.to(out.dtype.element_ty), mask=place < numbers)


@triton.jit
def _bias_relu(rows, bias, numbers, c: tl.constexpr, width: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    column = place % width
    x = tl.load(rows + place, mask=place < numbers, other=0.0).to(tl.float32)
    b = tl.load(bias + column, mask=column < c, other=0.0).to(tl.float32)
    # Not a maximum, which would take NaN for 0.
    y = tl.where(x + b < 0, 0.0, x + b)
    tl.store(rows + place, y.to(rows.dtype.element_ty), mask=place < numbers)


@triton.jit
def _with_bias(
    rows, bias, stream, out, numbers, c: tl.constexpr, width: tl.constexpr, SIGN: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(rows + _wider(place, c, width), mask=place < numbers, other=0.0).to(tl.float32)
    b = tl.load(bias + place % c).to(tl.float32)
    y = (x + b).to(out.dtype.element_ty)
    if SIGN != 0:  # else there is no stream
        s = tl.load(stream + place, mask=place < numbers, other=0.0).to(tl.float32)
        y = (s + SIGN * y.to(tl.float32)).to(out.dtype.element_ty)
    tl.store(out + place, y, mask=place < numbers)


@triton.jit
def _fill_sum(
    rows, out, partial, count, c: tl.constexpr, width: tl.constexpr, SIGN: tl.constexpr,
    SHARE: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr,
):  # fmt: skip
    columns = tl.program_id(1) * ACROSS + tl.arange(0, ACROSS)
    first = tl.program_id(0).to(tl.int64) * SHARE * DOWN
    total = tl.zeros((DOWN, ACROSS), tl.float32)
    for number in range(SHARE):
        r = first + number * DOWN + tl.arange(0, DOWN)
        inside = (r < count)[:, None]
        x = tl.load(
            rows + r[:, None] * c + columns[None, :],
            mask=inside & (columns < c)[None, :], other=0.0,
        ).to(tl.float32) * SIGN  # fmt: skip
        total += x
        tl.store(
            out + r[:, None] * width + columns[None, :], x.to(out.dtype.element_ty),
            mask=inside & (columns < width)[None, :],
        )  # fmt: skip
    tl.store(partial + tl.program_id(0) * width + columns, tl.sum(total, 0), mask=columns < width)


@triton.jit
def _mask_sum(
    rows, activations, partial, count, c: tl.constexpr, width: tl.constexpr, SHARE: tl.constexpr,
    DOWN: tl.constexpr, ACROSS: tl.constexpr,
):  # fmt: skip
    columns = tl.program_id(1) * ACROSS + tl.arange(0, ACROSS)
    first = tl.program_id(0).to(tl.int64) * SHARE * DOWN
    total = tl.zeros((DOWN, ACROSS), tl.float32)
    for number in range(SHARE):
        r = first + number * DOWN + tl.arange(0, DOWN)
        inside = (r < count)[:, None] & (columns < width)[None, :]
        places = r[:, None] * width + columns[None, :]
        x = tl.load(rows + places, mask=inside, other=0.0).to(tl.float32)
        h = tl.load(activations + places, mask=inside, other=0.0).to(tl.float32)
        x = tl.where(h > 0, x, 0.0)
        total += x
        tl.store(rows + places, x.to(rows.dtype.element_ty), mask=inside)
    tl.store(partial + tl.program_id(0) * width + columns, tl.sum(total, 0), mask=columns < width)


@triton.jit
def _sum(
    partial, more, out, count, c: tl.constexpr, width: tl.constexpr, ADDS: tl.constexpr,
    DOWN: tl.constexpr, ACROSS: tl.constexpr,
):  # fmt: skip
    columns = tl.program_id(0) * ACROSS + tl.arange(0, ACROSS)
    r = tl.arange(0, DOWN)
    places = r[:, None] * width + columns[None, :]
    inside = (r < count)[:, None] & (columns < c)[None, :]
    x = tl.load(partial + places, mask=inside, other=0.0).to(tl.float32)
    y = tl.sum(x, 0).to(out.dtype.element_ty)
    if ADDS:  # else there is nothing more
        m = tl.load(more + columns, mask=columns < c, other=0.0).to(tl.float32)
        y = (m + y.to(tl.float32)).to(out.dtype.element_ty)
    tl.store(out + columns, y, mask=columns < c)


@triton.jit
def _crop(
    rows, more, out, numbers, c: tl.constexpr, width: tl.constexpr, ADDS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(rows + _wider(place, c, width), mask=place < numbers, other=0.0)
    y = x.to(out.dtype.element_ty)
    if ADDS:  # else there is nothing more
        m = tl.load(more + place, mask=place < numbers, other=0.0).to(tl.float32)
        y = (m + y.to(tl.float32)).to(out.dtype.element_ty)
    tl.store(out + place, y, mask=place < numbers)


@triton.jit
def _places(FAR: tl.constexpr, BLOCK: tl.constexpr):
    """Of the numbers of a program, which may be more than int32 counts."""
    program = tl.program_id(0).to(tl.int64) if FAR else tl.program_id(0)
    return program * BLOCK + tl.arange(0, BLOCK)


# A patch is spread to channels in the order of positions (down, right) 00, 11, 01, 10.


@triton.jit
def _spread(
    x, out, numbers, c: tl.constexpr, height: tl.constexpr, width: tl.constexpr,
    N: tl.constexpr, C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, FAR: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    place = _places(FAR, BLOCK)
    pixel, position, channel = place // (4 * c), place // c % 4, place % c
    down, right = position % 2, (position + 1) // 2 % 2
    row, column = pixel // (width // 2), pixel % (width // 2)
    image, row = row // (height // 2), row % (height // 2)
    there = image * N + channel * C + (2 * row + down) * H + (2 * column + right) * W
    tl.store(out + place, tl.load(x + there, mask=place < numbers), mask=place < numbers)


@triton.jit
def _merge(
    x, out, numbers, c: tl.constexpr, height: tl.constexpr, width: tl.constexpr,
    N: tl.constexpr, C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, FAR: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    place = _places(FAR, BLOCK)
    pixel, channel = place // c, place % c
    row, column = pixel // width, pixel % width
    image, row = row // height, row % height
    down, right = row % 2, column % 2
    position = down + 2 * (down ^ right)
    there = image * N + (position * c + channel) * C + row // 2 * H + column // 2 * W
    tl.store(out + place, tl.load(x + there, mask=place < numbers), mask=place < numbers)


KERNELS: dict[str, Any] = {
    "fill": _fill,
    "crop": _crop,
    "bias_relu": _bias_relu,
    "with_bias": _with_bias,
    "fill_sum": _fill_sum,
    "mask_sum": _mask_sum,
    "sum": _sum,
    "spread": _spread,
    "merge": _merge,
}
