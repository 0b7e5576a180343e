"""Weights in the precision of autocast, cast once for all passes of a training step.

A reversible step runs every network four times (encode, decode, and each once more in the backward
pass). Casting the weights each time would cost as much as the products on small maps. Autocast's
own cache ends with its context, which the backward pass is not in, and is not open to others.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

_HOST = "cpu"  # where a kernel costs nothing to launch


class _Casts(dict[tuple[Any, ...], tuple[Tensor, Tensor]]):
    """What was cast, each beside its source, and weights that are still to be cast together."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self.waiting = [weight for weight in weights if weight.dim() == 4]
        self.others: dict[Any, Any] = {}

    def clear(self) -> None:
        """Forget all of them."""
        super().clear()
        self.waiting = []
        self.others.clear()

    def add(self, source: Tensor, dtype: torch.dtype) -> None:
        """Cast a weight, and at the first time on a device all that are like it in one kernel."""
        sources = [source]
        if source.device.type != _HOST:
            like = source.device, source.dtype
            these = [w for w in self.waiting if (w.device, w.dtype) == like]
            self.waiting = [w for w in self.waiting if (w.device, w.dtype) != like]
            places = {_place(w): w.detach() for w in these if not w.is_inference()}
            sources = [*{**places, _place(source): source}.values()]
        if len(sources) == 1:
            lows = [source.to(dtype)]
        else:
            lows = [torch.empty_like(each, dtype=dtype) for each in sources]
            torch._foreach_copy_(lows, sources)
        for each, low in zip(sources, lows, strict=True):
            self[(*_place(each), dtype, None)] = each, low


def _place(weight: Tensor) -> tuple[Any, ...]:
    """What tells a weight from others: where it lies, and how often it was changed."""
    # An alias, as a replay may run, is the same weight.
    where = weight.data_ptr(), weight.device, weight.shape, weight.stride(), weight.dtype
    return *where, weight._version


class _Scope(threading.local):
    casts: _Casts | None = None


_scope = _Scope()


@contextmanager
def low_precision_weights(weights: Iterable[Tensor] = ()) -> Iterator[None]:
    """Cast each weight once for everything that this thread runs within.

    Of the ``weights``, such as the parameters of a network, kernels of convolutions that lie on a
    device are cast all at once as soon as one of them is needed.

    Put it around losses and backward pass of a step, and leave it before the weights change.
    Nothing is taken over into a scope or out of it, be it nested. The results are the same either
    way, it only saves time. An optimiser's step within it, or an edit in place, is seen as well;
    one of ``weight.data`` is not.

    Example:
        >>> from genrev.networks import revnet
        >>> net, x = revnet("digits"), torch.rand(2, 1, 8, 8)
        >>> with low_precision_weights():
        ...     with torch.autocast("cpu", torch.bfloat16):
        ...         loss = net.decode(net.encode(x)).square().mean()
        ...     loss.backward()
    """
    outer, _scope.casts = _scope.casts, _Casts(weights)
    casts = _scope.casts
    try:
        yield
    finally:
        casts.clear()  # another thread may hold it, see same_scope
        _scope.casts = outer


def same_scope() -> Callable[[], AbstractContextManager[None]]:
    """Enters the scope that this thread is in now, in another thread.

    Autograd computes the gradients of what is on a device in a thread of its own.
    """
    casts = _scope.casts
    return nullcontext if casts is None else partial(_within, casts)


@contextmanager
def _within(casts: _Casts) -> Iterator[None]:
    outer, _scope.casts = _scope.casts, casts
    try:
        yield
    finally:
        _scope.casts = outer


def cast_weight(
    weight: Tensor, dtype: torch.dtype, further: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """``weight.detach().to(dtype)``, computed once within ``low_precision_weights``.

    ``further`` is what else is to be done with it, a function of the module.
    """
    casts = _scope.casts
    same = weight.dtype == dtype and further is None
    if casts is None or same or weight.is_inference():
        low = weight.detach().to(dtype)
        return low if further is None else further(low)
    place = _place(weight)
    key = *place, dtype, further
    if key not in casts:
        source = weight.detach()  # kept, so that nothing else gets its address
        if further is None:
            casts.add(source, dtype)
        else:
            casts[key] = source, further(cast_weight(source, dtype))
    return casts[key][1]


def once_a_scope(key: Any, make: Callable[[], Any]) -> Any:
    """What ``make`` gives, once within ``low_precision_weights`` for equal keys; else ``None``."""
    casts = _scope.casts
    if casts is None:
        return None
    if key not in casts.others:
        casts.others[key] = make()
    return casts.others[key]


def _forget(*_: object) -> None:
    if _scope.casts is not None:
        _scope.casts.clear()


# Fused optimisers do not tell autograd that they change weights.
register_optimizer_step_post_hook(_forget)
