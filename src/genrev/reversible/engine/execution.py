"""How a chain of blocks is computed, as opposed to what it computes.

An ``Engine`` is what one asks for. ``torch.compile``, ``torch.func`` and forward-mode
differentiation can trace plain operations only. Under them, what the package computes in ways of
its own (a backward pass that recomputes, products of matrices in place) gives way to those.
"""

from collections.abc import Iterable
from typing import Any, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.autograd import forward_ad

from genrev.options import OptionError, Options

_COMPILED = ("cuda",)  # device types
Memory = Literal["reversible", "stored"]
"""What becomes of activations, see ``Engine``."""


class Engine(Options):
    """Execution of a reversible network; no setting changes what is computed beyond rounding."""

    memory: Memory = "reversible"
    """Recompute activations in the backward pass (reversible), or keep them (stored), which is
    faster where they fit. Few activations of large layers are kept in both."""
    exact: bool = False
    """Keep the stream between the blocks in fixed point, so that what is recomputed is what was
    computed, bit for bit."""
    compile: bool = False
    """Let ``torch.compile`` work on f and g, on CUDA only; not together with ``exact``."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.exact and self.compile:
            raise OptionError(
                "The options exact and compile exclude each other, since compiled networks need "
                "not give the same bits twice; leave one of them out."
            )
        return self


def batched(grad: Tensor) -> bool:
    """Whether it stands for many gradients, as with ``is_grads_batched`` of ``autograd.grad``."""
    return torch._C._functorch.is_legacy_batchedtensor(grad)


def transformed() -> bool:
    """Whether ``torch.func`` or forward-mode differentiation is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def uncompiled(module: nn.Module) -> nn.Module:
    """What is within a module that ``torch.compile`` returned; any other is returned as it is."""
    inner = module._modules.get("_orig_mod")
    return module if inner is None else inner


def compile_networks(networks: Iterable[nn.Module], device: torch.device) -> None:
    """Compile networks of blocks in place, once, where that pays; parameters and names stay.

    Blocks are not compiled as a whole: the engine runs f and g again in the backward pass, and
    what stands between them moves too few numbers to be worth it. On the CPU nothing is compiled:
    on maps of 8x8 to 32x32 pixels, forward and backward took 1.3 to 3.9 times as long as PyTorch's
    kernels in channels_last order, in float32 and bfloat16.
    """
    for network in networks if device.type in _COMPILED else ():
        if network._compiled_call_impl is None:
            network._compiled_call_impl = _compiled_call(network)


def _compiled_call(network: nn.Module) -> Any:
    # As network.compile() does, except that it compiles the modules within an nn.Sequential one by
    # one, and this the network as a whole.
    def call(x: Tensor, *context: Tensor) -> Tensor:
        return network._call_impl(x, *context)

    # The compiler gives up after eight variants of one piece of code, fewer than there are stages:
    # each network gets a copy, counted by itself.
    call.__code__ = call.__code__.replace()
    return torch.compile(call, dynamic=False)
