"""Time, memory and traffic of candidates that do the same work."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from genrev.progress import Bar


def interleaved_seconds(
    candidates: Mapping[str, Callable[[], object]],
    repeats: int,
    is_over: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Median seconds per call of every candidate, called in turns, after one call to warm up.

    On a GPU a call lasts until its work is done. When time ``is_over``, no further round begins.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    with Bar("timing", (repeats + 1) * len(candidates), "calls") as bar:
        for call in candidates.values():
            call()
            bar.update()
        for number in range(repeats):
            if number and is_over():
                break
            for name, call in candidates.items():
                wait_for_gpu()
                start = time.perf_counter()
                call()
                wait_for_gpu()
                seconds[name].append(time.perf_counter() - start)
                bar.update()
    return {name: median(values) for name, values in seconds.items()}


def wait_for_gpu() -> None:
    """Wait until what was started on a GPU is done; calls return before."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def traffic_bytes(step: Callable[[], object]) -> int:
    """Bytes that the operations of a step read and write, views left out.

    What a kernel keeps in registers or reads twice is not seen: the least that separate operations
    have to move.
    """
    with _Traffic() as traffic:
        step()
    return traffic.bytes


class _Traffic(TorchDispatchMode):
    """Adds up the sizes of inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        aliases = [given.alias_info for given in func._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in aliases)
        if not is_view and "empty" not in func._schema.name:
            moved = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in moved)
        return out


def peak_bytes(step: Callable[[], None], device: torch.device) -> int:
    """Most bytes of tensors that a step held at once beyond what was held before it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or the profiler tells when it starts and stops
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    results: Any = profiler.profiler
    held = peak = 0
    for event in results.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the numbers were measured on."""
    on_gpu = torch.device(device).type == "cuda"
    known: dict[str, Any] = {}
    if on_gpu:
        known["cuda"] = torch.version.cuda
        known["memory_gib"] = round(torch.cuda.get_device_properties(device).total_memory / 2**30)
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else device,
        "system": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **known,
    }
