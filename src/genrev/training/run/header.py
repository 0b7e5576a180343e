"""What a training says on standard error before its first step."""

import sys

import torch

from genrev.data import ImageData, announce
from genrev.models import GenerativeModel
from genrev.models.devices import told_device
from genrev.training.config import RunConfig
from genrev.training.run.folder import RunFolder
from genrev.words import counted


def announce_start(config: RunConfig, data: ImageData, device: torch.device) -> None:
    """Say where it is computed, and on which images."""
    threads = counted(config.trainer.threads or 1, "CPU thread")
    _say("device", f"{told_device(device)}, {threads}")
    announce(data)


def announce_run(
    config: RunConfig, model: GenerativeModel, step: int, last: int, folder: RunFolder
) -> None:
    """Say what is trained, for how long, and where it is written."""
    shape = "x".join(map(str, model.image_shape))
    weights = sum(weight.numel() for weight in model.parameters())
    active, dim = len(model.prior.active_dims), model.prior.dim
    dims = f"all {dim:,}" if active == dim else f"{active:,} of {dim:,}"
    _say(
        "model",
        f"{config.network.name} for {shape} images, {weights:,} parameters; prior "
        f"{config.prior.name} on {dims} latent dimensions",
    )
    steps = f"step {step:,} to {last:,}" if step else counted(last, "step")
    minutes = config.trainer.max_minutes
    limit = "" if minutes is None else f", at most {minutes:g} minute{'s' if minutes != 1 else ''}"
    images = f"of {counted(config.batch_size, 'image')}"
    _say("training", f"{config.method.name}, {steps} {images}{limit}, into {folder.path}")


def _say(what: str, words: str) -> None:
    print(f"{what} {words}", file=sys.stderr)
