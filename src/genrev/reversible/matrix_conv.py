"""A padded convolution on a small map as the matrix products that it is, without copies.

A 3x3 convolution on a 2x2 map meets the zeros of the border more often than the map: 44 % of its
multiplications are of use, on 4x4 69 %. And a convolution kernel first reorders the weights, which
here are far larger than the maps. Both are avoided by products of plain matrices that are views
of weights, input and output. Weights lie as (O, K, K, I) (PyTorch's ``channels_last``), maps as
(H, N, W, C). The output pixels of column j at row tap a are then::

    y[rows, :, j, :]  +=  x[rows + a, :, j-1 : j+2, :]  @  weight[:, a, 1-1 : 1+2, :]^T
    (rows * N, O)         (rows * N, 3 I)                  (O, 3 I)

where rows and columns outside the map are left out, not multiplied by zero. Neighbouring columns
and neighbouring taps are both adjacent in memory, so each of the three is one strided matrix.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

__all__ = ["matrix_conv2d"]


def matrix_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``functional.conv2d`` with stride 1 and "same" zero padding, on the CPU.

    Args:
        x: maps (N, I, H, W).
        weight: kernels (O, I, K, K), K odd; fast when laid out as ``torch.channels_last``.
        bias: (O,) or ``None``.

    Returns:
        (N, O, H, W), strided so that the next ``matrix_conv2d`` needs no copy. Under autocast of
        its dtype, as with ``conv2d``.
    """
    dtype = x.dtype
    if torch.is_autocast_enabled("cpu") and dtype != torch.float64:
        dtype = torch.get_autocast_dtype("cpu")
    if torch.is_grad_enabled():
        return _MatrixConv2d.apply(x, weight, bias, dtype)
    return _forward(x, _kernel_matrix(weight, dtype), bias, weight.shape[2])


class _MatrixConv2d(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        kernels = _kernel_matrix(weight, dtype)  # a view, or a cast that is worth keeping
        ctx.save_for_backward(x, weight, kernels)
        ctx.bias_dtype = None if bias is None else bias.dtype
        return _forward(x, kernels, bias, weight.shape[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, kernels = ctx.saved_tensors
        dtype = kernels.dtype
        need_x, need_weight, need_bias, _ = ctx.needs_input_grad
        if torch.is_grad_enabled():  # second derivatives: by PyTorch's own formulas
            grads = _differentiable_backward(x, weight, grad, dtype)
            return *grads, grad.sum((0, 2, 3)).to(ctx.bias_dtype) if need_bias else None, None
        grad_rows = _to_rows(grad, dtype)
        grad_bias = grad_rows.sum((0, 1, 2), dtype=ctx.bias_dtype) if need_bias else None
        grad_x = _backward_input(grad_rows, kernels, weight).to(x.dtype) if need_x else None
        grad_weight = _backward_weight(grad_rows, x, weight) if need_weight else None
        return grad_x, grad_weight, grad_bias, None


def _to_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, C, H, W) to (H, N, W, C), contiguous."""
    return x.to(dtype).permute(2, 0, 3, 1).contiguous()


def _from_rows(x: Tensor) -> Tensor:
    """(H, N, W, C) to (N, C, H, W), a view."""
    return x.permute(1, 3, 0, 2)


def _kernel_matrix(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """(O, I, K, K) to (O, K * K * I), a view when laid out as channels_last in this dtype."""
    return weight.detach().permute(0, 2, 3, 1).to(dtype).reshape(len(weight), -1)


def _columns(rows: Tensor, first: int, last: int) -> Tensor:
    """Columns of (h, N, W, C) as a matrix (h * N, columns * C), a view."""
    h, n, width, channels = rows.shape
    return rows.view(h * n, width * channels)[:, first * channels : last * channels]


def _overlap(size: int, offset: int) -> tuple[int, int]:
    """Range of positions that are in the map and, moved by the offset, are in it still."""
    return max(0, -offset), size - max(0, offset)


def _products(
    x: Tensor, y: Tensor, kernels: Tensor, kernel_size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Views (part of x, part of y, part of kernels), each a matrix; the module's text shows them.

    Args:
        x: input (H, N, W, I).
        y: output (H, N, W, O).
        kernels: (O, K * K * I).
        kernel_size: K.
    """
    height, _, width, channels = x.shape
    reach = kernel_size // 2
    for a in range(-reach, reach + 1):
        low, high = _overlap(height, a)
        if high <= low:
            continue
        for j in range(width):
            first, last = max(0, j - reach), min(width, j + reach + 1)
            tap = (a + reach) * kernel_size + first - j + reach
            taps = slice(tap * channels, (tap + last - first) * channels)
            yield (
                _columns(x[low + a : high + a], first, last),
                _columns(y[low:high], j, j + 1),
                kernels[:, taps],
            )


@torch.no_grad()
@torch.autocast("cpu", enabled=False)
def _forward(x: Tensor, kernels: Tensor, bias: Tensor | None, kernel_size: int) -> Tensor:
    rows = _to_rows(x, kernels.dtype)  # (H, N, W, I)
    y = rows.new_empty((*rows.shape[:3], len(kernels)))
    y.copy_(bias) if bias is not None else y.zero_()
    for x_part, y_part, kernel_part in _products(rows, y, kernels, kernel_size):
        torch.addmm(y_part, x_part, kernel_part.t(), out=y_part)
    return _from_rows(y)


@torch.autocast("cpu", enabled=False)
def _backward_input(grad: Tensor, kernels: Tensor, weight: Tensor) -> Tensor:
    grad_x = grad.new_zeros((*grad.shape[:3], weight.shape[1]))
    for x_part, y_part, kernel_part in _products(grad_x, grad, kernels, weight.shape[2]):
        torch.addmm(x_part, y_part, kernel_part, out=x_part)
    return _from_rows(grad_x)


@torch.autocast("cpu", enabled=False)
def _backward_weight(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """One product per tap: every weight's gradient is written once."""
    rows = _to_rows(x, grad.dtype)
    height, n, width, channels = rows.shape
    out_channels, kernel_size, reach = len(weight), weight.shape[2], weight.shape[2] // 2
    result = weight.new_empty(out_channels, kernel_size, kernel_size, channels)
    for a in range(-reach, reach + 1):
        low, high = _overlap(height, a)
        for b in range(-reach, reach + 1):
            left, right = _overlap(width, b)
            tap = result[:, a + reach, b + reach]  # (O, I)
            if high <= low or right <= left:
                tap.zero_()
                continue
            pixels = (high - low) * n * (right - left)
            grad_part = grad[low:high, :, left:right].reshape(pixels, out_channels)
            x_part = rows[low + a : high + a, :, left + b : right + b].reshape(pixels, channels)
            if grad.dtype == weight.dtype:
                torch.mm(grad_part.t(), x_part, out=tap)
            else:
                tap.copy_(torch.mm(grad_part.t(), x_part))
    return result.permute(0, 3, 1, 2)


def _differentiable_backward(
    x: Tensor, weight: Tensor, grad: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    padding = [weight.shape[2] // 2] * 2
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad.to(dtype), x.to(dtype), weight.to(dtype), None,
        [1, 1], padding, [1, 1], False, [0, 0], 1, [True, True, False],
    )  # fmt: skip
    return grad_x.to(x.dtype), grad_weight.to(weight.dtype)
