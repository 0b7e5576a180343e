"""What is exported, one function of tensors per direction, and the formats it is written in.

=========  ==============================================  =========================================
direction  inputs                                          output
=========  ==============================================  =========================================
encode     ``images`` (N, C, H, W) in [0, 1]               ``latents`` (N, D)
decode     ``latents`` (N, D)                              ``images`` (N, C, H, W), not clipped
sample     ``noise`` (N, m), ``labels`` (N,) int64         ``images`` (N, C, H, W) in [0, 1]
=========  ==============================================  =========================================

A program has no random numbers: ``sample`` is given those of ``prior.noise``, one per active
dimension, standard normal, for a uniform prior uniform on [0, 1), for a logistic one logistic; for
a mixture a uniform number comes before the normal ones. It takes labels only where the prior has
classes. A class-conditional network takes ``labels`` in all three directions. Both formats start
from ``torch.export``; the number of images in a batch stays free.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from genrev.errors import GenrevError
from genrev.extras import require
from genrev.files.paths import reason
from genrev.models import GenerativeModel
from genrev.models.conditions import contexts_of, takes_labels

Direction = Literal["encode", "decode", "sample"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
ONNX_OPSET = 20


class Program(nn.Module):
    """One direction of a model on the CPU in evaluation mode; ``example`` names the inputs."""

    direction: Direction
    output = "images"

    def __init__(self, model: GenerativeModel) -> None:
        super().__init__()
        self.model = model

    def example(self, n: int) -> dict[str, Tensor]:
        """Inputs for a batch of n by name, the same ones on every call."""
        prior, generator = self.model.prior, torch.Generator().manual_seed(n)
        told = contexts_of(self.model, None, n)
        if self.direction == "encode":
            inputs = {"images": torch.rand(n, *self.model.image_shape, generator=generator)}
        elif self.direction == "decode":
            inputs = {"latents": prior.sample(n, generator=generator)}
        else:
            inputs = {"noise": prior.noise(n, generator).detach()}
        if told or (self.direction == "sample" and prior.num_classes > 1):
            inputs["labels"] = torch.arange(n) % self.model.num_classes
        return inputs


class _Encode(Program):
    direction, output = "encode", "latents"

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.model.encode(images, labels)


class _Decode(Program):
    direction = "decode"

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.model.decode(latents, labels)


class _Sample(Program):
    direction = "sample"

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        model = self.model
        z = model.prior.from_noise(noise, labels if model.prior.num_classes > 1 else None)
        return model.decode(z, labels if takes_labels(model) else None).clamp(0, 1)


_MOST = 2**31 - 1  # images in a batch; torch 2.7 wants it to be less than what int64 holds

PROGRAMS = {program.direction: program for program in (_Encode, _Decode, _Sample)}


def trace(program: Program) -> ExportedProgram:
    """The operations of a program; an error where they cannot be listed or fix the batch size."""
    inputs = tuple(program.example(2).values())
    shapes = tuple({0: Dim("batch", max=_MOST)} for _ in inputs)
    try:
        exported = torch.export.export(program, inputs, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # of some dozen unrelated types
        raise GenrevError(
            f"{type(program.model.net).__name__}.{program.direction} cannot be exported "
            f"({reason(error)}); it must be made of tensor operations alone, and take the batch "
            "size from x.shape[0], not from len(x)."
        ) from error
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return exported


def _write_pt2(exported: ExportedProgram, _: Program, path: Path, about: dict[str, Any]) -> None:
    with _quiet():
        torch.export.save(exported, path, extra_files={"genrev.json": json.dumps(about)})


def _run_pt2(path: Path, inputs: dict[str, Tensor]) -> Tensor:
    return torch.export.load(path).module()(*inputs.values())


def _write_onnx(
    exported: ExportedProgram, program: Program, path: Path, about: dict[str, Any]
) -> None:
    require("export")  # of which torch.onnx needs a part
    inputs = list(program.example(2))
    with _quiet():
        onnx_program = torch.onnx.export(
            exported,
            dynamo=True,
            verbose=False,
            opset_version=ONNX_OPSET,
            input_names=inputs,
            output_names=[program.output],
            dynamic_shapes=tuple({0: "batch"} for _ in inputs),
        )
        assert onnx_program is not None
        onnx_program.model.producer_name = "genrev"
        onnx_program.model.metadata_props.update({"genrev": json.dumps(about)})
        onnx_program.save(path)


def _run_onnx(path: Path, inputs: dict[str, Tensor]) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return torch.from_numpy(output)


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


PROGRAM_FORMATS = {".pt2": (_write_pt2, _run_pt2), ".onnx": (_write_onnx, _run_onnx)}
"""How a program is written to a file, with a description, and run from it."""
