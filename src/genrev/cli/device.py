"""The option --device, which all commands that compute have; PyTorch is imported when one runs."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option; what there is of that name, PyTorch knows."""
    what = (
        "where to compute: cpu, cuda, cuda:1, mps (default: the accelerator there is, or the CPU)"
    )
    parser.add_argument("--device", metavar="NAME", help=what)


def chosen_device(options: argparse.Namespace) -> "torch.device":
    """The device that --device names, after a line on standard error that says which."""
    import torch

    from genrev.models.devices import announce_device, choose_device

    device = choose_device(options.device)
    announce_device(device)
    torch.backends.cudnn.allow_tf32 = False  # numbers are to be those of other devices
    return device
