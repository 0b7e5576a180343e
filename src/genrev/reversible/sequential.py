"""A chain of invertible blocks, inverted block by block in reverse order."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from genrev.reversible.compiling import compile_networks, compiling_pays
from genrev.reversible.engine import apply_block, run_reversible
from genrev.reversible.execution import Engine, Memory
from genrev.reversible.fixed_point import FixedPoint
from genrev.reversible.replay import AutocastState
from genrev.reversible.tracing import transformed

__all__ = ["ReversibleSequential"]


class ReversibleSequential(nn.Module):
    """Apply blocks one after the other; ``inverse`` cascades their inverses backwards.

    With ``memory="reversible"`` the backward pass recomputes every block's input from its output,
    in both directions. The memory for activations is then that of one block, however many there
    are, for about a third more arithmetic. Gradients differ from the stored ones by the rounding
    of the round trip, which ``exact=True`` removes.

    **What exact=True guarantees.** The stream between the blocks is held in whole steps of 2^-16
    (int32), and the outputs of f and g are rounded to steps. Then, bit for bit,
    ``inverse(forward(x)) == x`` for every x on the grid, ``forward(inverse(y)) == y`` likewise, and
    the gradients of ``"reversible"`` equal those of ``"stored"``; with autocast too, and at any
    depth. Other inputs are rounded to the grid first, by at most 2^-17: pixels k/255 come back as
    the same 8-bit numbers. Gradients pass the rounding straight through. Numbers outside the
    range raise: 8192 within the chain, 256 at its end when it runs in float32.

    It rests on f and g giving the same bits for the same input, which kernels do as long as
    batch size, number of threads, device, library versions and autocast stay the same. Across
    those they may differ in the last bit and, where that changes a rounding, the result by a step
    or more. For results that must travel use ``chain.double()`` with float64 inputs: differences
    of 1e-16 meet a rounding boundary about once in 10^10 numbers.

    **What takes part in the backward pass.** With ``"reversible"``, the input and the parameters of
    the blocks get gradients; a tensor that f or g reads from elsewhere (a condition that is set as
    an attribute, say) gets none. Take ``"stored"`` for that.

    Args:
        *blocks: modules with ``forward`` and ``inverse``; ``genrev.reversible.engine`` says what
            else they may offer.
        memory: ``"reversible"`` recomputes activations in the backward pass, ``"stored"`` keeps
            them all (plain autograd).
        exact: keep the stream in fixed point.
        compile: run f and g of couplings through ``torch.compile`` where that pays, which is on
            CUDA: on the CPU it was slower on all maps (docs/engine.md).

    Raises:
        TypeError: a block has no ``inverse``, or ``exact`` and it cannot work in fixed point.
        OptionError: an unknown ``memory`` mode, or ``compile`` and ``exact`` together.

    Example:
        >>> import torch
        >>> from genrev.reversible import AdditiveCoupling, CheckerboardSubsample, round_to_grid
        >>> f, g = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        >>> chain = ReversibleSequential(
        ...     CheckerboardSubsample(), AdditiveCoupling(f, g), memory="reversible", exact=True
        ... )
        >>> x = round_to_grid(torch.rand(2, 1, 8, 8))
        >>> chain(x).shape, torch.equal(chain.inverse(chain(x)), x)
        (torch.Size([2, 4, 4, 4]), True)
    """

    def __init__(
        self,
        *blocks: nn.Module,
        memory: Memory = "reversible",
        exact: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        for position, block in enumerate(blocks):
            if not callable(getattr(block, "inverse", None)):
                raise TypeError(
                    f"block {position} is a {type(block).__name__} without an inverse method."
                )
        self.blocks = nn.ModuleList(blocks)
        self.set_engine(Engine(memory=memory, exact=exact, compile=compile))

    def set_engine(self, engine: Engine) -> None:
        """Run it in another way from now on.

        Raises:
            TypeError: ``exact``, and a block cannot work in fixed point.
        """
        for position, block in enumerate(self.blocks):
            if engine.exact and not (
                hasattr(block, "backtrack") or hasattr(block, "is_permutation")
            ):
                raise TypeError(
                    f"exact=True needs blocks that work in fixed point, and block {position}, a "
                    f"{type(block).__name__}, has neither backtrack nor is_permutation."
                )
        self.engine = engine

    def forward(self, x: Tensor) -> Tensor:
        """Map x through all blocks; shapes as the blocks have them."""
        return self._run(list(self.blocks), x, inverse=False)

    def inverse(self, y: Tensor) -> Tensor:
        """Map y through the inverses of all blocks, last block first."""
        return self._run(list(self.blocks)[::-1], y, inverse=True)

    def forward_with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x through all blocks and give log|det| of the Jacobian there, (N,).

        Blocks that preserve volume take the same way as in ``forward``. Where a block does not,
        activations are kept whatever ``memory`` says: the engine hands one stream from block to
        block, and a log-determinant is a second one.

        Raises:
            TypeError: a block that has no log-determinant.
        """
        unknown = [block for block in self.blocks if not _has_log_det(block)]
        if unknown:
            raise TypeError(f"the log-determinant of a {type(unknown[0]).__name__} is not known.")
        log_det = x.new_zeros(len(x))
        if all(map(_preserves_volume, self.blocks)):
            return self(x), log_det
        for block in self.blocks:
            if _preserves_volume(block):
                x = block(x)
            else:
                x, change = block.forward_with_log_det(x)  # type: ignore[operator]
                log_det = log_det + change
        return x, log_det

    def _run(self, blocks: list[nn.Module], x: Tensor, *, inverse: bool) -> Tensor:
        if self.engine.compile and compiling_pays(x):
            compile_networks(blocks)
        # Transforms differentiate what they see, and an exporter writes it down: give them all of
        # it. A replica of nn.DataParallel has no parameters of its own that a node could hand on.
        seen = transformed() or torch.compiler.is_exporting()
        plain = seen or getattr(self, "_is_replica", False)
        reversible = self.engine.memory == "reversible" and torch.is_grad_enabled() and not plain
        if self.engine.exact:
            return _as_it_is(_run_exact)(blocks, x, inverse, reversible)
        if reversible:
            return _as_it_is(run_reversible)(blocks, x, inverse)
        for block in blocks:
            x = block.inverse(x) if inverse else block(x)  # type: ignore[operator]
        return x

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> nn.Module:
        return self.blocks[index]


def _as_it_is(run: Callable[..., Any]) -> Callable[..., Any]:
    """For ``torch.compile``, which would keep activations, and round in other places."""
    compiling = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    return _uncompiled(run) if compiling else run


@cache
def _uncompiled(run: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compiler.disable(run, reason="chains that are reversible or exact run as they are")


def _preserves_volume(block: nn.Module) -> bool:
    return any(getattr(block, name, False) for name in ("is_permutation", "is_volume_preserving"))


def _has_log_det(block: nn.Module) -> bool:
    return _preserves_volume(block) or hasattr(block, "forward_with_log_det")


def _run_exact(blocks: list[nn.Module], x: Tensor, inverse: bool, reversible: bool) -> Tensor:
    stream = FixedPoint.of(x)
    peaks = [stream.peak()]
    # Without autocast's cache, for it would add the gradients of several runs in low precision.
    with AutocastState.now(x)():
        if reversible:
            stream = run_reversible(blocks, stream, inverse, peaks)
        else:
            for block in blocks:
                stream = apply_block(block, stream, inverse)
                peaks.append(stream.peak())
    if not torch.compiler.is_exporting():  # an exported program has no exceptions
        stream.check(peaks)
    return stream.value
