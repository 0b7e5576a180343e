"""Write a model as a program for other software: ONNX, torch.export, or weights alone."""

import argparse
from dataclasses import asdict

from genrev.cli.arguments import add_run
from genrev.cli.terminal import print_json, to_path
from genrev.export import DIRECTIONS, FORMATS, Exported, export
from genrev.models import load


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    parser.add_argument(
        "--to",
        type=to_path,
        metavar="FILE",
        required=True,
        help=f"what to write; its extension, one of {', '.join(FORMATS)}, says which format",
    )
    parser.add_argument(
        "--direction",
        choices=DIRECTIONS,
        help="write this one into FILE itself; by default FILE.encode.onnx and FILE.decode.onnx "
        "(or .pt2) are written next to each other",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    """Export."""
    written = export(load(options.run), options.to, options.direction)
    if options.json:
        print_json([{**asdict(file), "path": str(file.path)} for file in written])
        return
    for file in written:
        print(_line(file))


def _line(file: Exported) -> str:
    if file.direction is None:
        return f"wrote {file.path} (weights, with the configuration in the metadata)"
    opset = "" if file.opset is None else f", opset {file.opset}"
    return (
        f"wrote {file.path} ({', '.join(file.inputs)} -> {file.output}{opset}); largest difference "
        f"to the model {file.difference:.1e}, allowed {file.tolerance:.1e}"
    )
