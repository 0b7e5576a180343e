"""Additive coupling: the invertible block of the RevNet.

The input is split along its channels into two streams x1 and x2, and each stream is
shifted by a function of the other one::

    forward                     inverse
    y1 = x1 + f(x2)             x2 = y2 - g(y1)
    y2 = x2 + g(y1)             x1 = y1 - f(x2)

No inverse of ``f`` or ``g`` is needed, so both may be arbitrary networks. The Jacobian is a
product of two unit triangular matrices: its determinant is 1, volumes are preserved.

References: Dinh et al., "NICE" (2015); Gomez et al., "The Reversible Residual Network" (2017);
Schirrmeister et al., "Training Generative Reversible Networks" (2018), Section 2.1.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from genrev.reversible.conv import SmallMapConv2d
from genrev.reversible.fixed_point import FixedPoint
from genrev.reversible.layout import CONTIGUOUS, Order, cat_channels, laid_out
from genrev.reversible.replay import Replay, call_recorded
from genrev.reversible.stream import Stream, joined, shaped, shifted, value

__all__ = [
    "AdditiveCoupling",
    "check_image_batch",
    "preferred_order",
    "refuse_batch_norm",
    "split_channels",
]


class AdditiveCoupling(nn.Module):
    r"""Shift each half of the channels by a function of the other half.

    .. math:: y_1 = x_1 + f(x_2), \qquad y_2 = x_2 + g(y_1)

    x1 and y1 are the first half of the channels.

    Args:
        f: network from the second stream to the first, (N, C/2, H, W) to (N, C/2, H, W).
        g: network from the first stream to the second, same shapes.

    Raises:
        ValueError: ``f`` or ``g`` contains batch normalisation.

    Example:
        >>> import torch
        >>> block = AdditiveCoupling(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)).double()
        >>> x = torch.rand(3, 4, 8, 8, dtype=torch.float64)
        >>> torch.allclose(block.inverse(block(x)), x, atol=1e-12)
        True
    """

    is_volume_preserving = True  # its log-determinant is 0

    def __init__(self, f: nn.Module, g: nn.Module) -> None:
        super().__init__()
        refuse_batch_norm(f, "f")
        refuse_batch_norm(g, "g")
        self.f = f
        self.g = g

    def forward(self, x: Stream) -> Stream:
        """Map x (N, C, H, W) to y of the same shape; C must be even.

        On a ``FixedPoint`` the shifts are rounded to its grid, so that the inverse is exact.
        """
        order = preferred_order(self.f, x)
        x1, x2 = split_channels(x, order, "AdditiveCoupling")  # (N, C/2, H, W) each
        y1 = shifted(x1, self._shift("f", x2, order), 1)
        y2 = shifted(x2, self._shift("g", y1, order), 1)
        return joined([y1, y2], order)

    def inverse(self, y: Stream) -> Stream:
        """Map y (N, C, H, W) back to x of the same shape; C must be even."""
        order = preferred_order(self.f, y)
        y1, y2 = split_channels(y, order, "AdditiveCoupling")  # (N, C/2, H, W) each
        x2 = shifted(y2, self._shift("g", y1, order), -1)
        x1 = shifted(y1, self._shift("f", x2, order), -1)
        return joined([x1, x2], order)

    def backtrack(
        self, y: Stream, grad: Tensor, replay: Replay, inverse: bool
    ) -> tuple[Stream, Tensor]:
        """Undo ``forward`` (or ``inverse``) and pull a gradient back, in one pass through f and g.

        A shift is undone by running its network at the very stream that it was computed from, and
        that run is the one to differentiate::

            given y, dy               x2 = y2 - g(y1)     dx1 = dy1 + g'(y1)^T dy2
                                      x1 = y1 - f(x2)     dx2 = dy2 + f'(x2)^T dx1

        Args:
            y: output, (N, C, H, W).
            grad: gradient with respect to the output, same shape.
            replay: runs f and g as they were run.
            inverse: y is the output of ``inverse``.

        Returns:
            The input and the gradient with respect to it.
        """
        order = preferred_order(self.f, y)
        streams, grads = (
            list(split_channels(y, order, "AdditiveCoupling")),
            list(split_channels(grad, order, "AdditiveCoupling")),
        )
        moves = [("f", 1, 0), ("g", 0, 1)]  # network, the stream it reads, the one it shifts
        sign = 1
        if inverse:
            moves, sign = moves[::-1], -1
        for name, read, write in reversed(moves):
            grad_shift = grads[write] if sign == 1 else -grads[write]
            shift, grad_read = replay.pull_back(
                name, laid_out(value(streams[read]), order), grad_shift
            )
            streams[write] = shifted(streams[write], shift, -sign)
            grads[read] = grads[read] + grad_read
        return joined(streams, order), cat_channels(grads, order, gradients=True)

    def _shift(self, name: str, stream: Tensor | FixedPoint, order: Order) -> Tensor:
        # Kernels may round differently for other strides: f must see the same ones both ways.
        numbers = laid_out(value(stream), order)
        network = self.get_submodule(name)
        if torch.compiler.is_compiling():  # into one graph, where nothing is noted or noticed
            shift = network(numbers)
        else:
            shift = _undisturbed(network, name, numbers)
        # A shift that broadcasts would still invert, but it is never what was meant.
        if shift.shape != numbers.shape:
            raise ValueError(
                f"{name} maps {tuple(numbers.shape)} to {tuple(shift.shape)}; "
                "in an additive coupling it must keep the shape."
            )
        return shift


def _undisturbed(network: nn.Module, name: str, numbers: Tensor) -> Tensor:
    """``network(numbers)``, which may not change them."""
    version = None if numbers.is_inference() else numbers._version
    shift = call_recorded(network, name, numbers)
    if version is not None and numbers._version != version:
        raise ValueError(
            f"{name} changes its input in place, which is the stream that the inverse needs; "
            "make its first layer work out of place (inplace=False)."
        )
    return shift


def preferred_order(network: nn.Module, x: Tensor | FixedPoint) -> Order:
    """Order in memory in which a network wants its stream; without a wish, the usual one."""
    for module in network.modules():
        if isinstance(module, SmallMapConv2d):
            return module.order(shaped(x))
    return CONTIGUOUS


def split_channels(x: Stream, order: Order, block: str) -> tuple[Stream, Stream]:
    """Both halves of the channels of (N, C, H, W), each dense in this order.

    Raises:
        ValueError: not four dimensions, or an odd number of channels; the message names the block.
    """
    shape = shaped(x).shape
    check_image_batch(shaped(x), block)
    if shape[1] % 2:
        raise ValueError(
            f"{block} splits the channels in two halves and got {shape[1]} of them; "
            "subsample first or pad to an even number of channels."
        )
    if isinstance(x, FixedPoint):
        x1, x2 = x.moved(lambda part: laid_out(part, order)).chunk(2)
    else:
        x1, x2 = laid_out(x, order).chunk(2, dim=1)
    return x1, x2


def check_image_batch(x: Tensor, block: str) -> None:
    """Raise ``ValueError`` unless x has the four dimensions (N, C, H, W)."""
    if x.dim() != 4:
        raise ValueError(f"{block} takes images (N, C, H, W) and got shape {tuple(x.shape)}.")


def refuse_batch_norm(network: nn.Module, name: str) -> None:
    """Raise ``ValueError`` when a network of a coupling has batch normalisation in it."""
    for path, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            where = f"{name}.{path}" if path else name
            raise ValueError(
                f"{where} is a {type(module).__name__}: batch statistics differ between the "
                "forward and the inverse pass, so the block would not be invertible; use "
                "GroupNorm or LayerNorm instead."
            )
