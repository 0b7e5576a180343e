"""The same couplings, with the same weights, run by other libraries.

Every peer is a pair of functions, encode and decode, on the blocks of one plain network. Peers
that are not installed are left out.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from genrev.networks import RevNet
from genrev.reversible import AdditiveCoupling, ReversibleSequential, SmallMapConv2d

# Module to import, and what a line of the results says about it.
PEERS = {
    "memcnn": "memcnn",
    "revtorch": "RevTorch (its encoder; it has no inverse, so the decoder is plain autograd)",
    "FrEIA": "FrEIA",
}

_Functions = list[Callable[..., Any]]


class Peer(NamedTuple):
    """Two functions between images (N, C, H, W) and latents (N, D)."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


def missing_peers() -> list[str]:
    """Peers that are not installed."""
    return [name for name in PEERS if find_spec(name) is None]


def images(n: int, net: RevNet) -> Tensor:
    """Random images for the network."""
    return torch.rand(n, *net.image_shape, generator=torch.Generator().manual_seed(0))


def with_plain_convolutions(net: RevNet) -> RevNet:
    """Replace, in place, genrev's convolutions by ``nn.Conv2d`` with equal weights."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, SmallMapConv2d):
                side = child.kernel_size[0]
                plain = nn.Conv2d(child.in_channels, child.out_channels, side, padding=side // 2)
                plain.load_state_dict(child.state_dict())
                setattr(module, name, plain.to(child.weight.device))
    return net


def peers(net: RevNet) -> dict[str, Peer]:
    """``net``, a plain network without padding, as it is and as others run its blocks."""
    assert isinstance(net.blocks, ReversibleSequential)
    blocks = list(net.blocks.blocks)
    runners = {
        "plain autograd": _plain,
        "torch checkpoint": _checkpoint,
        "memcnn": _memcnn,
        "revtorch": _revtorch,
        "FrEIA": _freia,
    }
    here = [name for name in runners if name not in missing_peers()]
    return {name: _peer(net, *runners[name](blocks)) for name in here}


def _peer(net: RevNet, forwards: _Functions, inverses: _Functions) -> Peer:
    def encode(x: Tensor) -> Tensor:
        for forward in forwards:
            x = forward(x)
        return x.reshape(len(x), -1)

    def decode(z: Tensor) -> Tensor:
        y = z.view(len(z), *net.latent_shape)
        for inverse in reversed(inverses):
            y = inverse(y)
        return y

    return Peer(encode, decode)


def _plain(blocks: list[Any]) -> tuple[_Functions, _Functions]:
    return blocks, [block.inverse for block in blocks]


def _checkpoint(blocks: list[Any]) -> tuple[_Functions, _Functions]:
    kept = partial(partial, checkpoint, use_reentrant=False)
    return [kept(block) for block in blocks], [kept(block.inverse) for block in blocks]


def _with_couplings(
    blocks: list[Any], rebuild: Callable[[AdditiveCoupling], tuple[Any, Any]]
) -> tuple[_Functions, _Functions]:
    """Both directions of all blocks, of couplings those that ``rebuild`` gives."""
    pairs = [rebuild(b) if isinstance(b, AdditiveCoupling) else (b, b.inverse) for b in blocks]
    return [forward for forward, _ in pairs], [inverse for _, inverse in pairs]


def _memcnn(blocks: list[Any]) -> tuple[_Functions, _Functions]:
    memcnn: Any = import_module("memcnn")  # untyped

    def rebuild(block: AdditiveCoupling) -> tuple[Any, Any]:
        wrapped = memcnn.InvertibleModuleWrapper(memcnn.AdditiveCoupling(block.f, block.g))
        return wrapped, wrapped.inverse

    forwards, inverses = _with_couplings(blocks, rebuild)
    # It empties the caller's tensors, the clamped z that the penalty needs among them.
    last = inverses[-1]
    inverses[-1] = lambda y: last(y.clone())
    return forwards, inverses


def _revtorch(blocks: list[Any]) -> tuple[_Functions, _Functions]:
    revtorch: Any = import_module("revtorch")
    forwards: _Functions = []
    chain: list[nn.Module] = []
    for block in [*blocks, None]:
        if isinstance(block, AdditiveCoupling):
            chain.append(revtorch.ReversibleBlock(block.f, block.g))
            continue
        if chain:
            forwards.append(revtorch.ReversibleSequence(nn.ModuleList(chain)))
            chain = []
        if block is not None:
            forwards.append(block)
    # A chain whose input needs no gradient gets none at all.
    first = forwards[0]
    forwards[0] = lambda x: first(x).requires_grad_()
    return forwards, [block.inverse for block in blocks]


def _freia(blocks: list[Any]) -> tuple[_Functions, _Functions]:
    modules: Any = import_module("FrEIA.modules")

    def rebuild(block: AdditiveCoupling) -> tuple[Any, Any]:
        networks = iter((block.f, block.g))
        first = next(module for module in block.f.modules() if isinstance(module, nn.Conv2d))
        coupling = modules.NICECouplingBlock(
            [(2 * first.in_channels, 1, 1)], subnet_constructor=lambda *_: next(networks)
        )
        return (lambda x: coupling([x])[0][0]), (lambda y: coupling([y], rev=True)[0][0])

    return _with_couplings(blocks, rebuild)
