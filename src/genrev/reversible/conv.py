"""A convolution that is computed in the way that suits the size of its maps.

Same parameters, ``state_dict`` and values (up to rounding) as ``nn.Conv2d``; on the CPU small
maps go through plain matrix products (``matrix_conv``), large ones through PyTorch's kernels in
channels_last order.
"""

from typing import Any

import torch
from torch import Tensor, nn

from genrev.reversible.matrix_conv import matrix_conv2d

__all__ = ["SmallMapConv2d"]

_LARGEST_MATRIX_MAP = 16  # pixels; on larger maps a convolution kernel wastes little
_SMALLEST_CHANNELS_LAST = 64  # pixels; below, reordering costs more than it gains


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
        if not keep_vars:
            destination[prefix + "weight"] = destination[prefix + "weight"].contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        pixels = x.shape[-2] * x.shape[-1]
        if x.device.type != "cpu" or x.dim() != 4 or _traced():
            return super().forward(x)
        if 0 < pixels <= _LARGEST_MATRIX_MAP and len(x) and x.shape[1] == self.in_channels:
            return matrix_conv2d(x, self.weight, self.bias)
        if pixels >= _SMALLEST_CHANNELS_LAST:
            x = x.contiguous(memory_format=torch.channels_last)
        return super().forward(x)


def _traced() -> bool:
    """Whether a compiler, an exporter or a transform of torch.func looks on: it wants one op."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
