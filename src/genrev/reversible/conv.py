"""A convolution that is computed in the way that suits the size of its maps.

Same parameters, ``state_dict`` and values (up to rounding) as ``nn.Conv2d``; on the CPU small
maps with many channels go through plain matrix products (``matrix_conv``), everything else through
PyTorch's kernels in channels_last order.
"""

from typing import Any

import torch
from torch import Tensor, nn

from genrev.reversible.layout import CHANNELS_LAST, CONTIGUOUS, ROWS, Order, laid_out
from genrev.reversible.matrix_conv import matrix_conv2d
from genrev.reversible.tracing import transformed

__all__ = ["SmallMapConv2d"]

# Most pixels of a map, and fewest multiplications per pixel and tap of the kernel (images x
# channels in x channels out), for which products of matrices were the faster way on two cores with
# AVX-512, in float32 and bfloat16 together. Below, it is their number that costs, not their size.
_MATRICES = ((1, 0), (4, 500_000), (16, 2_000_000))


class SmallMapConv2d(nn.Conv2d):
    """``nn.Conv2d`` with stride 1 and "same" zero padding that is fast on small maps.

    The weight has the shape of ``nn.Conv2d``'s and lies in memory as ``torch.channels_last``.

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
        if x.device.type != "cpu" or x.dim() != 4 or traced or not x.is_floating_point():
            return CONTIGUOUS
        pixels = x.shape[2] * x.shape[3]
        multiplications = len(x) * self.in_channels * self.out_channels
        if pixels and any(pixels <= p and multiplications >= max(1, m) for p, m in _MATRICES):
            return ROWS
        return CHANNELS_LAST
