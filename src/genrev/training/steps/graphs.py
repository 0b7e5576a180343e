"""A training step as a CUDA graph: recorded once, replayed as one launch.

A step of a small network is thousands of kernels that run shorter than Python needs to launch them.
A graph holds their launches, so that a replay costs the host next to nothing. What a replay reads
lies in buffers of its own: images, labels, noise and learning rates are copied there first. What it
computes is what the recorded step computes, by the same kernels and in the same order.

The first steps of a phase run as they are: they create the states of the optimisers, which a
recording would reset in every replay.

References: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

import warnings
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from genrev.reversible.stream import Deferred
from genrev.training.methods.method import Batch, Noise

_FIRST = -1  # priority of the stream that is recorded
_WARM_UP = 3  # steps of a phase before it is recorded

Outcome = tuple[dict[str, Tensor], list[Deferred]]
"""Losses of a step, and what exact chains reached in it."""


class Recorder(Protocol):
    """Records what a function does on the device; tests put another in its place."""

    def record(self, function: Callable[[], Outcome]) -> tuple[Outcome, Callable[[], None]]:
        """What the function gives, in tensors that every call of the second result fills anew."""
        ...


class CudaRecorder:
    """Records CUDA graphs, which share their memory."""

    def __init__(self) -> None:
        self._pool: Any = None

    def record(self, function: Callable[[], Outcome]) -> tuple[Outcome, Callable[[], None]]:
        """Record the function; nothing is computed before the first replay."""
        # A cast of weights that was kept before would be read by every replay.
        torch.clear_autocast_cache()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # the recording has memory of its own
        graph = torch.cuda.CUDAGraph()
        # Before gradients of weights, which are computed beside it and which nothing waits for.
        stream = torch.cuda.Stream(priority=_FIRST)
        with torch.cuda.graph(graph, pool=self._pool, stream=stream):
            outcome = function()
        self._pool = graph.pool()
        return outcome, graph.replay


class _Recorded(NamedTuple):
    batch: Batch
    noise: dict[tuple[Hashable, ...], Tensor]
    outcome: Outcome
    replay: Callable[[], None]


class StepGraphs:
    """The recorded steps of a training, one for each phase and turn.

    Args:
        recorder: what records.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.off: str | None = None
        """Why nothing is recorded any more, if it failed."""
        self._seen: dict[Hashable, int] = {}
        self._recorded: dict[Hashable, _Recorded] = {}

    def run(
        self, key: Hashable, batch: Batch, noise: Noise, compute: Callable[[Batch, Noise], Outcome]
    ) -> Outcome:
        """Compute a step, by a replay where there is a recording of one like it.

        Args:
            key: what a recording depends on, beside shapes.
            batch: of the step.
            noise: of the step, prepared.
            compute: the step, on the device alone.
        """
        key = key, batch.images.shape, batch.images.dtype
        if self.off is not None:
            return compute(batch, noise)
        seen = self._seen[key] = self._seen.get(key, 0) + 1
        if seen <= _WARM_UP:
            return compute(batch, noise)
        if key not in self._recorded:
            recorded = self._record(batch, noise, compute)
            if recorded is None:
                return compute(batch, noise)
            self._recorded[key] = recorded
        recorded = self._recorded[key]
        recorded.batch.images.copy_(batch.images, non_blocking=True)
        recorded.batch.labels.copy_(batch.labels, non_blocking=True)
        for name, tensor in noise.ahead.items():
            recorded.noise[name].copy_(tensor, non_blocking=True)
        recorded.replay()
        parts, late = recorded.outcome
        # The next replay writes to the same tensors.
        parts = {name: part.clone() for name, part in parts.items()}
        return parts, [each._replace(peaks=each.peaks.clone()) for each in late]

    def _record(
        self, batch: Batch, noise: Noise, compute: Callable[[Batch, Noise], Outcome]
    ) -> _Recorded | None:
        held = replace(batch, images=batch.images.clone(), labels=batch.labels.clone())
        buffers = {name: tensor.clone() for name, tensor in noise.ahead.items()}
        try:
            with torch.cuda.device_of(held.images):  # which need not be the current one
                outcome, replay = self.recorder.record(
                    lambda: compute(held, noise.replaced(buffers))
                )
        except (RuntimeError, AssertionError) as error:  # the latter without CUDA
            reason = " ".join(str(error).split("\n")[0].split()).rstrip(".")
            self.off = reason
            warnings.warn(
                f"Steps run without CUDA graphs, since one could not be recorded ({reason}); "
                "--engine.graph false says so from the start.",
                stacklevel=2,
            )
            return None
        return _Recorded(held, buffers, outcome, replay)
