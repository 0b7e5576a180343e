"""Chains of blocks, inverted block by block, and chains between which channels leave."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from genrev.reversible.block import Block
from genrev.reversible.engine.backward import run_reversible
from genrev.reversible.engine.execution import (
    Engine,
    Memory,
    compile_networks,
    transformed,
    uncompiled,
)
from genrev.reversible.engine.replay import autocast_now
from genrev.reversible.stream import FixedPoint, peak, whole


class ReversibleSequential(Block):
    """Apply blocks one after the other; ``inverse`` cascades their inverses backwards.

    With ``memory="reversible"`` the backward pass recomputes every block's input from its output,
    in both directions. The memory for activations is then that of one block, however many there
    are, for about a third more arithmetic. Gradients differ from the stored ones by the rounding
    of the round trip, which ``exact=True`` removes. A block whose activations are small beside
    its weights keeps them, since to recompute them would take longer and more memory
    (``Block.worth_keeping``).

    **What exact=True guarantees.** The stream between the blocks is held in whole steps of 2^-16
    (int32), and the outputs of f and g are rounded to steps. Then, bit for bit,
    ``inverse(forward(x)) == x`` for every x on the grid, ``forward(inverse(y)) == y`` likewise, and
    the gradients of ``"reversible"`` equal those of ``"stored"``; with autocast too, and at any
    depth. Other inputs are rounded to the grid first, by at most 2^-17: pixels k/255 come back as
    the same 8-bit numbers. Gradients pass the rounding straight through. Numbers outside the
    range raise: 8192 within the chain, 256 at its end when it runs in float32.

    It rests on f and g giving the same bits for the same input, which kernels do as long as batch
    size, threads, device, library versions and autocast stay the same. Across those the last bit
    may differ and, where that changes a rounding, the result by a step or more. For results that
    must travel use ``chain.double()`` with float64 inputs: differences of 1e-16 meet a rounding
    boundary about once in 10^10 numbers.

    **What takes part in the backward pass.** With ``"reversible"``, the input and the parameters of
    the blocks get gradients, and so does the context of conditional couplings. A tensor that f or g
    reads from elsewhere (one that is set as an attribute, say) gets none. Take ``"stored"`` for
    that.

    **Context.** Blocks that are ``conditional`` all get the tensor that ``forward`` and ``inverse``
    are given beside the stream, others do not see it.

    Args:
        *blocks: what ``Block`` says; a ``ModuleBlock`` makes one of any module that has
            ``forward`` and ``inverse``.
        memory: of an ``Engine``, as are ``exact`` and ``compile``.

    Raises:
        TypeError: no block, or ``exact`` and one that does not preserve the grid.
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
        *blocks: Block,
        memory: Memory = "reversible",
        exact: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        for position, block in enumerate(blocks):
            if not (isinstance(block, nn.Module) and isinstance(uncompiled(block), Block)):
                cure = (
                    "inherit from Block, or wrap a module that has forward and inverse in a "
                    "ModuleBlock."
                )
                if isinstance(block, Sequence):
                    cure = "give blocks one by one, ReversibleSequential(*blocks)."
                raise TypeError(
                    f"Block {position} is a {type(block).__name__} and no genrev.reversible.Block; "
                    f"{cure}"
                )
        self.blocks = nn.ModuleList(blocks)
        self.conditional = any(block.conditional for block in self._blocks())
        self.set_engine(Engine(memory=memory, exact=exact, compile=compile))

    def set_engine(self, engine: Engine) -> None:
        """Run it in another way from now on; ``TypeError`` if a block does not allow ``exact``."""
        self.require(engine)
        self.engine = engine

    def require(self, engine: Engine) -> None:
        """Raise what ``set_engine`` would raise, and change nothing."""
        for position, block in enumerate(self._blocks() if engine.exact else ()):
            if not block.preserves_grid:
                raise TypeError(
                    f"exact=True needs blocks that work in fixed point, and block {position}, a "
                    f"{type(block).__name__}, does not say so by is_permutation or preserves_grid."
                )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map x through all blocks; shapes as the blocks have them."""
        return self._run(x, False, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Map y through the inverses of all blocks, last block first, with the same context."""
        return self._run(y, True, context)

    def forward_with_log_det(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map x through all blocks and give log|det| of the Jacobian there, (N,).

        Memory is constant in depth here too: the log-determinant is a second output of every
        block, and its gradient enters where the block is recomputed.

        Raises:
            TypeError: a block that has no log-determinant.
        """
        log_dets: list[Tensor] = []
        y = self._run(x, False, context, log_dets)
        log_det = x.new_zeros(len(x))
        for change in log_dets:
            log_det = log_det + change
        return y, log_det

    def _blocks(self) -> list[Any]:
        return list(map(uncompiled, self.blocks))

    def _run(
        self,
        x: Tensor,
        inverse: bool,
        context: Tensor | None,
        log_dets: list[Tensor] | None = None,
    ) -> Tensor:
        engine, step = self.engine, -1 if inverse else 1
        blocks = self._blocks()[::step]
        self.given(context)
        if engine.compile:
            compile_networks((f for block in blocks for f in block.networks()), x.device)
        # Transforms differentiate what they see, and an exporter writes it down: give them all of
        # it. A replica of nn.DataParallel has no parameters of its own that a node could hand on.
        seen = transformed() or torch.compiler.is_exporting()
        plain = seen or self.__dict__.get("_is_replica", False)
        reversible = engine.memory == "reversible" and torch.is_grad_enabled() and not plain
        if engine.exact and not (log_dets is not None and _stretches(blocks)):
            return _as_it_is(_run_exact)(blocks, x, inverse, reversible, context)
        if reversible:
            return _as_it_is(_run_reversible)(blocks, x, inverse, log_dets, context)
        stream: Any = x
        modules: list[Any] = list(self.blocks)[::step]
        for block, module in zip(blocks, modules, strict=True):
            if module is block or (log_dets is not None and not block.preserves_volume):
                stream = _run_block(block, stream, inverse, log_dets, context)
            else:  # compiled
                given = block.given(context) if block.conditional else ()
                stream = (module.inverse if inverse else module)(whole(stream), *given)
        return whole(stream)

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> nn.Module:
        return self.blocks[index]


class FactorOut(Block):
    """Chains of blocks, between which half of the channels leave.

    After every stage but the last, the second half of the channels is done: it goes into the output
    as it is, and the next stage works on the first half. Coarse structure passes through all
    stages, fine detail through the first ones only, which halves what every further stage has to
    compute::

        x -> stage 1 -> (h1, z1)    z = (z1, z2, ..., zK), each flattened,
        h1 -> stage 2 -> (h2, z2)   in the order in which they leave: fine to coarse
        ...
        hK-1 -> stage K -> zK

    Splitting only sorts numbers, so the whole is a bijection as the stages are, exact where they
    are, and its log-determinant is the sum of theirs (Dinh et al., "Density estimation using Real
    NVP", 2017, Section 3.6).

    Args:
        stages: chains of one engine; for the backward pass the output of every one is kept.
        shapes: (C, H, W) of the output of every stage, before half of it leaves; C even.

    Example:
        >>> from genrev.reversible import CheckerboardSubsample
        >>> stages = [ReversibleSequential(CheckerboardSubsample()) for _ in range(2)]
        >>> net = FactorOut(stages, [(4, 2, 2), (8, 1, 1)])
        >>> x = torch.rand(3, 1, 4, 4)
        >>> z = net(x)
        >>> z.shape, torch.equal(net.inverse(z), x)
        (torch.Size([3, 16]), True)
    """

    def __init__(
        self, stages: Sequence[ReversibleSequential], shapes: Sequence[tuple[int, ...]]
    ) -> None:
        super().__init__()
        if not stages or len(stages) != len(shapes):
            raise ValueError(f"{len(stages)} stages need as many shapes and got {len(shapes)}.")
        self.stages: Any = nn.ModuleList(stages)
        self.conditional = any(stage.conditional for stage in stages)
        self.shapes = [tuple(shape) for shape in shapes]

    def set_engine(self, engine: Engine) -> None:
        """Run all stages in another way from now on; see ``ReversibleSequential.set_engine``."""
        for stage in self.stages:
            stage.require(engine)
        for stage in self.stages:
            stage.set_engine(engine)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map images (N, C, H, W) to (N, D), D = C H W."""
        return self._run(x, context, lambda stage, h, *given: (stage(h, *given), 0))[0]

    def forward_with_log_det(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same, and log|det| of the Jacobian, (N,)."""
        return self._run(x, context, ReversibleSequential.forward_with_log_det)

    def _run(
        self, x: Tensor, context: Tensor | None, run: Callable[..., Any]
    ) -> tuple[Tensor, Any]:
        parts, log_det = [], 0
        self.given(context)
        *early, last = self.stages
        for stage in early:
            y, change = run(stage, x, *stage.given(context if stage.conditional else None))
            log_det = log_det + change
            x, leaving = y.chunk(2, dim=1)
            parts.append(leaving.flatten(1))
        x, change = run(last, x, *last.given(context if last.conditional else None))
        return torch.cat([*parts, x.flatten(1)], dim=1), log_det + change

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (N, D) back to images (N, C, H, W), with the same context."""
        self.given(context)
        shapes = [*((c // 2, *sizes) for c, *sizes in self.shapes[:-1]), self.shapes[-1]]
        pieces = z.split([math.prod(shape) for shape in shapes], dim=1)
        *leaving, x = (p.reshape(len(p), *s) for p, s in zip(pieces, shapes, strict=True))
        *early, last = self.stages
        x = last.inverse(x, context if last.conditional else None)
        for stage, half in zip(early[::-1], leaving[::-1], strict=True):
            x = stage.inverse(torch.cat((x, half), dim=1), context if stage.conditional else None)
        return x


def _stretches(blocks: Sequence[Block]) -> bool:
    return not all(block.preserves_volume for block in blocks)


def _as_it_is(run: Callable[..., Any]) -> Callable[..., Any]:
    """For ``torch.compile``, which would keep activations, and round in other places."""
    compiling = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    return _uncompiled(run) if compiling else run


@cache
def _uncompiled(run: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compiler.disable(run, reason="chains that are reversible or exact run as they are")


def _run_block(
    block: Any, stream: Any, inverse: bool, log_dets: list[Tensor] | None, context: Tensor | None
) -> Any:
    """Run a block as autograd sees it; its log-determinant, if asked for, is added to the list."""
    given = block.given(context) if block.conditional else ()
    if log_dets is None or block.preserves_volume:
        return block.run(stream, inverse, *given)
    taken = stream if block.takes_halves else whole(stream)
    stream, log_det = block.forward_with_log_det(taken, *given)
    log_dets.append(log_det)
    return stream


def _run_reversible(
    blocks: list[Block],
    x: Tensor,
    inverse: bool,
    log_dets: list[Tensor] | None,
    context: Tensor | None,
) -> Tensor:
    # Without autocast's cache, which would hand out casts of weights that were made under no_grad
    # to code that needs their gradient.
    with autocast_now(x)():
        parts = _kept_and_recomputed(blocks, x)
        return whole(_run_parts(parts, x, inverse, None, log_dets, context))


def _run_exact(
    blocks: list[Block], x: Tensor, inverse: bool, reversible: bool, context: Tensor | None
) -> Tensor:
    stream: Any = FixedPoint.of(x)
    peaks = [peak(stream)]
    # Here the cache would add the gradients of several runs in low precision.
    with autocast_now(x)():
        parts = _kept_and_recomputed(blocks, x) if reversible else [(True, blocks)]
        stream = whole(_run_parts(parts, stream, inverse, peaks, None, context))
    if not torch.compiler.is_exporting():  # an exported program has no exceptions
        stream.check(peaks)
    return stream.value


def _run_parts(
    parts: list[tuple[bool, list[Block]]],
    stream: Any,
    inverse: bool,
    peaks: list[Tensor] | None,
    log_dets: list[Tensor] | None,
    context: Tensor | None,
) -> Any:
    """Run parts that keep their activations and parts that do not; see ``run_reversible``."""
    for keeps, blocks in parts:
        if not keeps:
            stream = run_reversible(blocks, stream, inverse, peaks, log_dets, context)
            continue
        for block in blocks:
            stream = _run_block(block, stream, inverse, log_dets, context)
            if peaks is not None:
                peaks.append(peak(stream))
    return stream


def _kept_and_recomputed(blocks: list[Block], x: Tensor) -> list[tuple[bool, list[Block]]]:
    """The chain in parts, each with whether it keeps its activations."""
    found: list[tuple[bool, list[Block]]] = []
    keeps = False
    for block in blocks:
        wanted = block.worth_keeping(x.numel())  # bijections keep the number of values
        keeps = keeps if wanted is None else wanted
        if not found or found[-1][0] != keeps:
            found.append((keeps, []))
        found[-1][1].append(block)
    return found
