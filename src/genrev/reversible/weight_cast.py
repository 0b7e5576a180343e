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
        version: how often autograd had seen the weight change.
        probe: some numbers of the weight.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        self.source = weight.detach()
        self.value = self.source.to(dtype)
        self.version = weight._version
        self.probe = _probe(self.source).clone()

    def is_of(self, weight: Tensor) -> bool:
        """Whether the weight is still what was cast.

        Fused optimisers and edits of ``weight.data`` change it without changing its version. They
        change all of it, so a few numbers tell.
        """
        return self.version == weight._version and torch.equal(_probe(weight.detach()), self.probe)


def _probe(weight: Tensor) -> Tensor:
    """Up to 64 numbers from all over a dense tensor, a view."""
    step = max(1, weight.numel() // _PROBED)
    count = min(_PROBED, weight.numel())
    return weight.as_strided((count,), (step,), weight.storage_offset())


Casts = list[_Cast]
_PROBED = 64
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

    A weight that has changed since is cast anew.
    """
    casts = _kept.get()
    dense = weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)
    if casts is None or weight.dtype == dtype or weight.is_inference() or not dense:
        return weight.detach().to(dtype)
    key = (weight.data_ptr(), weight.shape, weight.stride(), weight.dtype, weight.device, dtype)
    cast = _known.get(key)
    if cast is None or not cast.is_of(weight):
        cast = _known[key] = _Cast(weight, dtype)
    casts.append(cast)
    return cast.value
