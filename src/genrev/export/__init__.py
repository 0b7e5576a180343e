"""Trained models as programs that run without genrev, checked by running what was written.

A file counts as written only when the program in it, read back from the disk, gave what the model
gives, on a batch of 1 and on one of 5: within 1e-4 of the output's largest magnitude, or of 1.
"""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from genrev.errors import GenrevError
from genrev.export import programs
from genrev.export.programs import DIRECTIONS, Direction, Program
from genrev.files.locking import locked
from genrev.files.paths import expand, writing
from genrev.files.writing import replacing
from genrev.models import GenerativeModel
from genrev.models.inference import inference
from genrev.models.saving import plain_tensors

FORMATS = (".safetensors", *programs.PROGRAM_FORMATS)
TOLERANCE = 1e-4
BATCHES = (1, 5)


@dataclass(frozen=True)
class Exported:
    """A file that was written; only programs have names of inputs and output."""

    path: Path
    direction: Direction | None = None
    inputs: tuple[str, ...] = ()
    output: str | None = None
    opset: int | None = None
    difference: float = 0.0  #: the largest absolute one to the model that was seen
    tolerance: float = 0.0  #: the largest that would have been accepted


def export(
    model: GenerativeModel, path: str | Path, direction: Direction | None = None
) -> list[Exported]:
    """Write a model as files that need no genrev, and tell what was written.

    Args:
        model: the model; it is left as it is. Programs compute in float32.
        path: ``FILE.pt2`` (``torch.export``), ``FILE.onnx`` or ``FILE.safetensors`` (the weights
            alone, with the configuration in the file's metadata).
        direction: ``"encode"``, ``"decode"`` or ``"sample"``, see ``genrev.export.programs``;
            writes ``path`` itself. ``None`` writes the first two next to each other, as
            ``FILE.encode.onnx`` and ``FILE.decode.onnx``.

    Raises:
        GenrevError: another extension or direction, a model that cannot be exported, a missing
            package, a program that does not compute what the model does, or a file that cannot be
            written. Files that stood there before are left then.
    """
    path = expand(path)
    if path.suffix not in FORMATS:
        raise GenrevError(
            f"A model cannot be exported as {path.name!r}; the name must end in one of "
            f"{', '.join(FORMATS)}."
        )
    if direction is not None and direction not in DIRECTIONS:
        raise GenrevError(
            f"There is no direction {direction!r}; choose from {', '.join(DIRECTIONS)}."
        )
    if path.suffix == ".safetensors" and direction is not None:
        raise GenrevError(
            f"{path.name} would hold weights, which have no direction; leave it out, or export to "
            ".onnx or .pt2."
        )
    if path.suffix == ".safetensors":
        with _replacing(path) as temporary:
            save_file(plain_tensors(model), temporary, {"genrev": json.dumps(_about(model))})
        return [Exported(path)]
    if direction is not None:
        return [_export_program(model, path, direction)]
    cure = "name another file"
    with locked(path.parent, cure, cure, name=f".{path.name}.lock"):  # the two belong together
        return [
            _export_program(model, path.with_suffix(f".{name}{path.suffix}"), name)
            for name in DIRECTIONS[:2]
        ]


def _export_program(model: GenerativeModel, path: Path, direction: Direction) -> Exported:
    program = programs.PROGRAMS[direction](copy.deepcopy(model).cpu().float())
    write, run = programs.PROGRAM_FORMATS[path.suffix]
    inputs = tuple(program.example(1))
    about = {**_about(model), "direction": direction, "inputs": inputs, "output": program.output}
    with inference(program.model), _replacing(path) as temporary:
        write(programs.trace(program), program, temporary, about)
        difference, tolerance = _compare(program, temporary, run)
    opset = programs.ONNX_OPSET if path.suffix == ".onnx" else None
    return Exported(path, direction, inputs, program.output, opset, difference, tolerance)


def _compare(
    program: Program, path: Path, run: Callable[[Path, dict[str, Tensor]], Tensor]
) -> tuple[float, float]:
    """Largest difference between file and model, and what is allowed; an error beyond that."""
    difference, largest = 0.0, 1.0
    for n in BATCHES:
        inputs = program.example(n)
        expected, found = program(**inputs), run(path, inputs)
        difference = max(difference, float((expected - found).abs().max()))
        largest = max(largest, float(expected.abs().max()))
    if not difference <= TOLERANCE * largest:  # NaN is no success either
        raise GenrevError(
            f"The exported {program.direction} differs from the model by {difference:.1e}, and "
            f"{TOLERANCE * largest:.1e} is allowed, so nothing was written; check that the model "
            "computes the same twice and that its weights are finite."
        )
    return difference, TOLERANCE * largest


def _about(model: GenerativeModel) -> dict[str, Any]:
    shape = list(model.image_shape)
    return {"config": model.config(), "image_shape": shape, "torch": torch.__version__}


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file, which gets its own name when all went well."""
    with writing(path, "name a file in a folder that you may write to and that has room"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
