"""The method ``flow-gan``: an adversary on images, and a likelihood beside it."""

import torch

from genrev.data import ImageData
from genrev.models import GenerativeModule, GenerativeRevNet
from genrev.training.config import FlowGANConfig, RunConfig
from genrev.training.flow_gan import FlowGANModule
from genrev.training.flows import build_flow
from genrev.training.heldout import held_out_likelihood
from genrev.training.limits import (
    require_at_least,
    require_batch_multiple,
    require_betas,
    require_positive,
)
from genrev.training.methods.likelihood import require_kept_activations
from genrev.training.methods.method import Method
from genrev.training.metrics_csv import Measurements
from genrev.training.networks import untrained_net

__all__ = ["FLOW_GAN"]


def _check(config: RunConfig) -> None:
    model = _options(config)
    require_positive(model, "model.", "lr", "discriminator_lr")
    require_at_least(model, "model.", 0, "likelihood_weight")
    require_at_least(model, "model.", 1, "heldout_every", "discriminator_width")
    require_betas(model.betas)
    if model.likelihood_weight:
        require_kept_activations(config, model.network)


def _check_data(config: RunConfig, data: ImageData) -> None:
    del data
    processes = config.trainer.processes
    require_batch_multiple(config.batch_size, processes, f"{processes} process(es)")


def _build_model(
    config: RunConfig, data: ImageData, device: torch.device, measure: bool
) -> GenerativeModule:
    model = _options(config)
    net = untrained_net(model.network, model.init, config.engine, data)
    return build_flow(net, model.prior, data, device, measure)


def _build_module(config: RunConfig, model: GenerativeModule, data: ImageData) -> FlowGANModule:
    del data
    assert isinstance(model, GenerativeRevNet)
    trainer = config.trainer
    return FlowGANModule(
        model, _options(config), config.seed, trainer.max_steps, trainer.gradient_clip
    )


def _measurements(config: RunConfig, data: ImageData) -> list[Measurements]:
    return [held_out_likelihood(config, data, _options(config).heldout_every)]


def _options(config: RunConfig) -> FlowGANConfig:
    assert isinstance(config.model, FlowGANConfig)
    return config.model


FLOW_GAN = Method(False, _check, _check_data, _build_model, _build_module, _measurements)
