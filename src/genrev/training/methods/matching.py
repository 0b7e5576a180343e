"""The method ``matching``: one prior on few active dimensions, in two phases or ex post."""

import math

import torch

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeModule, GenerativeRevNet
from genrev.priors import GaussianMixturePrior, Prior
from genrev.priors.mixture import fewest_encodings
from genrev.training.config import MatchingConfig, RunConfig
from genrev.training.distances import PAIRED
from genrev.training.encodings import build_model
from genrev.training.ex_post import fit_to_encodings, restricted_encodings
from genrev.training.limits import (
    require_at_least,
    require_batch_multiple,
    require_betas,
    require_positive,
)
from genrev.training.matching import MatchingModule
from genrev.training.methods.method import Method
from genrev.training.reconstruction import take_over

__all__ = ["MATCHING"]


def _check(config: RunConfig) -> None:
    model = _options(config)
    require_positive(model, "model.", "lr", "discriminator_lr", "discriminator_clip", "bound")
    require_at_least(model, "model.", 0, "reconstruction_weight", "clamp_weight", "matching_weight")
    require_at_least(model, "model.", 2 if model.matching.startswith("mmd") else 1, "prior_samples")
    if min(model.discriminator_hidden) < 1:
        raise GenrevError(
            "--model.discriminator_hidden takes two widths of 1 or more and is "
            f"{list(model.discriminator_hidden)}."
        )
    require_betas(model.betas)
    if model.prior == "uniform" and model.bound is None:
        raise GenrevError("--model.prior uniform reaches to --model.bound; give it a value.")
    _check_mixture(model)
    if model.matching in PAIRED and model.prior_samples not in (None, config.batch_size):
        raise GenrevError(
            f"--model.matching {model.matching} pairs encodings with samples, so "
            f"--model.prior_samples must be null or {config.batch_size} and is "
            f"{model.prior_samples}."
        )
    _check_phases(config)


def _check_mixture(model: MatchingConfig) -> None:
    require_at_least(model, "model.", 1, "mixture_components")
    if model.prior == "mixture" and model.matching != "none":
        raise GenrevError(
            f"--model.prior mixture comes to the encodings, so --model.matching {model.matching} "
            "has nothing to match; make it none."
        )
    if model.prior != "mixture" and model.matching == "none":
        raise GenrevError(
            "--model.matching none leaves encodings where they are, far from --model.prior "
            f"{model.prior}; make that mixture."
        )


def _check_phases(config: RunConfig) -> None:
    phases, max_steps = config.phases, config.trainer.max_steps
    require_at_least(phases, "phases.", 0, "reconstruction_steps", "clamp_weight")
    if phases.reconstruction is not None and phases.reconstruction_steps >= max_steps:
        raise GenrevError(
            f"--trainer.max_steps {max_steps} leaves no steps after those that "
            f"--phases.reconstruction has done; make it more than {phases.reconstruction_steps}."
        )


def _check_data(config: RunConfig, data: ImageData) -> None:
    matching, processes = _options(config).matching, config.trainer.processes
    colours, channels = _options(config).reconstruction_colours, data.image_shape[0]
    if colours != "rgb" and channels != 3:
        raise GenrevError(
            f"--model.reconstruction_colours {colours} needs images of red, green and blue and "
            f"these have {channels} channel(s); leave it out."
        )
    if matching.startswith("mmd") and config.batch_size < 2:
        raise GenrevError(
            f"--model.matching {matching} needs 2 images or more and --batch_size is "
            f"{config.batch_size}; take 128, for example."
        )
    # Debiased transport halves the batch of all processes.
    unit = math.lcm(processes, 2 if matching == "transport" else 1)
    require_batch_multiple(config.batch_size, unit, f"{processes} process(es)")


def _check_enough(prior: Prior, data: ImageData) -> None:
    """Before the training, for what would only fail when it is over."""
    if not isinstance(prior, GaussianMixturePrior):
        return
    k = len(prior.active_dims)
    fewest = fewest_encodings(prior.components, "full", k)
    if len(data) < fewest:
        raise GenrevError(
            f"--model.mixture_components {prior.components} of {k} active dimensions need "
            f"{fewest:,} images and {data.name} has {len(data):,} (of a stream, a sample is "
            "taken); take fewer components."
        )


def _build_model(
    config: RunConfig, data: ImageData, device: torch.device, measure: bool
) -> GenerativeModule:
    other = config.phases.reconstruction
    model = build_model(
        _options(config), config.engine, data, device, measure=measure and other is None
    )
    _check_enough(model.prior, data)
    if measure and other is not None:
        take_over(model, other)
    return model


def _build_module(config: RunConfig, model: GenerativeModule, data: ImageData) -> MatchingModule:
    del data
    assert isinstance(model, GenerativeRevNet)
    trainer = config.trainer
    return MatchingModule(
        model,
        _options(config),
        config.phases,
        config.seed,
        trainer.max_steps,
        trainer.gradient_clip,
    )


def _finish(
    config: RunConfig, model: GenerativeModule, data: ImageData, device: torch.device
) -> None:
    """Fit the mixture; every process does it, to the same numbers."""
    options = _options(config)
    if options.prior != "mixture":
        return
    assert isinstance(model, GenerativeRevNet)
    components = options.mixture_components
    try:
        active, labels = restricted_encodings(model.to(device), data)
        model.prior = fit_to_encodings(model, active, labels, components, seed=config.seed)
    except GenrevError as error:
        reason = str(error).rstrip(".")
        raise GenrevError(
            f"The mixture could not be fitted ({reason}). The prior stays one Gaussian; "
            "`genrev fit-prior RUN` fits another."
        ) from error
    finally:
        model.cpu()


def _options(config: RunConfig) -> MatchingConfig:
    assert isinstance(config.model, MatchingConfig)
    return config.model


MATCHING = Method(False, _check, _check_data, _build_model, _build_module, finish=_finish)
