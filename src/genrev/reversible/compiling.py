"""Which networks ``torch.compile`` is given, and where."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from genrev.reversible.coupling import AdditiveCoupling

__all__ = ["compile_networks", "compiling_pays"]


def compiling_pays(x: Tensor) -> bool:
    """Whether compiled networks are expected to be faster where x is.

    On the CPU they never were: on maps of 8x8 to 32x32 pixels, forward and backward took 1.3 to 3.9
    times as long as PyTorch's kernels in channels_last order, in float32 and bfloat16.
    """
    return x.device.type == "cuda"


def compile_networks(blocks: Iterable[nn.Module]) -> None:
    """Compile f and g of all couplings in place, once; parameters and names stay as they are.

    Blocks are not compiled as a whole: the engine runs f and g again in the backward pass, and
    what stands between them moves too few numbers to be worth it.
    """
    for block in blocks:
        if not isinstance(block, AdditiveCoupling):
            continue
        for network in (block.f, block.g):
            if network._compiled_call_impl is None:
                network._compiled_call_impl = _compiled_call(network)


def _compiled_call(network: nn.Module) -> Any:
    # As network.compile() does, except that it compiles the modules within an nn.Sequential one by
    # one, and this the network as a whole.
    def call(x: Tensor) -> Tensor:
        return network._call_impl(x)

    # The compiler gives up after eight variants of one piece of code, fewer than there are stages:
    # each network gets a copy, counted by itself.
    call.__code__ = call.__code__.replace()
    return torch.compile(call, dynamic=False)
