"""The two formats that programs are written in, ``.pt2`` and ``.onnx``, and how each is run.

Both start from ``torch.export``, which turns a module into a list of PyTorch's own operations with
the weights in it; no module of genrev is left. The number of images in a batch stays free.
"""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from genrev.errors import GenrevError
from genrev.export.programs import Program

__all__ = ["ONNX_OPSET", "PROGRAM_FORMATS", "ProgramFormat", "trace"]

ONNX_OPSET = 20
_ABOUT = "genrev.json"  # name of the description within a .pt2


class ProgramFormat(NamedTuple):
    """How a program is written to a file, and run from it."""

    write: Callable[[ExportedProgram, Program, Path, dict[str, Any]], None]
    run: Callable[[Path, dict[str, Tensor]], Tensor]


def trace(program: Program) -> ExportedProgram:
    """List the operations of a program.

    Raises:
        GenrevError: the model does something that cannot be listed, or that fixes the batch size.
    """
    example = program.example(2)
    shapes = tuple({0: Dim("batch")} for _ in example)
    try:
        exported = torch.export.export(
            program.module, tuple(example.values()), dynamic_shapes=shapes, strict=False
        )
    except Exception as error:  # of some dozen unrelated types
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        name = type(program.model).__name__
        raise GenrevError(
            f"{name}.{program.direction} cannot be exported ({reason}); it must be made of tensor "
            "operations alone, and take the batch size from x.shape[0], not from len(x)."
        ) from error
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return exported


def _write_pt2(
    exported: ExportedProgram, program: Program, path: Path, about: dict[str, Any]
) -> None:
    del program
    with _quiet():
        torch.export.save(exported, path, extra_files={_ABOUT: json.dumps(about)})


def _run_pt2(path: Path, inputs: dict[str, Tensor]) -> Tensor:
    return torch.export.load(path).module()(*inputs.values())


def _write_onnx(
    exported: ExportedProgram, program: Program, path: Path, about: dict[str, Any]
) -> None:
    _onnx_module("onnxscript")  # which torch.onnx needs
    with _quiet():
        onnx_program = torch.onnx.export(
            exported,
            dynamo=True,
            verbose=False,
            opset_version=ONNX_OPSET,
            input_names=list(program.example(2)),
            output_names=[program.output],
            dynamic_shapes=tuple({0: "batch"} for _ in program.example(2)),
        )
        assert onnx_program is not None
        onnx_program.model.producer_name = "genrev"
        onnx_program.model.metadata_props.update({"genrev": json.dumps(about)})
        onnx_program.save(path)


def _run_onnx(path: Path, inputs: dict[str, Tensor]) -> Tensor:
    runtime = _onnx_module("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return torch.from_numpy(output)


def _onnx_module(name: str) -> ModuleType:
    try:
        return __import__(name)
    except ImportError as error:
        raise GenrevError(
            f"Export to ONNX needs {name}, which is not installed; add it with "
            "`pip install 'genrev[onnx]'`."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch says of packages that are not needed here, and of its own insides."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


PROGRAM_FORMATS: dict[str, ProgramFormat] = {
    ".pt2": ProgramFormat(_write_pt2, _run_pt2),
    ".onnx": ProgramFormat(_write_onnx, _run_onnx),
}
