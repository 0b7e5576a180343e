"""Check that the files of a model belong together before memory is spent on them.

A configuration of a few bytes can ask for 10^12 weights. So the network is first built on PyTorch's
``meta`` device, without memory, and building stops when it has clearly more than the weights file,
of which safetensors checks a header with names, types and shapes against its size.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.modules import module as hooks

LARGEST_IMAGE = 2**26  # numbers, 8192x8192 grey pixels; small weights may ask for huge samples
_SMALL = 1024  # a number that any configuration may have
_SLACK = 4  # layers such as spectral_norm register a tensor more than once
_NAMES = {
    **{getattr(torch, f"float{bits}"): f"F{bits}" for bits in (16, 32, 64)},
    **{getattr(torch, f"int{bits}"): f"I{bits}" for bits in (8, 16, 32, 64)},
    torch.bfloat16: "BF16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_FLOATS = {"F64", "F32", "F16", "BF16"}


class Stored(NamedTuple):
    """A tensor as the header of a file has it: type, as safetensors writes it, and shape."""

    dtype: str
    shape: tuple[int, ...]


def stored_tensors(path: Path) -> dict[str, Stored]:
    """Names, types and shapes of the tensors in a safetensors file; no tensor is read."""
    path.open("rb").close()  # or safetensors says that a file is not there which may not be read
    with safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: Stored(s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}


def outline(
    build: Callable[[dict[str, Any]], nn.Module], config: dict[str, Any], stored: dict[str, Stored]
) -> nn.Module:
    """The model without memory; a ``ValueError`` if it asks for more than there is in the file."""
    numbers = sum(math.prod(tensor.shape) for tensor in stored.values())
    largest = max(_whole_numbers(config), default=0)
    if largest > max(numbers, _SMALL):
        raise ValueError(f"it asks for {largest:.3g} of something, and the file has {numbers:,}")
    with torch.device("meta"), _limited(len(stored), numbers):
        model = build(config)
    shape: tuple[int, ...] = getattr(model, "image_shape", ())
    if math.prod(shape) > LARGEST_IMAGE:
        raise ValueError(f"its images of {math.prod(shape):.3g} numbers are too large")
    return model


def described_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Stored]:
    """Types and shapes of tensors, as safetensors would write them."""
    return {
        name: Stored(_NAMES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))
        for name, tensor in tensors.items()
    }


def check_same(model: nn.Module, stored: dict[str, Stored]) -> None:
    """``ValueError`` unless a file has just the model's tensors, floats in any of four formats."""
    expected = described_tensors(model.state_dict())
    for name in [*expected, *stored]:
        wants, has = expected.get(name), stored.get(name)
        if _kind(wants) != _kind(has):
            raise ValueError(f"{name[:80]!r} should be {_shown(wants)} and is {_shown(has)}")


def _kind(tensor: Stored | None) -> Stored | None:
    """The same, with one name for all formats of floats."""
    return tensor._replace(dtype="F32") if tensor and tensor.dtype in _FLOATS else tensor


def _shown(tensor: Stored | None) -> str:
    return "missing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"


def _whole_numbers(value: Any) -> Iterator[int]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _whole_numbers(inner)
    elif isinstance(value, int):
        yield abs(value)


@contextmanager
def _limited(tensors: int, numbers: int) -> Iterator[None]:
    """Within it, modules of this thread register about so many tensors with so many numbers."""
    thread = threading.get_ident()
    counted = [0, 0]

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        if tensor is None or threading.get_ident() != thread:
            return
        counted[0] += 1
        counted[1] += tensor.numel()
        if counted[0] > _SLACK * (tensors + 1) or counted[1] > _SLACK * (numbers + 1):
            raise ValueError(
                f"{name!r} makes the model larger than the {numbers:,} weights of the file"
            )

    with (
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_buffer_registration_hook(count),
    ):
        yield
