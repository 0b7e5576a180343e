"""What changes the shape of a stream: checkerboard subsampling, and zero padding.

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

from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from genrev.reversible.block import Block, check_dims
from genrev.reversible.engine.execution import transformed
from genrev.reversible.kernels.patches import patches_moved
from genrev.reversible.stream import as_parts, halves, moved, parts, shaped, whole


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
        """Map (N, C, H, W) to (N, 4C, H/2, W/2), (N, C, L) to (N, 2C, L/2), volumes likewise."""
        return whole(self._halved(x, inverse=False))

    def inverse(self, y: Tensor) -> Tensor:
        """Map back to (N, C, H, W), (N, C, L) or (N, C, D, H, W)."""
        return whole(self._halved(y, inverse=True))

    def _halved(self, x: Any, inverse: bool) -> Any:
        x = as_parts(x, len(parts(x)))
        for part in parts(x):
            check_dims(shaped(part), f"CheckerboardSubsample{'.inverse' * inverse}", least=3)
        channels = sum(shaped(part).shape[1] for part in parts(x))
        sizes = shaped(parts(x)[0]).shape[2:]
        merged = 2 ** len(sizes)
        if inverse and channels % merged:
            raise ValueError(
                f"CheckerboardSubsample.inverse merges {merged} channels into one and got "
                f"{channels}."
            )
        if not inverse and any(size % 2 for size in sizes):
            raise ValueError(
                f"CheckerboardSubsample halves every size and got {'x'.join(map(str, sizes))}; "
                "pad or resize to even sizes."
            )
        # Else the streams are the two colours of the checkerboard.
        if channels % (2 * merged if inverse else 2):
            return moved(whole(x), lambda x: _permute(x, inverse))
        both = parts(as_parts(x, 2))
        return halves([moved(half, lambda x: _permute(x, inverse)) for half in both])


class _Permuted(Function):
    """A permutation, of which nothing has to be kept: its gradient moves the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inverse: bool) -> Tensor:
        ctx.inverse = inverse
        return _moved(x, inverse)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _permute(grad, not ctx.inverse), None


def _permute(x: Tensor, inverse: bool) -> Tensor:
    if transformed() or torch.compiler.is_compiling():
        return _in_operations(x, inverse)
    if x.requires_grad and torch.is_grad_enabled():
        return _Permuted.apply(x, inverse)
    return _moved(x, inverse)


def _moved(x: Tensor, inverse: bool) -> Tensor:
    at_once = patches_moved(x, inverse)
    return _in_operations(x, inverse) if at_once is None else at_once


def _in_operations(x: Tensor, inverse: bool) -> Tensor:
    return _merge(x) if inverse else _spread(x)


@cache
def positions(dims: int) -> tuple[tuple[int, ...], ...]:
    """Places in a patch of side 2: those of one colour of the checkerboard, then the others."""
    raster = product((0, 1), repeat=dims)
    return tuple(sorted(raster, key=lambda place: (sum(place) % 2, place)))


def _spread(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, 4C, H/2, W/2): the positions within a patch, one after the other."""
    # Channels innermost, where whole runs of them move, and as the convolutions want them.
    n, channels, *sizes = x.shape
    dims = len(sizes)
    halved = [half for size in sizes for half in (size // 2, 2)]
    patches = x.movedim(1, -1).reshape(n, *halved, channels)
    patches = patches.permute(*range(2, 2 * dims + 1, 2), 0, *range(1, 2 * dims, 2), 2 * dims + 1)
    pieces = [patches[place] for place in positions(dims)]
    return torch.cat(pieces, dim=-1).movedim(-1, 1)


def _merge(y: Tensor) -> Tensor:
    """(N, 4C, H, W) to (N, C, 2H, 2W)."""
    # No index on the host, which a device would have to be sent, and no unflatten, which PyTorch
    # cannot batch.
    n, channels, *sizes = y.shape
    dims, places = len(sizes), positions(len(sizes))
    pieces = y.movedim(1, -1).chunk(len(places), dim=-1)
    raster = [pieces[places.index(place)] for place in product((0, 1), repeat=dims)]
    # (N, H, W, 4, C), then (N, H, 2, W, 2, C)
    patches = torch.stack(raster, dim=dims + 1)
    patches = patches.reshape(n, *sizes, *[2] * dims, channels // len(places))
    pairs = [dim for k in range(1, dims + 1) for dim in (k, dims + k)]
    rows = patches.permute(0, *pairs, 2 * dims + 1)
    doubled = [2 * size for size in sizes]
    return rows.reshape(n, *doubled, channels // len(places)).movedim(-1, 1)


class ZeroPad(nn.Module):
    """Surround images by ``padding`` zero pixels on every side, one number or one for each axis.

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

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__()
        if min(padding if isinstance(padding, tuple) else (padding,), default=0) < 0:
            raise ValueError(f"padding must be 0 or more and is {padding}.")
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H + 2 padding, W + 2 padding); signals, volumes likewise."""
        check_dims(x, "ZeroPad", least=3)
        # PyTorch wants both ends of every axis, the last one first.
        return functional.pad(x, [pad for each in self._of(x)[::-1] for pad in (each, each)])

    def left_inverse(self, y: Tensor) -> Tensor:
        """Crop (N, C, H + 2 padding, W + 2 padding) to (N, C, H, W), whatever the border holds."""
        check_dims(y, "ZeroPad.left_inverse", least=3)
        padding = self._of(y)
        sizes = [size - 2 * pad for size, pad in zip(y.shape[2:], padding, strict=True)]
        if min(sizes) < 0:
            raise ValueError(
                f"ZeroPad cannot crop {self.padding} pixels off every side of "
                f"{'x'.join(map(str, y.shape[2:]))}."
            )
        return y[:, :, *(slice(pad, pad + size) for pad, size in zip(padding, sizes, strict=True))]

    def _of(self, x: Tensor) -> tuple[int, ...]:
        """Padding of every axis of (N, C, ...)."""
        axes = x.dim() - 2
        padding = self.padding if isinstance(self.padding, tuple) else (self.padding,) * axes
        if len(padding) != axes:
            raise ValueError(
                f"ZeroPad has padding for {len(padding)} axes and got shape {tuple(x.shape)}."
            )
        return padding
