"""Where a model computes, and how much of it at a time.

By default that is the accelerator of this machine. What is computed there is handed over in batches
that are large on an accelerator, which many small ones would leave waiting; one that does not fit
into memory is halved and tried again. On the CPU, batches stay as they are asked for: their size
decides the last bits of a sum.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from genrev.errors import GenrevError
from genrev.progress import Bar
from genrev.threads import tells_of_memory

Items = TypeVar("Items", bound=Any)
Result = TypeVar("Result")

AT_ONCE = 1000  # images that an accelerator is tried with first
ON_CPU = 250  # at most, where a bar shows the progress


def choose_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name, or the accelerator of this machine, or else its CPU.

    Args:
        name: as PyTorch writes it: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Raises:
        GenrevError: there is no such device here.
    """
    there = devices_here()
    if name is None:
        return torch.device([*there][:2][-1])
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError):  # no name of a device at all
        device = None
    if device is not None and str(_numbered(device)) in there:
        return device
    known = ", ".join(f"{one} ({told})" if told else one for one, told in there.items())
    raise GenrevError(f"There is no device {str(name)!r} here; choose from {known}.")


def devices_here() -> dict[str, str]:
    """The CPU and then what accelerators there are, each with what it is called, if it tells."""
    found = {"cpu": ""}
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        assert kind is not None  # one is available
        for number in range(torch.accelerator.device_count()):
            called = torch.cuda.get_device_name(number) if kind.type == "cuda" else ""
            found[f"{kind.type}:{number}"] = called
    return found


def announce_device(device: torch.device) -> None:
    """Print it on standard error, as ``genrev.data.announce`` does what data are read."""
    print(f"device {told_device(device)}", file=sys.stderr)


def told_device(device: torch.device) -> str:
    """A device and what it is called, e.g. ``cuda:0 (NVIDIA H200)``."""
    device = _numbered(device)
    called = devices_here().get(str(device))
    return f"{device} ({called})" if called else str(device)


def float64_device(device: torch.device) -> torch.device:
    """Where float64 is computed of what is on ``device``: there, or on the CPU if it has none."""
    return torch.device("cpu") if device.type == "mps" else device


def batch_size_on(device: torch.device, on_cpu: int) -> int:
    """How many images to begin with: ``on_cpu`` on the CPU, more on an accelerator."""
    return on_cpu if device.type == "cpu" else max(on_cpu, AT_ONCE)


def in_batches(
    compute: Callable[[Items], Result],
    items: Items,
    batch_size: int | None = None,
    desc: str | None = None,
) -> Iterator[Result]:
    """Results of ``compute`` on ``items``, so many at a time, or half as many where memory ends.

    A batch that does not fit is halved and computed again, as are all after it, with a warning. So
    ``compute`` may change nothing: no sum, no generator.

    Args:
        compute: takes some of the items.
        items: what has a length and can be sliced: a tensor, an array of indices.
        batch_size: 1 or more; ``None`` begins with all of them.
        desc: what is done, for a bar of progress; ``None`` has none.

    Raises:
        GenrevError: not even one fits into memory.

    Example:
        >>> list(in_batches(torch.sum, torch.arange(5), 2))
        [tensor(1), tensor(5), tensor(4)]
    """
    size = len(items) if batch_size is None else batch_size
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more and is {batch_size}.")
    if desc is not None:
        with Bar(desc, len(items)) as bar:
            for done, result in _halving(compute, items, size):
                yield result
                bar.update(done)
        return
    yield from (result for _, result in _halving(compute, items, size))


def _halving(
    compute: Callable[[Items], Result], items: Items, size: int
) -> Iterator[tuple[int, Result]]:
    """How many items a batch had, and its result."""
    start = 0
    while start < len(items):
        part = items[start : start + size]
        result, error = _tried(compute, part)
        if error is None:
            start += len(part)
            yield len(part), result  # type: ignore[misc]  # there is one
            continue
        if len(part) == 1:
            raise GenrevError(
                f"A single image does not fit into memory ({error}); end what else uses the "
                "device, or choose another, such as cpu."
            )
        size = (len(part) + 1) // 2
        torch.cuda.empty_cache()  # does nothing where CUDA is not in use
        warnings.warn(
            f"a batch of {len(part):,} does not fit into memory; going on with {size:,} at a time",
            stacklevel=2,
        )


def all_at_once(
    compute: Callable[..., Tensor], items: Tensor, *beside: Tensor, desc: str | None = None
) -> Tensor:
    """``compute`` of all items (N, ...), in a single batch if memory has room for it.

    What is ``beside`` them, (N, ...) as well, is divided alike. With ``desc``, what is done, many
    items are several batches with a bar of progress.
    """
    if beside:
        both = items, *beside
        return all_at_once(
            lambda rows: compute(*(rows_of[rows.to(rows_of.device)] for rows_of in both)),
            torch.arange(len(items)),
            desc=desc,
        )
    size = None if desc is None else batch_size_on(items.device, ON_CPU)
    parts = list(in_batches(compute, items, size, desc))
    return parts[0] if len(parts) == 1 else torch.cat(parts) if parts else compute(items)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Say within it whether products of float32 on CUDA may round their factors to TF32's 11 bits.

    Convolutions are products, too.
    """
    before = [*_tf32_settings()]
    try:
        for backend, name, was in before:
            setattr(backend, name, allowed if was in (True, False) else _PRECISION[allowed])
        yield
    finally:
        for backend, name, was in before:
            setattr(backend, name, was)


_PRECISION = {True: "tf32", False: "ieee"}


def _tf32_settings() -> Iterator[tuple[Any, str, bool | str]]:
    """Where PyTorch has TF32 allowed: an object, the name of its attribute, and the value.

    What was set by the names of PyTorch 2.9 and later cannot be read by the older one.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    for backend, newer in ((cudnn, ("conv", "rnn")), (matmul, ())):
        try:
            yield backend, "allow_tf32", backend.allow_tf32
        except RuntimeError:
            for part in [getattr(backend, name) for name in newer] or [backend]:
                yield part, "fp32_precision", part.fp32_precision


@contextmanager
def repeatable_kernels() -> Iterator[None]:
    """Within it, cuDNN adds up in an order that is the same every time: bits can be repeated."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def _numbered(device: torch.device) -> torch.device:
    """``cuda`` is the current one of its devices, which has a number; the CPU has none."""
    if device.type == "cpu":
        return torch.device("cpu")
    if device.index is not None:
        return device
    several = device.type == "cuda" and torch.cuda.is_available()
    return torch.device(device.type, torch.cuda.current_device() if several else 0)


def _tried(compute: Callable[[Items], Result], part: Items) -> tuple[Result | None, str | None]:
    """The result, or what PyTorch says of memory.

    The error itself, which holds on to all tensors of the attempt, ends here.
    """
    try:
        return compute(part), None
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        lines = [line for line in str(error).splitlines() if tells_of_memory(line)]
        if not lines and not isinstance(error, torch.OutOfMemoryError):
            raise
        return None, (lines[0] if lines else type(error).__name__)[:200].strip().rstrip(".")
