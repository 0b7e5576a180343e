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

In a **conditional** coupling f and g look at a context as well, a class or a map, say. They may be
arbitrary in that, too, for nothing of it has to be inverted: the inverse is given it again. With a
context the map is a bijection, and its log-determinant is that of this bijection.

References: Dinh et al., "NICE" (2015); Dinh et al., "Density estimation using Real NVP" (2017),
Sections 3.2 to 3.4; Gomez et al., "The Reversible Residual Network" (2017); Schirrmeister et al.,
"Training Generative Reversible Networks" (2018), Section 2.1.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from genrev.reversible.block import Block, check_dims
from genrev.reversible.context import ContextPair
from genrev.reversible.engine.execution import transformed
from genrev.reversible.engine.replay import Replay, call_recorded
from genrev.reversible.kernels.convolution import SmallMapConv2d
from genrev.reversible.kernels.pair import ConvPair, pair_keeps_few
from genrev.reversible.stream import (
    CONTIGUOUS,
    FixedPoint,
    Halves,
    Order,
    Stream,
    as_parts,
    halves,
    laid_out,
    parts,
    shaped,
    shifted,
    value,
    whole,
)

_PAIRS: tuple[Any, ...] = (ConvPair, ContextPair)  # themselves: a subclass may compute anything


class Coupling(Block):
    """Two networks, each a function of one half of the channels that changes the other half."""

    def __init__(self, f: nn.Module, g: nn.Module, dim: int = 1, conditional: bool = False) -> None:
        super().__init__()
        self.dim = dim
        self.conditional = conditional
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

    def forward(self, x: Any, context: Tensor | None = None) -> Any:
        """Map x (N, C, ...), C even, to y of the same shape; ``context`` is for f and g."""
        return whole(self._halved(x, False, *self.given(context)))

    def inverse(self, y: Any, context: Tensor | None = None) -> Any:
        """Map y (N, C, ...) back to x of the same shape, with the same context."""
        return whole(self._halved(y, True, *self.given(context)))

    def forward_with_log_det(self, x: Any, context: Tensor | None = None) -> tuple[Any, Tensor]:
        """Map x to y, (N, C, ...), and give log|det| of the Jacobian there, (N,)."""
        return self(x, context), x.new_zeros(len(x))

    def networks(self) -> Iterable[nn.Module]:
        """f and g."""
        return self.f, self.g

    def worth_keeping(self, values: int) -> bool:
        """Where f and g are pairs of convolutions and keep few values; see ``Block``."""
        pairs: tuple[Any, ...] = self.f, self.g
        return all(type(f) in _PAIRS and pair_keeps_few(f[0], f[2], values // 2) for f in pairs)

    def _split(self, x: Any) -> tuple[Any, Any, Order]:
        """Both halves of the channels, dense in the order in memory in which f wants its stream."""
        split = isinstance(x, Halves)
        first, second = parts(as_parts(x, 2, self._dim(shaped(x[0]))) if split else self._cut(x))
        entry = self._entry()
        order = entry.order(shaped(first)) if isinstance(entry, SmallMapConv2d) else CONTIGUOUS
        return laid_out(first, order), laid_out(second, order), order

    def _entry(self) -> nn.Module:
        """The first layer of f."""
        entry: Any = self.f
        while isinstance(entry, nn.Sequential) and len(entry):
            entry = next(iter(entry._modules.values()))
        return entry

    def _dim(self, x: Tensor) -> int:
        """The dimension of the channels, counted from the front."""
        return self.dim % x.dim()

    def _cut(self, x: Stream) -> Halves:
        if not isinstance(x, FixedPoint):
            value(x)  # refuses whole numbers
        block, numbers = type(self).__name__, shaped(x)
        entry = self._entry()
        dims = [2 + len(entry.kernel_size)] * 2 if isinstance(entry, _ConvNd) else ()
        check_dims(numbers, block, *dims)
        dim = self._dim(numbers)
        if numbers.shape[dim] % 2:
            raise ValueError(
                f"{block} splits the channels in two halves and got {numbers.shape[dim]} of them; "
                "subsample first or pad to an even number of channels."
            )
        return halves(x.chunk(2, dim), dim)

    def _run_network(self, name: str, stream: Tensor, order: Order, *context: Tensor) -> Tensor:
        network = self.get_submodule(name)
        if torch.compiler.is_compiling():  # into one graph, where nothing is noted or noticed
            return network(stream, *context)
        version = None if stream.is_inference() else stream._version
        output = call_recorded(network, name, stream, *context)
        if version is not None and stream._version != version:
            raise ValueError(
                f"{name} changes its input in place, which is the stream that the inverse "
                "needs; make its first layer work out of place (inplace=False)."
            )
        if (
            output.requires_grad
            and not isinstance(self._entry(), SmallMapConv2d)  # which sees to it itself
            and not transformed()
        ):
            # Kernels sum the gradient of a bias in the order in which the output's lies, which
            # would not be the same in memory="stored" and "reversible".
            output.register_hook(lambda grad: None if grad is None else laid_out(grad, order))
        return output


# Those of an inverse, in order: a network, the half that it reads, the one that it changes.
_MOVES = ("g", 0, 1), ("f", 1, 0)


class AdditiveCoupling(Coupling):
    r"""Shift each half of the channels by a function of the other half.

    .. math:: y_1 = x_1 + f(x_2), \qquad y_2 = x_2 + g(y_1)

    x1 and y1 are the first half of the channels. f and g keep the shape (N, C/2, ...) and hold no
    batch normalisation. The stream is (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), or
    anything of two to five dimensions whose channels are another one.

    Args:
        f: network from the second half to the shift of the first.
        g: the same from the first half to the second.
        dim: dimension of the channels; 2, or -1, for tokens (N, T, C).
        conditional: f and g take a context as their second argument, a tensor of any shape that is
            given to ``forward`` and ``inverse``; see ``ContextPair``.

    Example:
        >>> import torch
        >>> block = AdditiveCoupling(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)).double()
        >>> x = torch.rand(3, 4, 8, 8, dtype=torch.float64)
        >>> torch.allclose(block.inverse(block(x)), x, atol=1e-12)
        True
    """

    preserves_volume = preserves_grid = repeatable = True
    _in_halves = True

    def _halved(self, x: Any, inverse: bool, *context: Tensor) -> Halves:
        *streams, order = self._split(x)  # (N, C/2, ...) each; on the grid, shifts are rounded
        sign = -1 if inverse else 1
        for name, read, write in _MOVES if inverse else reversed(_MOVES):
            streams[read], streams[write] = self._shift(
                name, streams[read], streams[write], sign, order, *context
            )
        return halves(streams, self._dim(shaped(streams[0])))

    def backtrack(
        self, y: Any, grad: Any, replay: Replay, inverse: bool, grad_log_det: Tensor | None = None
    ) -> tuple[Halves, Halves]:
        """Undo ``forward`` (or ``inverse``) and pull a gradient back, in one pass through f and g.

        A shift is undone by running its network at the very stream that it was computed from, and
        that run is the one to differentiate::

            given y, dy               x2 = y2 - g(y1)     dx1 = dy1 + g'(y1)^T dy2
                                      x1 = y1 - f(x2)     dx2 = dy2 + f'(x2)^T dx1
        """
        *streams, order = self._split(y)
        dim = self._dim(shaped(streams[0]))
        grads = [laid_out(part, order) for part in parts(as_parts(grad, 2, dim))]
        for name, read, write in reversed(_MOVES) if inverse else _MOVES:
            numbers = laid_out(value(streams[read]), order)
            streams[write], grads[read] = replay.unshift(
                name, numbers, streams[write], 1 if inverse else -1, (grads[read], grads[write])
            )
        return halves(streams, dim), halves(grads, dim)

    def _shift(
        self, name: str, read: Stream, written: Stream, sign: int, order: Order, *context: Tensor
    ) -> tuple[Stream, Stream]:
        """What a network reads, and what it shifts, after that."""
        # Kernels may round differently for other strides: f must see the same ones both ways.
        numbers = laid_out(value(read), order)
        network = self.get_submodule(name)
        if isinstance(network, ConvPair) and isinstance(written, Tensor) and not context:
            found: Any = network.shift(numbers, written, sign)
            if found is not None:
                return found
        shift = self._run_network(name, numbers, order, *context)
        # A shift that broadcasts would still invert, but it is never what was meant.
        if shift.shape != numbers.shape:
            raise ValueError(
                f"{name} maps {tuple(numbers.shape)} to {tuple(shift.shape)}; "
                "in an additive coupling it must keep the shape."
            )
        return read, shifted(written, shift, sign)


class AffineCoupling(Coupling):
    """Shift and stretch each half of the channels by functions of the other half.

    Args:
        f: network from the second half, (N, C/2, ...), to log-scales (before they are bounded) and
            shifts of the first, (N, C, ...), log-scales first; without batch normalisation.
        g: the same from the first half to the second.
        channels: number C of channels of the whole stream, even.
        dim, conditional: see ``AdditiveCoupling``.

    Example:
        >>> block = AffineCoupling(nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1), 4).double()
        >>> x = torch.rand(3, 4, 8, 8, dtype=torch.float64)
        >>> y, log_det = block.forward_with_log_det(x)
        >>> torch.allclose(block.inverse(y), x, atol=1e-12), log_det.shape
        (True, torch.Size([3]))
    """

    def __init__(
        self,
        f: nn.Module,
        g: nn.Module,
        channels: int,
        dim: int = 1,
        conditional: bool = False,
    ) -> None:
        super().__init__(f, g, dim, conditional)
        if channels % 2 or channels < 2:
            raise ValueError(f"AffineCoupling needs an even number of channels, not {channels}.")
        self.f_bound = nn.Parameter(torch.ones(channels // 2, 1, 1))
        self.g_bound = nn.Parameter(torch.ones(channels // 2, 1, 1))

    repeatable = True
    _in_halves = True

    def forward_with_log_det(self, x: Any, context: Tensor | None = None) -> tuple[Any, Tensor]:
        """Map x to y, (N, C, ...), and give log|det| of the Jacobian there, (N,)."""
        y, log_det = self._stretched(x, *self.given(context))
        return y if isinstance(x, Halves) else whole(y), log_det

    def worth_keeping(self, values: int) -> bool:
        """As ``Block`` says; what stretches, and is stretched, is kept as well."""
        return super().worth_keeping(4 * values)

    def _halved(self, x: Any, inverse: bool, *context: Tensor) -> Halves:
        if not inverse:
            return self._stretched(x, *context)[0]
        y1, y2, order = self._split(x)  # (N, C/2, ...) each
        s_g, t_g = self._scale_and_shift("g", y1, order, *context)
        x2 = (y2 - t_g) * (-s_g).exp()
        s_f, t_f = self._scale_and_shift("f", x2, order, *context)
        return Halves((y1 - t_f) * (-s_f).exp(), x2, self._dim(x2))

    def _stretched(self, x: Any, *context: Tensor) -> tuple[Halves, Tensor]:
        x1, x2, order = self._split(x)  # (N, C/2, ...) each
        s_f, t_f = self._scale_and_shift("f", x2, order, *context)
        y1 = x1 * s_f.exp() + t_f
        s_g, t_g = self._scale_and_shift("g", y1, order, *context)
        y2 = x2 * s_g.exp() + t_g
        log_det = sums(s_f) + sums(s_g)
        return Halves(y1, y2, self._dim(y1)), log_det

    def backtrack(
        self, y: Any, grad: Any, replay: Replay, inverse: bool, grad_log_det: Tensor | None = None
    ) -> tuple[Halves, Halves]:
        """Undo ``forward`` (or ``inverse``) and pull gradients back, in a pass through f and g."""
        *streams, order = self._split(y)
        dim = self._dim(shaped(streams[0]))
        grads = [laid_out(part, order) for part in parts(as_parts(grad, 2, dim))]
        for name, read, write in reversed(_MOVES) if inverse else _MOVES:
            (s, t), pull = replay.rerun(
                name,
                streams[read],
                lambda leaf, *context, name=name: replay.block._scale_and_shift(
                    name, leaf, order, *context
                ),
                f"{name}_bound",
            )
            streams[write], grads[write], *grad_s_and_t = unstretched(
                streams[write], grads[write], s, t, inverse, grad_log_det
            )
            grads[read] = grads[read] + pull(tuple(grad_s_and_t))
        return halves(streams, dim), halves(grads, dim)

    def _scale_and_shift(
        self, name: str, stream: Tensor, order: Order, *context: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log-scales and shifts of the other half, of its shape each."""
        outputs, dim = self._run_network(name, stream, order, *context), self._dim(stream)
        bound = self.f_bound if name == "f" else self.g_bound
        if len(bound) != (half := stream.shape[dim]):
            raise ValueError(
                f"This AffineCoupling is for {2 * len(bound)} channels and got {2 * half}; "
                f"build it with channels={2 * half}."
            )
        expected = list(stream.shape)
        expected[dim] *= 2
        if list(outputs.shape) != expected:
            raise ValueError(
                f"{name} maps {tuple(stream.shape)} to {tuple(outputs.shape)}; in an affine "
                "coupling it must double the channels and keep the rest."
            )
        # The stream's precision, whatever autocast gives f: errors of s are multiplied.
        raw, shift = outputs.to(stream.dtype).chunk(2, dim)
        ones = [1] * (stream.dim() - dim - 1)
        return bound.reshape(-1, *ones) * laid_out(raw, order).tanh(), laid_out(shift, order)


def unstretched(
    y: Tensor, grad: Tensor, s: Tensor, t: Tensor, inverse: bool, grad_log_det: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Undo y = x exp(s) + t, whose log-determinant is the sum of s, or its inverse.

    With l for the log-determinant it gives, of either direction::

        dx = dy exp(s)      ds = dy x exp(s) + dl      dt = dy
        dy = dx exp(-s)     ds = -dx x                 dt = -dx exp(-s)

    Args:
        y: output, (N, ...).
        grad: gradient with respect to it.
        s, t: log-scales and shifts, of the shape of y.
        inverse: y is the output of the inverse.
        grad_log_det: gradient with respect to the log-determinant, (N,), if there was one.

    Returns:
        The input, and the gradients with respect to it, to s and to t.
    """
    if inverse:
        grad_t = -grad * (-s).exp()
        return y * s.exp() + t, -grad_t, -grad * y, grad_t
    x, grad_x = (y - t) * (-s).exp(), grad * s.exp()
    grad_s = grad_x * x
    if grad_log_det is not None:
        grad_s = grad_s + grad_log_det.reshape(-1, *[1] * (s.dim() - 1))
    return x, grad_x, grad_s, grad


def sums(x: Tensor) -> Tensor:
    """Sums over all dimensions but the first."""
    return x.sum(tuple(range(1, x.dim())))
