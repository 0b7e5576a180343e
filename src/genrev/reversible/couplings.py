r"""Couplings: the invertible blocks of RevNets and flows.

The input is split along its channels into two streams x1 and x2, and each stream is changed by a
function of the other one. The additive coupling of the RevNet shifts::

    forward                     inverse
    y1 = x1 + f(x2)             x2 = y2 - g(y1)
    y2 = x2 + g(y1)             x1 = y1 - f(x2)

No inverse of ``f`` or ``g`` is needed, so both may be arbitrary networks. The Jacobian is a
product of two unit triangular matrices: its determinant is 1, volumes are preserved.

The affine coupling shifts and stretches::

    forward                                inverse
    y1 = x1 exp(s_f(x2)) + t_f(x2)         x2 = (y2 - t_g(y1)) exp(-s_g(y1))
    y2 = x2 exp(s_g(y1)) + t_g(y1)         x1 = (y1 - t_f(x2)) exp(-s_f(x2))

The Jacobian is a product of two triangular matrices with :math:`\exp(s)` on their diagonals, so

.. math:: \log |\det J| = \sum s_f(x_2) + \sum s_g(y_1) .

It can make room where images are frequent and take it where they are not. The price: its
log-determinant depends on the input, and products do not stay on a fixed-point grid, so
``exact=True`` is not for it. Stretching is bounded: :math:`s = a \tanh(r)` with r from the network
and a learned factor per channel, so that one unlucky step cannot blow the stream up.

References: Dinh et al., "NICE" (2015); Dinh et al., "Density estimation using Real NVP" (2017),
Sections 3.2 to 3.4; Gomez et al., "The Reversible Residual Network" (2017); Schirrmeister et al.,
"Training Generative Reversible Networks" (2018), Section 2.1.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from genrev.reversible.block import Block, check_image_batch
from genrev.reversible.engine.replay import Replay, call_recorded
from genrev.reversible.kernels.convolution import SmallMapConv2d
from genrev.reversible.stream import (
    CONTIGUOUS,
    FixedPoint,
    Order,
    Stream,
    cat_channels,
    joined,
    laid_out,
    shaped,
    shifted,
    value,
)


class Coupling(Block):
    """Two networks, each a function of one half of the channels that changes the other half."""

    def __init__(self, f: nn.Module, g: nn.Module) -> None:
        super().__init__()
        for name, network in (("f", f), ("g", g)):
            for path, module in network.named_modules():
                if isinstance(module, _BatchNorm):
                    raise ValueError(
                        f"{f'{name}.{path}'.rstrip('.')} is a {type(module).__name__}: batch "
                        "statistics differ between the forward and the inverse pass, so the block "
                        "would not be invertible; use GroupNorm or LayerNorm instead."
                    )
        self.f = f
        self.g = g

    def _split(self, x: Stream) -> tuple[Stream, Stream, Order]:
        """Both halves of the channels, dense in the order in memory in which f wants its stream."""
        wishes = (m.order(shaped(x)) for m in self.f.modules() if isinstance(m, SmallMapConv2d))
        order = next(wishes, CONTIGUOUS)
        first, second = _halves(x, order, type(self).__name__)
        return first, second, order


class AdditiveCoupling(Coupling):
    r"""Shift each half of the channels by a function of the other half.

    .. math:: y_1 = x_1 + f(x_2), \qquad y_2 = x_2 + g(y_1)

    x1 and y1 are the first half of the channels. f and g keep the shape (N, C/2, H, W) and hold no
    batch normalisation.

    Example:
        >>> import torch
        >>> block = AdditiveCoupling(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)).double()
        >>> x = torch.rand(3, 4, 8, 8, dtype=torch.float64)
        >>> torch.allclose(block.inverse(block(x)), x, atol=1e-12)
        True
    """

    preserves_volume = preserves_grid = True

    def forward(self, x: Stream) -> Stream:
        """Map x (N, C, H, W), C even, to y of the same shape; on the grid shifts are rounded."""
        x1, x2, order = self._split(x)  # (N, C/2, H, W) each
        y1 = shifted(x1, self._shift("f", x2, order), 1)
        y2 = shifted(x2, self._shift("g", y1, order), 1)
        return joined([y1, y2], order)

    def inverse(self, y: Stream) -> Stream:
        """Map y (N, C, H, W) back to x of the same shape."""
        y1, y2, order = self._split(y)  # (N, C/2, H, W) each
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
        """
        y1, y2, order = self._split(y)
        streams, grads = [y1, y2], list(_halves(grad, order, "AdditiveCoupling"))
        moves = [("g", 0, 1), ("f", 1, 0)]  # network, the stream it reads, the one it shifts
        for name, read, write in reversed(moves) if inverse else moves:
            numbers = laid_out(value(streams[read]), order)
            grad_shift = -grads[write] if inverse else grads[write]
            shift, grad_read = replay.pull_back(name, numbers, grad_shift)
            streams[write] = shifted(streams[write], shift, 1 if inverse else -1)
            grads[read] = grads[read] + grad_read
        return joined(streams, order), cat_channels(grads, order, gradients=True)

    def networks(self) -> Iterable[nn.Module]:
        """f and g."""
        return self.f, self.g

    def _shift(self, name: str, stream: Tensor | FixedPoint, order: Order) -> Tensor:
        # Kernels may round differently for other strides: f must see the same ones both ways.
        numbers = laid_out(value(stream), order)
        network = self.get_submodule(name)
        if torch.compiler.is_compiling():  # into one graph, where nothing is noted or noticed
            shift = network(numbers)
        else:
            version = None if numbers.is_inference() else numbers._version
            shift = call_recorded(network, name, numbers)
            if version is not None and numbers._version != version:
                raise ValueError(
                    f"{name} changes its input in place, which is the stream that the inverse "
                    "needs; make its first layer work out of place (inplace=False)."
                )
        # A shift that broadcasts would still invert, but it is never what was meant.
        if shift.shape != numbers.shape:
            raise ValueError(
                f"{name} maps {tuple(numbers.shape)} to {tuple(shift.shape)}; "
                "in an additive coupling it must keep the shape."
            )
        return shift


class AffineCoupling(Coupling):
    """Shift and stretch each half of the channels by functions of the other half.

    Args:
        f: network from the second stream, (N, C/2, H, W), to log-scales (before they are bounded)
            and shifts of the first, (N, C, H, W), log-scales first; without batch normalisation.
        g: the same from the first stream to the second.
        channels: number C of channels of the whole stream, even.

    Example:
        >>> block = AffineCoupling(nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1), 4).double()
        >>> x = torch.rand(3, 4, 8, 8, dtype=torch.float64)
        >>> y, log_det = block.forward_with_log_det(x)
        >>> torch.allclose(block.inverse(y), x, atol=1e-12), log_det.shape
        (True, torch.Size([3]))
    """

    def __init__(self, f: nn.Module, g: nn.Module, channels: int) -> None:
        super().__init__(f, g)
        if channels % 2 or channels < 2:
            raise ValueError(f"AffineCoupling needs an even number of channels, not {channels}.")
        self.f_bound = nn.Parameter(torch.ones(channels // 2, 1, 1))
        self.g_bound = nn.Parameter(torch.ones(channels // 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, C, H, W) to y of the same shape."""
        return self.forward_with_log_det(x)[0]

    def forward_with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x to y, (N, C, H, W), and give log|det| of the Jacobian there, (N,)."""
        x1, x2, order = self._split(value(x))  # (N, C/2, H, W) each
        s_f, t_f = self._scale_and_shift("f", x2, order)
        y1 = x1 * s_f.exp() + t_f
        s_g, t_g = self._scale_and_shift("g", y1, order)
        y2 = x2 * s_g.exp() + t_g
        log_det = s_f.sum((1, 2, 3)) + s_g.sum((1, 2, 3))
        return cat_channels([y1, y2], order), log_det

    def inverse(self, y: Tensor) -> Tensor:
        """Map y (N, C, H, W) back to x of the same shape."""
        y1, y2, order = self._split(value(y))  # (N, C/2, H, W) each
        s_g, t_g = self._scale_and_shift("g", y1, order)
        x2 = (y2 - t_g) * (-s_g).exp()
        s_f, t_f = self._scale_and_shift("f", x2, order)
        x1 = (y1 - t_f) * (-s_f).exp()
        return cat_channels([x1, x2], order)

    def _scale_and_shift(self, name: str, stream: Tensor, order: Order) -> tuple[Tensor, Tensor]:
        """Log-scales and shifts of the other stream, (N, C/2, H, W) each."""
        outputs = self.get_submodule(name)(stream)
        n, half, *size = stream.shape
        if outputs.shape != (n, 2 * half, *size):
            raise ValueError(
                f"{name} maps {tuple(stream.shape)} to {tuple(outputs.shape)}; in an affine "
                "coupling it must double the channels and keep the rest."
            )
        # The stream's precision, whatever autocast gives f: errors of s are multiplied.
        raw, shift = _halves(outputs.to(stream.dtype), order, "AffineCoupling")
        bound = self.f_bound if name == "f" else self.g_bound
        return bound * raw.tanh(), shift


def _halves(x: Stream, order: Order, block: str) -> tuple[Stream, Stream]:
    """Both halves of the channels of (N, C, H, W), each dense in this order."""
    shape = shaped(x).shape
    check_image_batch(shaped(x), block)
    if shape[1] % 2:
        raise ValueError(
            f"{block} splits the channels in two halves and got {shape[1]} of them; "
            "subsample first or pad to an even number of channels."
        )
    first, second = laid_out(x, order).chunk(2, dim=1)
    return first, second
