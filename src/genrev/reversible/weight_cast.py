"""Weights in the precision of autocast, cast once for all passes of a training step.

A reversible step runs every network four times (encode, decode, and each once more in the backward
pass). Casting the weights each time would cost as much as the products on small maps. A cast lives
as long as a node of the graph keeps it, so from the first forward pass to the end of the backward
pass, and is found again by the memory of its weight. That is autocast's own rule, whose cache ends
with its context and is not open to others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor

__all__ = ["Casts", "cast_weight", "keeping_casts"]


class _Cast:
    """A weight in another precision.

    Attributes:
        value: the weight in the other dtype, detached.
        source: the weight, detached; keeping it means that nothing else gets its address.
        version: how often the weight had been changed in place.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        self.source = weight.detach()
        self.value = self.source.to(dtype)
        self.version = weight._version


Casts = list[_Cast]
_known: "WeakValueDictionary[tuple[object, ...], _Cast]" = WeakValueDictionary()
_kept: ContextVar[Casts | None] = ContextVar("kept", default=None)


@contextmanager
def keeping_casts(casts: Casts) -> Iterator[None]:
    """Within it ``cast_weight`` adds what it casts or finds to the list."""
    token = _kept.set(casts)
    try:
        yield
    finally:
        _kept.reset(token)


def cast_weight(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """``weight.detach().to(dtype)``, not computed again while somebody keeps it.

    A weight that was changed in place is cast anew. Only changes behind autograd's back, through
    ``weight.data``, between forward and backward pass go unnoticed, as they do everywhere.
    """
    casts = _kept.get()
    if casts is None or weight.dtype == dtype or weight.is_inference():
        return weight.detach().to(dtype)
    key = (weight.data_ptr(), weight.shape, weight.stride(), weight.dtype, weight.device, dtype)
    cast = _known.get(key)
    if cast is None or cast.version != weight._version:
        cast = _known[key] = _Cast(weight, dtype)
    casts.append(cast)
    return cast.value
