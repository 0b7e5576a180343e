"""Back-propagation through a chain of invertible blocks that keeps nothing but the last output.

Plain autograd keeps what every block computed. Here each block is a node of the autograd graph
that keeps nothing; in the backward pass it gets its output from the node behind it, inverts it to
its input, runs f and g once more with gradients, and hands the input on to the node before it::

    forward     x0 -> x1 -> ... -> xK           only xK is kept
    backward    xK, dxK -> x(K-1), dx(K-1) -> ... -> x0, dx0

One node per block rather than one for the whole chain lets autograd add a block's parameter
gradients to ``.grad``, or send them to other ranks, as soon as they exist; they need not wait for
the last block in memory of their own.

References: Gomez et al., "The Reversible Residual Network" (2017).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.parameter import is_lazy

from genrev.reversible.block import Block
from genrev.reversible.engine.replay import RandomState, Record, Replay, autocast_now, recording
from genrev.reversible.stream import FixedPoint, Stream


def run_reversible(blocks: Sequence[Block], x: Stream, inverse: bool, peaks: Any = None) -> Stream:
    """Run blocks without keeping activations; differentiable once.

    A stream x on the grid adds its ``peak()`` after every block to ``peaks``.
    """
    if not blocks:
        return x
    tape = _Tape(blocks, x, inverse, peaks)
    value = x.value if isinstance(x, FixedPoint) else x
    for position, block in enumerate(blocks):
        if any(map(is_lazy, block.parameters())):  # the first run gives them their shapes
            stream: Any = value if tape.stream is None else tape.stream
            with torch.no_grad():
                block.run(stream, inverse)
        # A module used in two places has two names.
        named = dict(block.named_parameters(remove_duplicate=False))
        value = _Node.apply(tape, position, value, tuple(named), *named.values())
    if isinstance(x, FixedPoint):
        steps, tape.stream = tape.stream.steps, None  # the graph keeps the tape: no tensors on it
        return FixedPoint(steps, x.dtype, value)
    return value


class _Tape:
    """What the nodes of one run share.

    Forward on the grid, ``stream`` is what the last node has computed; backward, ``recovered`` is
    the position of a block and its output, which the node behind it has computed.
    """

    def __init__(self, blocks: Sequence[Block], x: Any, inverse: bool, peaks: Any) -> None:
        self.blocks = blocks
        self.inverse = inverse
        self.exact = isinstance(x, FixedPoint)
        self.stream: Any = x._replace(traced=None) if self.exact else None
        self.peaks = peaks
        self.autocast = autocast_now(x.value if self.exact else x)
        self.recovered: tuple[int, Tensor | FixedPoint] | None = None

    def run(self, position: int, value: Tensor, record: Record) -> Tensor:
        """Output of a block, and how to repeat it."""
        block = self.blocks[position]
        random_state = RandomState.now(value.device)
        with self.autocast(), recording(record):
            if self.stream is None:
                value = block.run(value, self.inverse)
            else:
                self.stream = block.run(self.stream, self.inverse)
                if position == len(self.blocks) - 1:
                    value = self.stream.value
                else:  # in the graph, between nodes, its shape is all that matters
                    value = value.new_empty(()).expand(self.stream.steps.shape)
                self.peaks.append(self.stream.peak())
        random_state.note_draws(record, "")
        return value

    def output(self, position: int, last: Tensor | None) -> Tensor | FixedPoint:
        """Output of a block in the backward pass; ``last`` is kept by the last block alone."""
        if last is not None:
            return FixedPoint.of(last) if self.exact else last
        recovered, self.recovered = self.recovered, None
        if recovered is None or recovered[0] != position:
            raise RuntimeError(
                "Two backward passes through the same output of a reversible chain ran at the same "
                "time; run one after the other, or build the chain with memory='stored'."
            )
        return recovered[1]


class _Node(Function):
    """One block: keeps its output when it is the last one, otherwise nothing."""

    @staticmethod
    def forward(
        ctx: Any, tape: _Tape, position: int, value: Tensor, names: Sequence[str], *parameters: Any
    ) -> Tensor:
        ctx.tape, ctx.position, ctx.names, ctx.record = tape, position, names, {}
        ctx.training = tuple(module.training for module in tape.blocks[position].modules())
        y = tape.run(position, value.detach(), ctx.record)
        # Parameters cost nothing to keep, and autograd notices if they are changed meanwhile.
        last = position == len(tape.blocks) - 1
        ctx.save_for_backward(*parameters, *((y,) if last else ()))
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "memory='reversible' has first derivatives only and was asked for a graph of the "
                "gradient (create_graph=True); build the chain with memory='stored' for that."
            )
        tape, position, names = ctx.tape, ctx.position, ctx.names
        block = tape.blocks[position]
        saved = ctx.saved_tensors
        parameters = dict(zip(names, saved, strict=False))
        y = tape.output(position, saved[-1] if len(saved) > len(names) else None)
        replay = Replay(block, parameters, ctx.training, ctx.record, tape.autocast)
        x, grad_x = replay.block.backtrack(y, grad, replay, tape.inverse)
        if ctx.needs_input_grad[2]:
            tape.recovered = (position - 1, x)
        return None, None, grad_x, None, *(replay.grads.get(name) for name in names)
