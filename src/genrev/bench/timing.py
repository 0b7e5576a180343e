"""Interleaved timing: whatever else the machine does hits all candidates alike."""

import platform
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch

__all__ = ["interleaved_seconds", "machine"]


def interleaved_seconds(
    candidates: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, float]:
    """Median seconds per call of every candidate, after one call each to warm up.

    Args:
        candidates: what to time, by name.
        repeats: rounds; in every round each candidate is called once.
    """
    for call in candidates.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the numbers were measured on."""
    on_gpu = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else device,
        "system": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
