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

from genrev.reversible.block import Block
from genrev.reversible.engine.replay import (
    RandomState,
    Record,
    Replay,
    Survey,
    autocast_now,
    recording,
)
from genrev.reversible.stream import (
    FixedPoint,
    Halves,
    as_parts,
    halves,
    parts,
    peak,
    shaped,
    whole,
)


def run_reversible(
    blocks: Sequence[Block],
    x: Any,
    inverse: bool,
    peaks: list[Tensor] | None = None,
    log_dets: list[Tensor] | None = None,
    context: Tensor | None = None,
) -> Any:
    """Run blocks without keeping activations; differentiable once.

    Args:
        blocks: one or more, in the order in which they are run.
        x: a tensor or a ``FixedPoint``, or halves of them.
        inverse: run their inverses.
        peaks: a stream on the grid adds its ``peak()`` after every block.
        log_dets: a block that does not preserve volume adds its log-determinant.
        context: of the blocks that are ``conditional``; every one keeps this tensor and no other,
            so one gradient is summed up, block by block.
    """
    tape = _Tape(blocks, x, inverse, peaks, log_dets is not None)
    values = tuple(part.value if tape.exact else part for part in parts(x))
    for position, block in enumerate(blocks):
        survey = Survey.of(block)
        given = block.given(context) if block.conditional else ()
        if survey.lazy:  # the first run gives parameters their shapes
            with torch.no_grad():
                stream = tape.stream if tape.exact else _stream(values, tape.dim)
                block.run(stream, inverse, *given)
            survey = Survey.of(block)
        # Twice, for f and g: gradients of the context are then added up as they are without nodes.
        counts = len(values), 2 * len(given)
        tensors = *values, *given, *given, *survey.parameters
        outputs = _Node.apply(tape, position, survey, counts, *tensors)
        if tape.has_log_det(block):
            assert log_dets is not None
            *outputs, log_det = outputs
            log_dets.append(log_det)
        values = tuple(outputs)
    if not tape.exact:
        if log_dets:
            tied = _Together.apply(*values, *log_dets)
            values, log_dets[:] = tied[: len(values)], tied[len(values) :]
        return _stream(values, tape.dim)
    streams, tape.stream = parts(tape.stream), None  # the graph keeps the tape: no tensors on it
    traced = [part._replace(traced=value) for part, value in zip(streams, values, strict=True)]
    return _stream(traced, tape.dim)


class _Together(Function):
    """Output and log-determinants, so that a gradient of any goes through the last block.

    It keeps the output, from which the blocks that a log-determinant depends on are recomputed.
    """

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        return grads  # zeros of what has none


def _stream(values: Sequence[Any], dim: int = 1) -> Any:
    return halves(values, dim) if len(values) == 2 else values[0]


def _dim(stream: Any) -> int:
    """The dimension in which a stream is halved."""
    return stream.dim if isinstance(stream, Halves) else 1


class _Tape:
    """What the nodes of one run share.

    Forward, ``dim`` is the dimension in which the stream is halved, and on the grid ``stream`` is
    what the last node has computed; backward, ``recovered`` is
    the position of a block and its output, which the node behind it has computed.
    """

    def __init__(
        self, blocks: Sequence[Block], x: Any, inverse: bool, peaks: Any, log_det: bool
    ) -> None:
        self.blocks = blocks
        self.inverse = inverse
        streams = parts(x)
        self.dim = _dim(x)
        self.exact = isinstance(streams[0], FixedPoint)
        self.stream: Any = None
        if self.exact:
            self.stream = _stream([part._replace(traced=None) for part in streams], self.dim)
        self.peaks = peaks
        self.log_det = log_det
        self.autocast = autocast_now(shaped(streams[0]))
        self.recovered: tuple[int, Any] | None = None

    def has_log_det(self, block: Block) -> bool:
        """Whether the node of a block gives a log-determinant beside its output."""
        return self.log_det and not block.preserves_volume

    def run(
        self,
        position: int,
        values: Sequence[Tensor],
        context: Sequence[Tensor],
        record: Record | None,
    ) -> list[Tensor]:
        """Output of a block, and how to repeat it where ``record`` is to be filled."""
        if record is None:
            return self._run(position, values, context)
        random_state = RandomState.now(values[0].device)
        with recording(record):
            outputs = self._run(position, values, context)
        random_state.note_draws(record, "")
        return outputs

    def _run(
        self, position: int, values: Sequence[Tensor], context: Sequence[Tensor]
    ) -> list[Tensor]:
        block = self.blocks[position]
        if not self.exact:
            stream = _stream(values, self.dim)
            if not self.has_log_det(block):
                return self._outputs(block.run(stream, self.inverse, *context))
            taken = stream if block.takes_halves else whole(stream)
            y, log_det = block.forward_with_log_det(taken, *context)
            return [*self._outputs(y), log_det]
        self.stream = block.run(self.stream, self.inverse, *context)
        self._outputs(self.stream)
        outputs = parts(self.stream)
        self.peaks.append(peak(self.stream))
        if position == len(self.blocks) - 1:
            return [part.value for part in outputs]
        # In the graph, between nodes, shapes are all that matters.
        return [values[0].new_empty(()).expand(part.steps.shape) for part in outputs]

    def _outputs(self, stream: Any) -> list[Any]:
        self.dim = _dim(stream)
        return [*parts(stream)]

    def output(self, position: int, last: Sequence[Tensor], dim: int) -> Any:
        """Output of a block in the backward pass; ``last`` is kept by the last block alone."""
        if last:
            return _stream([FixedPoint.of(part) for part in last] if self.exact else last, dim)
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
        ctx: Any,
        tape: _Tape,
        position: int,
        survey: Survey,
        counts: tuple[int, int],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.tape, ctx.position, ctx.survey, ctx.counts = tape, position, survey.described(), counts
        ctx.record = None if survey.repeatable else {}
        dim, (streams, contexts) = tape.dim, counts
        values = [value.detach() for value in tensors[:streams]]
        given = tensors[streams : streams + contexts // 2]
        parameters = tensors[streams + contexts :]
        outputs = tape.run(position, values, [c.detach() for c in given], ctx.record)
        ctx.dims = dim, tape.dim  # of the input and of the output
        # Parameters cost nothing to keep, and autograd notices if they are changed meanwhile.
        last = position == len(tape.blocks) - 1
        kept = outputs[: len(outputs) - tape.has_log_det(tape.blocks[position])] if last else ()
        ctx.save_for_backward(*given, *parameters, *kept)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "memory='reversible' has first derivatives only and was asked for a graph of the "
                "gradient (create_graph=True); build the chain with memory='stored' for that."
            )
        tape, position, survey, saved = ctx.tape, ctx.position, ctx.survey, ctx.saved_tensors
        block = tape.blocks[position]
        (streams, contexts), known = ctx.counts, len(survey.names)
        context, saved = saved[: contexts // 2], saved[contexts // 2 :]
        y = tape.output(position, saved[known:], ctx.dims[1])
        log_det = (grads[-1],) if tape.has_log_det(block) else ()
        grad = _stream(grads[: len(grads) - len(log_det)], ctx.dims[1])
        record = ctx.record or {}
        replay = Replay(block, survey, saved[:known], record, tape.autocast, context)
        if not block.takes_halves:
            y, grad = whole(y), whole(grad)
        x, grad_x = replay.block.backtrack(y, grad, replay, tape.inverse, *log_det)
        if any(ctx.needs_input_grad[4 : 4 + streams]):
            tape.recovered = (position - 1, x)
        inputs = parts(as_parts(grad_x, streams, ctx.dims[0]))
        parameters = (replay.grads.get(name) for name in survey.names)
        return None, None, None, None, *inputs, *_shares(replay, contexts), *parameters


def _shares(replay: Replay, count: int) -> list[Tensor | None]:
    """Gradients of the context, one for every time that the node was given it."""
    grads = replay.context_grads
    if not count or not grads:
        return [None] * count
    return [grads[0], sum(grads[2:], grads[1]) if len(grads) > 1 else None]
