"""f and g of the RevNet's couplings: two convolutions with a ReLU between them.

On an accelerator most of them are too small to keep it busy, and what stands between the
convolutions takes as long as they do. So there the pair is one operation with a backward pass of
its own:

- channels are filled up with zeros to a multiple of 16 bytes (8 of them in bf16), which is what
  tensor cores take; their kernels are zero as well, so the function and its parameters stay the
  same;
- narrow convolutions see two pixels as one of twice the channels (``kernel_in_twos``);
- casts, biases, the ReLU and the sums of their gradients are joined into few passes (``rows``);
- kernels of 1x1 are plain matrix products;
- in a CUDA graph the gradients of the weights, which nothing waits for, are computed beside those
  of the activations;
- where weights are used several times in a scope of ``low_precision_weights``, each use adds its
  gradients to those of the one before (``_Sums``), so that autograd has nothing to add;
- the stream that the pair shifts is shifted where the shift is computed, and backwards the gradient
  of what the pair reads is added where it is computed.

The same passes serve autograd (``shift``) and the reversible engine, which asks for them directly
(``value_and_pull``).
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.module import (
    _global_backward_hooks,
    _global_backward_pre_hooks,
    _global_forward_hooks,
    _global_forward_pre_hooks,
)

from genrev.reversible.engine.execution import batched, transformed
from genrev.reversible.kernels.convolution import TENSOR_CORES, SmallMapConv2d
from genrev.reversible.kernels.low_precision import cast_weight, once_a_scope
from genrev.reversible.kernels.rows import (
    add_bias_and_relu,
    added_up,
    cropped,
    filled,
    filled_and_summed,
    maps_of,
    masked_and_summed,
    rows_of,
    with_bias,
)
from genrev.reversible.stream import CHANNELS_LAST, laid_out

_DEVICES = TENSOR_CORES  # on which the pair is one operation
_ALIGNED = 16  # bytes of channels that tensor cores take in one go
_NARROW = 32  # channels, of half a tile
_MANY = 2**20  # weights of a pair
_FEW = 4  # times as many weights as activations

_HOOKS_OF_ALL = (
    _global_forward_pre_hooks,
    _global_forward_hooks,
    _global_backward_pre_hooks,
    _global_backward_hooks,
)
_NAMES = "0.weight", "0.bias", "2.weight", "2.bias"
_Weights = tuple[Tensor, Tensor, Tensor, Tensor]

Pull = Callable[[Tensor, int, Tensor | None], tuple[Tensor, dict[str, Tensor]]]
"""The gradient of an output, its sign, and what the gradient of the input is added to, if anything,
to that sum, and the gradients of parameters by name."""


class ConvPair(nn.Sequential):
    """Two convolutions with a ReLU between them: f or g of a coupling.

    It maps (N, in_channels, H, W) to (N, out_channels, H, W). On CUDA the result is of the input's
    precision under autocast, too.

    Example:
        >>> pair = ConvPair(SmallMapConv2d(6, 25), SmallMapConv2d(25, 6))
        >>> pair(torch.rand(2, 6, 8, 8)).shape, list(pair.state_dict())
        (torch.Size([2, 6, 8, 8]), ['0.weight', '0.bias', '2.weight', '2.bias'])
    """

    repeatable: ClassVar[bool] = True

    def __init__(self, first: SmallMapConv2d, last: SmallMapConv2d) -> None:
        super().__init__(first, nn.ReLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        weights = self._weights(x)
        return super().forward(x) if weights is None else joined_pair(x, *weights)

    def shift(self, x: Tensor, stream: Tensor, sign: int) -> tuple[Tensor, Tensor] | None:
        """x as it is, and ``stream + sign * self(x)``, as one operation for autograd.

        Who goes on with this x rather than with the one given has its gradients added up within the
        operation. ``None`` on a CPU, where somebody changed how the pair is computed, and where the
        stream is not like its output.
        """
        weights = self._own_weights(x)
        if weights is None or not (
            stream.shape == (len(x), len(weights[2]), *x.shape[2:])
            and (stream.dtype, stream.device) == (x.dtype, x.device)
        ):
            return None
        return shifting_pair(x, stream, sign, *weights)

    def value_and_pull(
        self, x: Tensor, stream: Tensor | None = None, sign: int = 1
    ) -> tuple[Tensor, Pull] | None:
        """The pair at x without autograd, and what pulls a gradient back.

        Where a stream is given, the first is ``stream + sign * self(x)``. The second is called once
        and gives the gradient of x and those of the parameters by name. ``None`` on a CPU, and
        where somebody changed how the pair is computed.
        """
        weights = self._own_weights(x)
        if weights is None:
            return None
        y, kept = _forward(x, weights, stream, sign)

        def pull(grad: Tensor, sign: int, onto: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
            wanted = [weight.requires_grad for weight in weights]
            grad_x, *grads = _backward(grad, weights, kept, [True, *wanted], sign, onto)
            assert grad_x is not None
            named = zip(_NAMES, grads, strict=True)
            return grad_x, {name: grad for name, grad in named if grad is not None}

        return y, pull

    def _own_weights(self, x: Tensor) -> _Weights | None:
        """``_weights``, where the pair is called for nothing but its value."""
        if torch.compiler.is_compiling():
            return None
        own = type(self).forward is ConvPair.forward and "forward" not in vars(self)
        layers = self._modules["0"], self._modules["2"]
        plain = all(layer is not None and "weight" in layer._parameters for layer in layers)
        hooked = (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or any(_HOOKS_OF_ALL)
        )
        changed = hooked or self._compiled_call_impl is not None
        return self._weights(x) if own and plain and not changed else None

    def _weights(self, x: Tensor) -> _Weights | None:
        """Those of both convolutions, where the pair is computed as one operation."""
        first, relu, last = self._modules.values()
        assert isinstance(first, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        if (
            x.device.type not in _DEVICES
            or x.dim() != 4
            or x.dtype == torch.float64  # for which there are no tensor cores
            or torch.compiler.is_compiling()
            or transformed()
            or any(m._forward_hooks or m._forward_pre_hooks for m in (first, relu, last))
            or first.bias is None
            or last.bias is None
        ):
            return None
        weights = first.weight, first.bias, last.weight, last.bias
        return weights if all(p.dtype == x.dtype for p in weights) else None


def pair_keeps_few(first: Any, last: Any, values: int) -> bool:
    """Whether two convolutions keep few values for their backward pass, beside their weights.

    That is: there are a million weights or more, and less than a quarter as many values in input
    and hidden maps. Such a pair takes its time to read weights and to write their gradients.
    ``values`` is the number of values in the input.
    """
    if not (isinstance(first, _ConvNd) and isinstance(last, _ConvNd)):
        return False
    weights = sum(
        math.prod(layer.kernel_size) * layer.in_channels * layer.out_channels // layer.groups
        for layer in (first, last)
    )
    kept = values + values // first.in_channels * first.out_channels
    return weights >= _MANY and _FEW * kept < weights


def joined_pair(x: Tensor, *weights: Tensor) -> Tensor:
    """``conv2d(conv2d(x, w1, b1).relu(), w2, b2)`` with "same" zero padding, for w1, b1, w2, b2.

    Twice differentiable. The result has the precision of x and lies in channels_last order.
    """
    return _applied(1, x, None, weights)


def shifting_pair(x: Tensor, stream: Tensor, sign: int, *weights: Tensor) -> tuple[Tensor, Tensor]:
    """x, and ``stream + sign * joined_pair(x, *weights)``; twice differentiable."""
    return _applied(sign, x, stream, weights)


def _applied(sign: int, x: Tensor, stream: Tensor | None, weights: Sequence[Tensor]) -> Any:
    if not torch.is_grad_enabled():
        y = _forward(x, weights, stream, sign)[0]
        return y if stream is None else (x, y)
    sums = None
    if all(weight.requires_grad for weight in weights):
        on = torch.cuda.current_stream(x.device).cuda_stream if x.device.type == "cuda" else 0
        key = on, *map(id, weights)

        def shared() -> tuple[Any, ...]:  # weights too, so that nothing else gets their ids
            sums = _Sums()
            return weights, sums, _Summed.apply(sums, *weights)

        if (found := once_a_scope(key, shared)) is not None:
            _, sums, weights = found
    return _Pair.apply(sums, sign, x, stream, *weights)


class _Sums:
    """Gradients of weights so far, by backward passes in progress."""

    def __init__(self) -> None:
        self.found: dict[int, list[Tensor | None]] = {}

    def pop(self) -> list[Tensor | None]:
        """Those of the pass that this is in, which are forgotten."""
        return self.found.pop(torch._C._current_graph_task_id(), [None] * 4)

    def put(self, grads: list[Tensor | None]) -> None:
        """Note what ``pop`` gives next."""
        self.found[torch._C._current_graph_task_id()] = grads


class _Summed(Function):
    """Weights as they are; it runs backwards once all of their uses have, and has their sums."""

    @staticmethod
    def forward(ctx: Any, sums: _Sums, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.sums = sums
        ctx.set_materialize_grads(False)
        return weights

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        # What came by autograd is from uses that were differentiated in another way.
        both = zip(ctx.sums.pop(), grads, strict=True)
        return None, *(b if a is None else a if b is None else a + b for a, b in both)


class _Pair(Function):
    """The pair; where it shifts a stream, it hands on what it read beside the result."""

    @staticmethod
    def forward(
        ctx: Any,
        sums: _Sums | None,
        sign: int,
        x: Tensor,
        stream: Tensor | None,
        *weights: Tensor,
    ) -> Any:
        y, kept = _forward(x, weights, stream, sign)
        ctx.save_for_backward(x, *weights, *kept)
        ctx.sums, ctx.sign = sums, sign
        ctx.set_materialize_grads(False)
        return y if stream is None else (x, y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *passed, grad = grads
        onto = passed[0] if passed else None  # what else the gradient of x consists of
        _, _, need_x, need_stream, *need_weights = ctx.needs_input_grad
        wanted = need_x, *need_weights
        grad_x = onto
        grad_weights: list[Tensor | None] = [None] * len(need_weights)
        if grad is not None and any(wanted):
            x, *others = ctx.saved_tensors
            weights, kept = others[:4], _Kept(*others[4:])
            if torch.is_grad_enabled() or batched(grad) or (onto is not None and batched(onto)):
                found = _by_autograd(grad, x, weights, kept.k1.dtype, ctx.sign, onto)
            else:
                sums = ctx.sums if all(need_weights) else None
                before = None if sums is None else sums.pop()
                found = _backward(grad, weights, kept, wanted, ctx.sign, onto, before)
                if sums is not None:
                    sums.put([*found[1:]])
                    found = found[0], *grad_weights
            grad_x, *grad_weights = found
        return None, None, grad_x, grad if need_stream else None, *grad_weights


def _by_autograd(
    grad: Tensor,
    x: Tensor,
    weights: Sequence[Tensor],
    low: torch.dtype,
    sign: int,
    onto: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """The same gradients by PyTorch's own formulas, which can be differentiated and batched."""
    with torch.enable_grad():
        w1, b1, w2, b2 = (weight.to(low) for weight in weights)
        hidden = functional.conv2d(x.to(low), w1, b1, padding=w1.shape[2] // 2).relu()
        y = functional.conv2d(hidden, w2, b2, padding=w2.shape[2] // 2).to(x.dtype)
    inputs = (x, *weights)
    wanted = [t for t in inputs if t.requires_grad]
    create = torch.is_grad_enabled()
    signed = grad if sign == 1 else -grad
    found = iter(torch.autograd.grad(y, wanted, signed, create_graph=create))
    grad_x, *others = [next(found) if t.requires_grad else None for t in inputs]
    return grad_x if grad_x is None or onto is None else onto + grad_x, *others


class _Kept(NamedTuple):
    """What the backward pass needs of the forward one, in the precision of the convolutions."""

    k1: Tensor
    k2: Tensor
    entered: Tensor
    hidden: Tensor


def _forward(
    x: Tensor, weights: Sequence[Tensor], stream: Tensor | None = None, sign: int = 1
) -> tuple[Tensor, _Kept]:
    """The pair at x, or ``stream + sign`` times that."""
    low, (w1, b1, w2, b2) = _precision(x), weights
    with torch.no_grad(), _as_it_is(x):
        k1, k2 = _kernel(w1, low, x), _kernel(w2, low, x)
        entered = maps_of(filled(_dense_rows(x), _aligned(x.shape[1], low), low), x)
        hidden = _conv(entered, k1)
        add_bias_and_relu(rows_of(hidden), b1.detach())
        shifted = None if stream is None else _dense_rows(stream)
        y = with_bias(rows_of(_conv(hidden, k2)), b2.detach(), x.dtype, shifted, sign)
        return maps_of(y, x), _Kept(k1, k2, entered, hidden)


def _backward(
    grad: Tensor,
    weights: Sequence[Tensor],
    kept: _Kept,
    wanted: Sequence[bool],
    sign: int,
    onto: Tensor | None,
    before: Sequence[Tensor | None] | None = None,
) -> tuple[Tensor | None, ...]:
    """Gradients of x and of the weights, each where it is wanted, else ``None``.

    That of the pair's output is ``sign * grad``; that of x is added to ``onto``, and those of the
    weights to those ``before``.
    """
    more_w1, more_b1, more_w2, more_b2 = before or [None] * 4
    (w1, b1, w2, b2), (k1, k2, entered, hidden) = weights, kept
    need_x, need_w1, need_b1, need_w2, need_b2 = wanted
    grad_x = grad_w1 = grad_b1 = grad_w2 = grad_b2 = None
    with torch.no_grad(), _as_it_is(grad):
        rows = _dense_rows(grad)
        # What is read aside is held until they join, or its memory would be given to others.
        low, sums2 = filled_and_summed(rows, _aligned(rows.shape[1], k2.dtype), k2.dtype, sign)
        out = maps_of(low, grad)
        with _Aside(grad) as aside:
            grad_w2 = _weight_gradient(out, hidden, k2, w2, more_w2) if need_w2 else None
            grad_b2 = added_up(sums2, len(b2), b2.dtype, more_b2) if need_b2 else None
        if need_x or need_w1 or need_b1:
            inner = rows_of(_conv_back(out, hidden, k2))
            inner, sums1 = masked_and_summed(inner, rows_of(hidden), len(b1))
            middle = maps_of(inner, grad)
            with aside:
                grad_w1 = _weight_gradient(middle, entered, k1, w1, more_w1) if need_w1 else None
                grad_b1 = added_up(sums1, len(b1), b1.dtype, more_b1) if need_b1 else None
        if need_x:
            back = rows_of(_conv_back(middle, entered, k1))
            more = None if onto is None else _dense_rows(onto)
            grad_x = maps_of(cropped(back, w1.shape[1], grad.dtype, more), grad)
        aside.join()
    return grad_x, grad_w1, grad_b1, grad_w2, grad_b2


def _dense_rows(x: Tensor) -> Tensor:
    """The pixels of a map, ``rows_of``, copied where they do not lie densely."""
    return rows_of(laid_out(x.detach(), CHANNELS_LAST))


def _precision(x: Tensor) -> torch.dtype:
    """That of autocast, where it is on."""
    device = "cuda" if x.device.type == "meta" else x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _as_it_is(x: Tensor) -> Any:
    """Without autocast: everything has its precision already."""
    if x.device.type == "meta":
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def _aligned(channels: int, low: torch.dtype) -> int:
    """Channels of a map in this precision, with those that fill it up."""
    return channels + -channels % (_ALIGNED // low.itemsize)


def _kernel(weight: Tensor, low: torch.dtype, x: Tensor) -> Tensor:
    """A weight (O, I, K, K) in this precision for maps of a size, filled up as they are."""
    narrow = max(weight.shape[:2]) <= _NARROW and weight.shape[2] == 3 and x.shape[3] % 2 == 0
    return cast_weight(weight, low, _filled_up_in_twos if narrow else _filled_up)


def _filled_up(kernel: Tensor) -> Tensor:
    outputs, inputs = (_aligned(size, kernel.dtype) - size for size in kernel.shape[:2])
    if outputs or inputs:
        kernel = functional.pad(kernel, (0, 0, 0, 0, 0, inputs, 0, outputs))
    return kernel.contiguous(memory_format=torch.channels_last)


def _filled_up_in_twos(kernel: Tensor) -> Tensor:
    return kernel_in_twos(_filled_up(kernel))


def _conv(x: Tensor, kernel: Tensor) -> Tensor:
    """With "same" padding and without a bias."""
    if kernel.shape[2] == 1:
        return maps_of(rows_of(x) @ kernel.flatten(1).t(), x)
    fitting = _fitting(x, kernel)
    y = laid_out(torch.conv2d(fitting, kernel, padding=kernel.shape[2] // 2), CHANNELS_LAST)
    return y if fitting is x else _apart(y)


def _conv_back(grad: Tensor, x: Tensor, kernel: Tensor) -> Tensor:
    """The gradient of the input."""
    if kernel.shape[2] == 1:
        return maps_of(rows_of(grad) @ kernel.flatten(1), x)
    fitting = _fitting(x, kernel)
    twos = fitting is not x
    found = _convolution_backward(_in_twos(grad) if twos else grad, fitting, kernel, 0)
    found = laid_out(found, CHANNELS_LAST)
    return _apart(found) if twos else found


def _weight_gradient(
    grad: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, more: Tensor | None
) -> Tensor:
    """That of the weight that the kernel was made of, added to one that is known."""
    fitting = _fitting(x, kernel)
    if kernel.shape[2] == 1:
        found = (rows_of(grad).t() @ rows_of(x)).view_as(kernel)
    elif fitting is x:
        found = _convolution_backward(grad, x, kernel, 1)
    else:
        found = kernel_of_twos(_convolution_backward(_in_twos(grad), fitting, kernel, 1))
    outputs, inputs, size, _ = weight.shape
    rows = rows_of(laid_out(found, CHANNELS_LAST))[: outputs * size**2]
    onto = None if more is None else _dense_rows(more)
    return maps_of(cropped(rows, inputs, weight.dtype, onto), weight)


def _convolution_backward(grad: Tensor, x: Tensor, kernel: Tensor, which: int) -> Tensor:
    padding = [kernel.shape[2] // 2] * 2
    wanted = [which == 0, which == 1, False]
    return torch.ops.aten.convolution_backward(
        grad, x, kernel, None, [1, 1], padding, [1, 1], False, [0, 0], 1, wanted
    )[which]


# Tensor cores work on tiles of 64 channels, of which a narrow convolution uses few. Two neighbours
# of a row are one pixel of twice the channels, at no cost: channels are innermost in memory. The
# kernel for them has twice the taps, half of which are zero, and is the faster one.


def _fitting(x: Tensor, kernel: Tensor) -> Tensor:
    """Maps, in twos where the kernel is for these."""
    return x if kernel.shape[1] == x.shape[1] else _in_twos(x)


def _in_twos(x: Tensor) -> Tensor:
    """(N, C, H, W) in channels_last order as (N, 2C, H, W/2), a view."""
    n, channels, height, width = x.shape
    pairs = x.permute(0, 2, 3, 1).reshape(n, height, width // 2, 2 * channels)
    return pairs.permute(0, 3, 1, 2)


def _apart(x: Tensor) -> Tensor:
    """What ``_in_twos`` undoes."""
    n, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(n, height, 2 * width, channels // 2)
    return pixels.permute(0, 3, 1, 2)


def kernel_in_twos(kernel: Tensor) -> Tensor:
    """The kernel (2O, 2I, 3, 3) for pixels in twos, of one (O, I, 3, 3) for pixels.

    The first output of two sees the taps at distances -1, 0, 1 from itself, the second sees them
    one pixel further to the right; of the six pixels of three pairs these are 1 to 3 and 2 to 4.
    """
    outputs, inputs, height, _ = kernel.shape
    both = torch.stack([functional.pad(kernel, (1, 2)), functional.pad(kernel, (2, 1))])
    pairs = both.view(2, outputs, inputs, height, 3, 2).permute(0, 1, 5, 2, 3, 4)
    pairs = pairs.reshape(2 * outputs, 2 * inputs, height, 3)
    return pairs.contiguous(memory_format=torch.channels_last)


def kernel_of_twos(grad: Tensor) -> Tensor:
    """The gradient of a kernel out of that of ``kernel_in_twos``."""
    outputs, inputs, height, _ = grad.shape
    pairs = grad.reshape(2, outputs // 2, 2, inputs // 2, height, 3).permute(0, 1, 3, 4, 5, 2)
    first, second = pairs.flatten(-2)
    return first[..., 1:4] + second[..., 2:5]


class _Aside:
    """In a CUDA graph, what runs within it runs beside what comes next, until ``join``."""

    _streams: ClassVar[dict[torch.device, Any]] = {}

    def __init__(self, x: Tensor) -> None:
        self.stream: Any = None
        if x.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            self.stream = self._streams.get(x.device)
            if self.stream is None:
                self.stream = self._streams.setdefault(x.device, torch.cuda.Stream(x.device))

    def __enter__(self) -> "_Aside":
        if self.stream is not None:
            self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))
            self.context = torch.cuda.stream(self.stream)
            self.context.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self.stream is not None:
            self.context.__exit__(*error)

    def join(self) -> None:
        """Let what comes next wait for it."""
        if self.stream is not None:
            torch.cuda.current_stream(self.stream.device).wait_stream(self.stream)
