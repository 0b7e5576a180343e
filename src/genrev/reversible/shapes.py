"""What changes the shape of images: checkerboard subsampling, and zero padding.

**Subsampling** is a permutation that trades resolution for channels. Every 2x2 patch of a channel
is spread over four new channels, in the order of a checkerboard: first the two positions on the
diagonal, then the two off it::

    a b      channels after:  a, d, b, c
    c d

An even number of channels is cut into two halves first and each half is subsampled by itself.
A coupling that follows splits the new channels in the same place, so either stream sees the
*whole* image at half the resolution and neither stream is stuck with one half of what the
preceding block computed (Schirrmeister et al. 2018, Figure 2). An odd number of channels
(grey or RGB images) cannot be cut; there the two streams get the black and the white squares.

**Padding** is injective, not bijective: it has a one-sided inverse only, so it is no block.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from genrev.reversible.block import Block, check_image_batch
from genrev.reversible.engine.execution import transformed
from genrev.reversible.stream import Halves, as_parts, moved, parts, shaped, whole

_POSITIONS = ((0, 0), (1, 1), (0, 1), (1, 0))  # rows and columns within a 2x2 patch


class CheckerboardSubsample(Block):
    """Halve height and width, quadruple the channels; a permutation of the pixels.

    Example:
        Figure 2 of the paper on a 4x4 image:

        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> CheckerboardSubsample()(x).int()
        tensor([[[[ 0,  2],
                  [ 8, 10]],
        <BLANKLINE>
                 [[ 5,  7],
                  [13, 15]],
        <BLANKLINE>
                 [[ 1,  3],
                  [ 9, 11]],
        <BLANKLINE>
                 [[ 4,  6],
                  [12, 14]]]], dtype=torch.int32)
    """

    is_permutation = repeatable = True
    _in_halves = True

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 4C, H/2, W/2)."""
        return whole(self._halved(x, inverse=False))

    def inverse(self, y: Tensor) -> Tensor:
        """Map (N, 4C, H/2, W/2) back to (N, C, H, W)."""
        return whole(self._halved(y, inverse=True))

    def _halved(self, x: Any, inverse: bool) -> Any:
        for part in parts(x):
            check_image_batch(shaped(part), f"CheckerboardSubsample{'.inverse' * inverse}")
        channels = sum(shaped(part).shape[1] for part in parts(x))
        if inverse and channels % 4:
            raise ValueError(
                f"CheckerboardSubsample.inverse merges four channels into one and got {channels}."
            )
        height, width = shaped(parts(x)[0]).shape[2:]
        if not inverse and (height % 2 or width % 2):
            raise ValueError(
                f"CheckerboardSubsample halves height and width and got {height}x{width}; "
                "pad or resize to even sizes."
            )
        if channels % (8 if inverse else 2):  # the streams are the two colours of the checkerboard
            return moved(whole(x), lambda x: _permute(x, inverse))
        return Halves(*(moved(half, lambda x: _permute(x, inverse)) for half in as_parts(x, 2)))


class _Permuted(Function):
    """A permutation, of which nothing has to be kept: its gradient moves the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inverse: bool) -> Tensor:
        ctx.inverse = inverse
        return _merge(x) if inverse else _spread(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _permute(grad, not ctx.inverse), None


def _permute(x: Tensor, inverse: bool) -> Tensor:
    traced = transformed() or torch.compiler.is_compiling()
    if x.requires_grad and torch.is_grad_enabled() and not traced:
        return _Permuted.apply(x, inverse)
    return _merge(x) if inverse else _spread(x)


def _spread(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, 4C, H/2, W/2): the positions within a patch, one after the other."""
    # Channels innermost, where whole runs of them move, and as the convolutions want them.
    n, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1)
    patches = pixels.reshape(n, height // 2, 2, width // 2, 2, channels)
    rows = [row.unbind(3) for row in patches.unbind(2)]
    return torch.cat([rows[i][j] for i, j in _POSITIONS], dim=3).permute(0, 3, 1, 2)


def _merge(y: Tensor) -> Tensor:
    """(N, 4C, H/2, W/2) to (N, C, H, W)."""
    # No index on the host, which a device would have to be sent, and no unflatten, which PyTorch
    # cannot batch.
    top_left, bottom_right, top_right, bottom_left = y.permute(0, 2, 3, 1).chunk(4, dim=3)
    n, height, width, channels = top_left.shape  # of one position
    patches = torch.stack((top_left, top_right, bottom_left, bottom_right), dim=3)
    rows = patches.reshape(n, height, width, 2, 2, channels).transpose(2, 3)
    return rows.reshape(n, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


class ZeroPad(nn.Module):
    """Surround images by ``padding`` zero pixels on every side.

    Cropping undoes padding, ``left_inverse(forward(x)) == x``. The reverse does not hold:
    ``forward(left_inverse(y))`` equals y only where the border of y is zero. A network that
    starts with padding therefore encodes every image without loss, but not every latent is the
    encoding of an image.

    Example:
        >>> pad = ZeroPad(2)
        >>> x = torch.rand(1, 1, 28, 28)
        >>> pad(x).shape, torch.equal(pad.left_inverse(pad(x)), x)
        (torch.Size([1, 1, 32, 32]), True)
    """

    def __init__(self, padding: int) -> None:
        super().__init__()
        if padding < 0:
            raise ValueError(f"padding must be 0 or more and is {padding}.")
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H + 2 padding, W + 2 padding)."""
        check_image_batch(x, "ZeroPad")
        return functional.pad(x, (self.padding,) * 4)

    def left_inverse(self, y: Tensor) -> Tensor:
        """Crop (N, C, H + 2 padding, W + 2 padding) to (N, C, H, W), whatever the border holds."""
        check_image_batch(y, "ZeroPad.left_inverse")
        height, width = (size - 2 * self.padding for size in y.shape[2:])
        if min(height, width) < 0:
            raise ValueError(
                f"ZeroPad cannot crop {self.padding} pixels off every side of "
                f"{y.shape[2]}x{y.shape[3]}."
            )
        return y[:, :, self.padding : self.padding + height, self.padding : self.padding + width]
