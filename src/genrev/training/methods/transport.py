"""The method ``transport``: class-conditional Gaussians, without an adversary."""

import torch

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeModule, GenerativeRevNet
from genrev.training.config import RunConfig, TransportConfig
from genrev.training.encodings import build_model
from genrev.training.limits import require_at_least, require_batch_multiple, require_positive
from genrev.training.methods.method import Method
from genrev.training.transport import TransportModule

__all__ = ["TRANSPORT"]


def _check(config: RunConfig) -> None:
    model = _options(config)
    require_positive(model, "model.", "lr", "prior_lr", "bound")
    weights = ("reconstruction", "clamp", "transport", "perturbation")
    require_at_least(model, "model.", 0, *(f"{name}_weight" for name in weights))
    require_at_least(model, "model.", 0, "transport_memory", "perturbation_std")
    if not 0 <= model.transport_start <= 1:
        raise GenrevError(
            "--model.transport_start is a fraction of the steps, from 0 to 1, and is "
            f"{model.transport_start}."
        )
    others = (model.reconstruction_weight, model.clamp_weight, model.perturbation_weight)
    if model.transport_start > 0 and not any(others):
        raise GenrevError(
            "There is nothing to train on before the transport starts; set "
            "--model.transport_start 0 or give --model.reconstruction_weight a value."
        )


def _check_data(config: RunConfig, data: ImageData) -> None:
    processes = config.trainer.processes
    # Debiased transport halves the images of a class.
    unit = data.num_classes * (2 if _options(config).transport == "debiased" else 1) * processes
    reason = f"{data.num_classes} classes on {processes} process(es)"
    require_batch_multiple(config.batch_size, unit, reason)


def _build_model(
    config: RunConfig, data: ImageData, device: torch.device, measure: bool
) -> GenerativeModule:
    return build_model(_options(config), config.engine, data, device, measure)


def _build_module(config: RunConfig, model: GenerativeModule, data: ImageData) -> TransportModule:
    assert isinstance(model, GenerativeRevNet)
    trainer = config.trainer
    return TransportModule(
        model, _options(config), data, config.seed, trainer.max_steps, trainer.gradient_clip
    )


def _options(config: RunConfig) -> TransportConfig:
    assert isinstance(config.model, TransportConfig)
    return config.model


TRANSPORT = Method(True, _check, _check_data, _build_model, _build_module)
