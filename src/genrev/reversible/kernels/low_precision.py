"""Weights in the precision of autocast, cast once for all passes of a training step.

A reversible step runs every network four times (encode, decode, and each once more in the backward
pass). Casting the weights each time would cost as much as the products on small maps. Autocast's
own cache ends with its context, which the backward pass is not in, and is not open to others.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

_Casts = dict[tuple[Any, ...], tuple[Tensor, Tensor]]


class _Scope(threading.local):
    casts: _Casts | None = None


_scope = _Scope()


@contextmanager
def low_precision_weights() -> Iterator[None]:
    """Cast each weight once for everything that this thread runs within.

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
    outer, _scope.casts = _scope.casts, {}
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
    # An alias, as a replay may run, is the same weight.
    place = (weight.data_ptr(), weight.device, weight.shape, weight.stride(), weight.dtype)
    key = (*place, weight._version, dtype, further)
    if key not in casts:
        source = weight.detach()  # kept, so that nothing else gets its address
        low = source.to(dtype)
        casts[key] = source, low if further is None else further(low)
    return casts[key][1]


def _forget(*_: object) -> None:
    if _scope.casts is not None:
        _scope.casts.clear()


# Fused optimisers do not tell autograd that they change weights.
register_optimizer_step_post_hook(_forget)
