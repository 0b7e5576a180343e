"""What a training says on standard error before its first step."""

import sys

import torch

from genrev.data import ImageData, announce
from genrev.models import GenerativeModel
from genrev.models.devices import told_device
from genrev.training.config import RunConfig
from genrev.training.run.folder import RunFolder


def announce_start(config: RunConfig, data: ImageData, device: torch.device) -> None:
    """Say where it is computed, and on which images."""
    threads = f"{config.trainer.threads} CPU thread{'s' if config.trainer.threads != 1 else ''}"
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
    steps = f"step {step:,} to {last:,}" if step else f"{last:,} steps"
    minutes = config.trainer.max_minutes
    limit = "" if minutes is None else f", at most {minutes:g} minutes"
    images = f"of {config.batch_size:,} images"
    _say("training", f"{config.method.name}, {steps} {images}{limit}, into {folder.path}")


def _say(what: str, words: str) -> None:
    print(f"{what} {words}", file=sys.stderr)
