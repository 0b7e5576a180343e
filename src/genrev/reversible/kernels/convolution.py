"""A convolution that is computed in the way that suits the size of its maps.

Same parameters, ``state_dict`` and values (up to rounding) as ``nn.Conv2d``; on the CPU small maps
with many channels go through plain matrix products, everything else through PyTorch's kernels in
channels_last order.

**As matrices, without copies.** A 3x3 convolution on a 2x2 map meets the zeros of the border more
often than the map: 44 % of its multiplications are of use, on 4x4 69 %. And a convolution kernel
first reorders the weights, which here are far larger than the maps. Both are avoided by products of
plain matrices that are views of weights, input and output. Weights lie as (O, K, K, I) (PyTorch's
``channels_last``), maps as (H, N, W, C). The output pixels of column j at row tap a are then::

    y[rows, :, j, :]  +=  x[rows + a, :, j-1 : j+2, :]  @  weight[:, a, 1-1 : 1+2, :]^T
    (rows * N, O)         (rows * N, 3 I)                  (O, 3 I)

where rows and columns outside the map are left out, not multiplied by zero. Neighbouring columns
and neighbouring taps are both adjacent in memory, so each of the three is one strided matrix.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function

from genrev.reversible.engine.execution import batched, transformed
from genrev.reversible.kernels.low_precision import cast_weight
from genrev.reversible.stream import CHANNELS_LAST, CONTIGUOUS, ROWS, Order, laid_out

# Most pixels of a map, and fewest multiplications per pixel and tap of the kernel (images x
# channels in x channels out), for which products of matrices were the faster way on two cores with
# AVX-512, in float32 and bfloat16 together. Below, it is their number that costs, not their size.
_MATRICES = ((1, 0), (4, 500_000), (16, 2_000_000))

# Up to this length a sum in low precision is no faster than in that of the weights, for what
# takes time is to write the result, which would have to be converted as well.
_SHORT_SUM = 32


# Devices with tensor cores; meta stands for CUDA, so that its operations can be counted anywhere.
TENSOR_CORES = ("cuda", "meta")


class SmallMapConv2d(nn.Conv2d):
    """``nn.Conv2d`` with stride 1 and "same" zero padding that is fast on small maps.

    It maps (N, in_channels, H, W) to (N, out_channels, H, W); ``kernel_size`` is odd. The weight
    has the shape of ``nn.Conv2d``'s and lies in memory as ``torch.channels_last``.

    Example:
        >>> conv = SmallMapConv2d(3, 5, 3).double()
        >>> plain = nn.Conv2d(3, 5, 3, padding=1).double()
        >>> _ = plain.load_state_dict(conv.state_dict())
        >>> x = torch.rand(4, 3, 2, 2, dtype=torch.float64)
        >>> torch.allclose(conv(x), plain(x))
        True
    """

    repeatable: ClassVar[bool] = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd to be centred and is {kernel_size}.")
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.weight = nn.Parameter(self.weight.detach().to(memory_format=torch.channels_last))

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        # In a state dict the weight lies as nn.Conv2d's does: safetensors refuses other layouts.
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if not keep_vars and prefix + "weight" in destination:  # else it is parametrized
            destination[prefix + "weight"] = destination[prefix + "weight"].contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        order = self.order(x)
        if order == ROWS and x.shape[1] == self.in_channels:
            return matrix_conv2d(x, self.weight, self.bias)
        y = super().forward(laid_out(x, order) if x.dim() == 4 else x)
        if order != CONTIGUOUS and y.requires_grad:
            # The kernels for 1x1 sum the bias's gradient in the order in which the output's lies,
            # which is not the same in memory="stored" (a slice of channels) and "reversible".
            y.register_hook(lambda grad: None if grad is None else laid_out(grad, order))
        return y

    def order(self, x: Tensor) -> Order:
        """Order in memory in which the convolution takes x without a copy; it returns the same."""
        # A compiler, an exporter and a transform want one operation.
        traced = torch.compiler.is_compiling() or transformed()
        if x.dim() != 4 or traced or not x.is_floating_point():
            return CONTIGUOUS
        if x.device.type != "cpu":
            # What tensor cores work in; they have no float64.
            fast = x.device.type in TENSOR_CORES and x.dtype != torch.float64
            return CHANNELS_LAST if fast else CONTIGUOUS
        pixels = x.shape[2] * x.shape[3]
        multiplications = len(x) * self.in_channels * self.out_channels
        if pixels and any(pixels <= p and multiplications >= max(1, m) for p, m in _MATRICES):
            return ROWS
        return CHANNELS_LAST


def matrix_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``conv2d`` of (N, I, H, W) with stride 1 and "same" zero padding, on the CPU.

    The kernels (O, I, K, K), K odd, are fast when laid out as ``torch.channels_last``. The result
    (N, O, H, W) lies so that the next ``matrix_conv2d`` needs no copy.
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
        # Second derivatives and many gradients at once go by PyTorch's own formulas.
        if torch.is_grad_enabled() or transformed() or batched(grad):
            grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
                grad.to(dtype), x.to(dtype), weight.to(dtype), None,
                [1, 1], [weight.shape[2] // 2] * 2, [1, 1], False, [0, 0], 1, [True, True, False],
            )  # fmt: skip
            grad_bias = grad.sum((0, 2, 3)).to(ctx.bias_dtype) if need_bias else None
            return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias, None
        grad_rows = _to_rows(grad, dtype)
        grad_bias = grad_rows.sum((0, 1, 2), dtype=ctx.bias_dtype) if need_bias else None
        grad_x = _backward_input(grad_rows, kernels, weight).to(x.dtype) if need_x else None
        grad_weight = _backward_weight(grad_rows, x, weight) if need_weight else None
        return grad_x, grad_weight, grad_bias, None


def _to_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, C, H, W) to (H, N, W, C), contiguous."""
    return x.to(dtype).permute(2, 0, 3, 1).contiguous()


def _kernel_matrix(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """(O, I, K, K) to (O, K * K * I), a view when laid out as channels_last in this dtype."""
    return cast_weight(weight, dtype).permute(0, 2, 3, 1).reshape(len(weight), -1)


def _overlap(size: int, offset: int) -> tuple[int, int]:
    """Range of positions that are in the map and, moved by the offset, are in it still."""
    return max(0, -offset), size - max(0, offset)


class _Matrix(NamedTuple):
    """Where a matrix lies in a tensor: size, stride, offset."""

    size: tuple[int, int]
    stride: tuple[int, int]
    start: int

    def of(self, x: Tensor) -> Tensor:
        """The matrix, in one step: slicing in Python would take as long as a small product."""
        return x.as_strided(self.size, self.stride, x.storage_offset() + self.start)


@lru_cache(maxsize=1024)
def _plan(
    height: int, n: int, width: int, i: int, o: int, kernel_size: int, by_taps: bool
) -> list[tuple[_Matrix, _Matrix, _Matrix]]:
    """Where the factors of all products lie in input, output and kernels."""
    reach = kernel_size // 2
    plan = []
    for a in range(-reach, reach + 1):
        low, high = _overlap(height, a)
        for tap, taps, x_column, y_column, columns in _spans(width, reach, by_taps):
            if high <= low:
                continue
            rows = (high - low) * n * columns
            step = 1 if columns == width else width  # all columns are one matrix
            x_start, y_start = (low + a) * n * width + x_column, low * n * width + y_column
            k_start = (a + reach) * kernel_size + tap
            x = _Matrix((rows, taps * i), (step * i, 1), x_start * i)
            y = _Matrix((rows, o), (step * o, 1), y_start * o)
            plan.append((x, y, _Matrix((taps * i, o), (1, kernel_size**2 * i), k_start * i)))
    return plan


def _spans(width: int, reach: int, by_taps: bool) -> Iterator[tuple[int, int, int, int, int]]:
    """First tap of a row of the kernel, number of taps, columns where they meet input and output.

    One product per tap, which reads every weight once, is for widths of 1 and 2, where the last
    number is that of the columns that it covers. Or one per output column: few products, long sums.
    """
    if by_taps:
        for b in range(-reach, reach + 1):
            left, right = _overlap(width, b)
            if right > left:
                yield b + reach, 1, left + b, left, right - left
    else:
        for j in range(width):
            first, last = max(0, j - reach), min(width, j + reach + 1)
            yield first - j + reach, last - first, first, j, 1


def _products(
    x: Tensor, y: Tensor, kernels: Tensor, kernel_size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Matrices in input (H, N, W, I), output (H, N, W, O) and kernels (O, K K I), transposed."""
    # In bfloat16 there is less to read, and the few long sums are faster on any map.
    by_taps = x.shape[2] <= 2 and x.element_size() >= 4
    for parts in _plan(*x.shape, y.shape[3], kernel_size, by_taps):
        yield parts[0].of(x), parts[1].of(y), parts[2].of(kernels)


@torch.no_grad()
@torch.autocast("cpu", enabled=False)
def _forward(x: Tensor, kernels: Tensor, bias: Tensor | None, kernel_size: int) -> Tensor:
    rows = _to_rows(x, kernels.dtype)  # (H, N, W, I)
    y = rows.new_empty((*rows.shape[:3], len(kernels)))
    y.copy_(bias) if bias is not None else y.zero_()
    for x_part, y_part, kernel_part in _products(rows, y, kernels, kernel_size):
        torch.addmm(y_part, x_part, kernel_part, out=y_part)
    return y.permute(1, 3, 0, 2)  # (N, O, H, W)


@torch.autocast("cpu", enabled=False)
def _backward_input(grad: Tensor, kernels: Tensor, weight: Tensor) -> Tensor:
    grad_x = grad.new_zeros((*grad.shape[:3], weight.shape[1]))
    for x_part, y_part, kernel_part in _products(grad_x, grad, kernels, weight.shape[2]):
        torch.addmm(x_part, y_part, kernel_part.t(), out=x_part)
    return grad_x.permute(1, 3, 0, 2)  # (N, I, H, W)


@torch.autocast("cpu", enabled=False)
def _backward_weight(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    rows = _to_rows(x, grad.dtype)
    grad_weight = torch.empty_like(weight, memory_format=torch.channels_last)
    # Not the other way round: autograd adds to a gradient in place only if it is no view.
    result = grad_weight.permute(0, 2, 3, 1)  # (O, K, K, I)
    if grad.dtype == weight.dtype and _many_pixels(rows, weight):
        _sum_by_columns(grad, rows, result.zero_())
    else:
        _sum_by_taps(grad, rows, result)
    return grad_weight


def _many_pixels(rows: Tensor, weight: Tensor) -> bool:
    """Whether it is less to add to the weights for every column than to copy pixels for a tap."""
    pixels, width = rows.shape[:3].numel(), rows.shape[2]
    outputs, inputs, size, _ = weight.shape
    copied = size * (size - 1) * pixels * (inputs + outputs)  # by the taps that leave a column out
    return width > 1 and copied > 2 * (width - 1) * weight.numel()


def _sum_by_columns(grad: Tensor, rows: Tensor, result: Tensor) -> None:
    """The products of the forward pass, whose factors are matrices as they lie."""
    for x_part, y_part, part in _products(rows, grad, result, result.shape[1]):
        torch.addmm(part.t(), y_part.t(), x_part, out=part.t())


def _sum_by_taps(grad: Tensor, rows: Tensor, result: Tensor) -> None:
    """One product per tap: every weight's gradient is written once, and pixels are copied."""
    height, n, width, channels = rows.shape
    out_channels, reach = len(result), result.shape[1] // 2
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
            if pixels <= _SHORT_SUM:
                grad_part, x_part = grad_part.to(result.dtype), x_part.to(result.dtype)
            if grad_part.dtype == result.dtype:
                torch.mm(grad_part.t(), x_part, out=tap)
            else:
                tap.copy_(torch.mm(grad_part.t(), x_part))
