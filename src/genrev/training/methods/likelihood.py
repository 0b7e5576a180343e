"""The method ``likelihood``: bits per dimension, by change of variables."""

import torch

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeModule, GenerativeRevNet
from genrev.networks import RevNetConfig
from genrev.training.config import LikelihoodConfig, RunConfig
from genrev.training.flows import build_flow
from genrev.training.heldout import held_out_likelihood
from genrev.training.likelihood import LikelihoodModule
from genrev.training.limits import (
    require_at_least,
    require_batch_multiple,
    require_betas,
    require_positive,
)
from genrev.training.methods.method import Method
from genrev.training.metrics_csv import Measurements
from genrev.training.networks import untrained_net

__all__ = ["LIKELIHOOD", "require_kept_activations"]


def require_kept_activations(config: RunConfig, network: str | RevNetConfig) -> None:
    """Raise ``GenrevError`` where log-determinants would quietly keep what is to be recomputed."""
    affine = isinstance(network, RevNetConfig) and network.coupling == "affine"
    if affine and config.engine.memory != "stored":
        raise GenrevError(
            "The log-determinant of affine couplings needs their activations, and --engine.memory "
            f"{config.engine.memory} does not keep them; set --engine.memory stored."
        )


def _check(config: RunConfig) -> None:
    model = _options(config)
    require_positive(model, "model.", "lr")
    require_at_least(model, "model.", 1, "heldout_every")
    require_betas(model.betas)
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


def _build_module(config: RunConfig, model: GenerativeModule, data: ImageData) -> LikelihoodModule:
    del data
    assert isinstance(model, GenerativeRevNet)
    trainer = config.trainer
    return LikelihoodModule(
        model, _options(config), config.seed, trainer.max_steps, trainer.gradient_clip
    )


def _measurements(config: RunConfig, data: ImageData) -> list[Measurements]:
    return [held_out_likelihood(config, data, _options(config).heldout_every)]


def _options(config: RunConfig) -> LikelihoodConfig:
    assert isinstance(config.model, LikelihoodConfig)
    return config.model


LIKELIHOOD = Method(False, _check, _check_data, _build_model, _build_module, _measurements)
