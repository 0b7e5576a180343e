"""Convolutions on the small maps at the end of a RevNet, computed as what they are.

A padded 3x3 convolution on a 2x2 map multiplies mostly zeros of the border (44 % of the
multiplications are of use, on 4x4 69 %), and its kernel launch is dearer than its arithmetic.
Every output pixel sees every input pixel there, so it is one matrix product of size
(C_out * P) x (C_in * P) with P = H * W pixels. The matrix is gathered from the very same
parameters, so values, gradients and ``state_dict`` are those of ``nn.Conv2d``.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SmallMapConv2d"]

_LARGEST_DENSE_MAP = 16  # pixels; on larger maps the matrix is mostly zeros
_SMALLEST_CHANNELS_LAST = 64  # pixels; below, reordering costs more than it gains


class SmallMapConv2d(nn.Conv2d):
    """``nn.Conv2d`` with stride 1 and "same" zero padding that is fast on small maps.

    Args:
        in_channels: channels of the input (N, in_channels, H, W).
        out_channels: channels of the output (N, out_channels, H, W).
        kernel_size: odd side length of the square kernel.

    Raises:
        ValueError: an even kernel size, which cannot be centred.

    Example:
        >>> conv = SmallMapConv2d(3, 5, 3).double()
        >>> plain = nn.Conv2d(3, 5, 3, padding=1).double()
        >>> _ = plain.load_state_dict(conv.state_dict())
        >>> x = torch.rand(4, 3, 2, 2, dtype=torch.float64)
        >>> torch.allclose(conv(x), plain(x))
        True
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd to be centred and is {kernel_size}.")
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        height, width = x.shape[2:]
        if x.device.type != "cpu":
            return super().forward(x)
        if height * width <= _LARGEST_DENSE_MAP:
            return self._dense(x)
        if height * width >= _SMALLEST_CHANNELS_LAST:
            x = x.contiguous(memory_format=torch.channels_last)
        return super().forward(x)

    def _dense(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        pixels = height * width
        kernel_area = self.kernel_size[0] * self.kernel_size[1]
        taps = _taps(height, width, self.kernel_size[0]).to(self.weight)  # (K, P_out * P_in)
        matrix = (
            (self.weight.reshape(-1, kernel_area) @ taps)  # (O * I, P_out * P_in)
            .view(self.out_channels, self.in_channels, pixels, pixels)
            .permute(0, 2, 1, 3)  # (O, P_out, I, P_in)
            .reshape(self.out_channels * pixels, self.in_channels * pixels)
        )
        bias = None if self.bias is None else self.bias.repeat_interleave(pixels)
        y = functional.linear(x.reshape(n, self.in_channels * pixels), matrix, bias)
        return y.view(n, self.out_channels, height, width)


@lru_cache(maxsize=32)
def _taps(height: int, width: int, kernel_size: int) -> Tensor:
    """Which kernel weight joins an input pixel to an output pixel: 0/1, (K, P_out * P_in)."""
    reach = kernel_size // 2
    # Cached beyond this call: an inference tensor could take part in no training step.
    with torch.inference_mode(False):
        taps = torch.zeros(kernel_size, kernel_size, height, width, height, width)
    for i in range(height):
        for j in range(width):
            for di in range(-reach, reach + 1):
                for dj in range(-reach, reach + 1):
                    if 0 <= i + di < height and 0 <= j + dj < width:
                        taps[di + reach, dj + reach, i, j, i + di, j + dj] = 1.0
    return taps.view(kernel_size * kernel_size, -1)
