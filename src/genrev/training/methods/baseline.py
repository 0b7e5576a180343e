"""The method ``baseline``: variational and Wasserstein autoencoders, for comparison."""

import torch

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeModel, GenerativeModule
from genrev.networks import ConvAutoencoder, ConvAutoencoderConfig
from genrev.priors import ActiveGaussian
from genrev.training.baseline import BaselineModule
from genrev.training.config import BaselineConfig, EngineConfig, RunConfig
from genrev.training.limits import require_at_least, require_batch_multiple, require_positive
from genrev.training.methods.method import Method

__all__ = ["BASELINE"]


def _check(config: RunConfig) -> None:
    model = _options(config)
    require_positive(model, "model.", "lr", "discriminator_lr", "reconstruction_weight")
    require_at_least(model, "model.", 0, "latent_weight")
    require_at_least(model, "model.", 1, "discriminator_hidden")
    if not all(0 <= beta < 1 for beta in model.betas):
        raise GenrevError(
            f"--model.betas takes two numbers from 0 to below 1 and is {list(model.betas)}."
        )
    if config.engine != EngineConfig():
        raise GenrevError("--engine.* is for RevNets and this is a baseline; leave it out.")


def _check_data(config: RunConfig, data: ImageData) -> None:
    processes = config.trainer.processes
    require_batch_multiple(config.batch_size, processes, f"{processes} process(es)")
    if config.batch_size < 2 * processes:
        raise GenrevError(
            f"--batch_size {config.batch_size} leaves less than 2 images for each of {processes} "
            f"process(es), which batch normalisation needs; take {100 * processes}, for example."
        )
    network = _network(config)
    if data.image_shape != network.image_shape:
        have, want = ("x".join(map(str, s)) for s in (data.image_shape, network.image_shape))
        raise GenrevError(
            f"The images of {data.name} are {have} (channels x height x width) and the network "
            f"takes {want}; resize them with --data.image_size {network.image_size} "
            f"--data.channels {network.channels}, or choose another --model.network."
        )


def _build_model(
    config: RunConfig, data: ImageData, device: torch.device, measure: bool
) -> GenerativeModule:
    del data, device, measure  # nothing of it depends on the images
    net = ConvAutoencoder(_network(config))
    return GenerativeModel(net, ActiveGaussian(net.latent_dim, bound=None), ("all",))


def _build_module(config: RunConfig, model: GenerativeModule, data: ImageData) -> BaselineModule:
    del data
    trainer = config.trainer
    return BaselineModule(
        model, _options(config), config.seed, trainer.max_steps, trainer.gradient_clip
    )


def _network(config: RunConfig) -> ConvAutoencoderConfig:
    model = _options(config)
    stochastic = model.kind == "vae"
    if isinstance(model.network, str):
        if model.network not in ConvAutoencoder.presets:
            raise GenrevError(
                f"No convolutional autoencoder is called {model.network!r}; choose from "
                f"{', '.join(ConvAutoencoder.presets)}."
            )
        return ConvAutoencoder.presets[model.network].replace(stochastic=stochastic)
    return model.network.replace(stochastic=stochastic)


def _options(config: RunConfig) -> BaselineConfig:
    assert isinstance(config.model, BaselineConfig)
    return config.model


BASELINE = Method(False, _check, _check_data, _build_model, _build_module)
