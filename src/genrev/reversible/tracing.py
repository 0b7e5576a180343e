"""Who looks on while a chain is run: compilers and other kinds of differentiation.

They see through plain operations only, so what the package computes in ways of its own (a backward
pass that recomputes, products of matrices in place) gives way to plain operations for them.
"""

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["batched", "transformed"]


def batched(grad: Tensor) -> bool:
    """Whether it stands for many gradients, as with ``is_grads_batched`` of ``autograd.grad``."""
    return torch._C._functorch.is_legacy_batchedtensor(grad)


def transformed() -> bool:
    """Whether ``torch.func`` or forward-mode differentiation is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
