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

import torch
from torch import Tensor, nn
from torch.nn import functional

from genrev.reversible.block import Block, check_image_batch

_POSITIONS = ((0, 0), (1, 1), (0, 1), (1, 0))  # rows and columns within a 2x2 patch
_RASTER = [_POSITIONS.index((i, j)) for i in (0, 1) for j in (0, 1)]


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

    is_permutation = True

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 4C, H/2, W/2)."""
        check_image_batch(x, "CheckerboardSubsample")
        if x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(
                f"CheckerboardSubsample halves height and width and got {x.shape[2]}x{x.shape[3]}; "
                "pad or resize to even sizes."
            )
        halves = x.chunk(2, dim=1) if x.shape[1] % 2 == 0 else (x,)
        pieces = [half[:, :, i::2, j::2] for half in halves for i, j in _POSITIONS]
        return torch.cat(pieces, dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """Map (N, 4C, H/2, W/2) back to (N, C, H, W)."""
        check_image_batch(y, "CheckerboardSubsample.inverse")
        n, channels, height, width = y.shape
        if channels % 4:
            raise ValueError(
                f"CheckerboardSubsample.inverse merges four channels into one and got {channels}."
            )
        halves = 2 if channels % 8 == 0 else 1
        merged = channels // 4 // halves
        pieces = y.reshape(n, halves, 4, merged, height, width)[:, :, _RASTER]
        # Not unflatten: PyTorch cannot batch it, and batched gradients come through here.
        patches = pieces.reshape(n, halves, 2, 2, merged, height, width)  # i and j in the middle
        x = patches.permute(0, 1, 4, 5, 2, 6, 3)  # (N, halves, C/halves, H, i, W, j)
        return x.reshape(n, channels // 4, 2 * height, 2 * width)


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
