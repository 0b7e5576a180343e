"""Values that no run can have, told before anything is loaded or written."""

from genrev.errors import GenrevError
from genrev.training.config import (
    EngineConfig,
    MatchingConfig,
    PhasesConfig,
    RunConfig,
    TrainerConfig,
    TransportConfig,
)
from genrev.training.distances import PAIRED

__all__ = ["check"]

_LARGEST_NUMBER = 1e30  # of a rate or a norm, before float32 ends
_LARGEST_MINUTES = 1e6  # two years, before dates end
_LARGEST_SEED = 2**32 - 1  # what numpy's global generator takes, which Lightning seeds too


def check(config: RunConfig) -> None:
    """Raise ``GenrevError`` for values that no run can have."""
    _at_least(config, "", 0, "seed")
    if config.seed > _LARGEST_SEED:
        raise GenrevError(f"--seed must be at most {_LARGEST_SEED} and is {config.seed}.")
    _check_engine(config.engine)
    _check_trainer(config.trainer)
    _check_phases(config)
    if isinstance(config.model, MatchingConfig):
        _check_matching(config.model, config.batch_size)
    else:
        _check_transport(config.model)


def _check_engine(engine: EngineConfig) -> None:
    _at_least(engine, "engine.", 1, "drift_every")
    _positive(engine, "engine.", "drift_threshold")
    if engine.exact and engine.compile:
        raise GenrevError(
            "--engine.exact and --engine.compile exclude each other, since compiled networks need "
            "not give the same bits twice; leave one of them out."
        )


def _check_trainer(trainer: TrainerConfig) -> None:
    counts = ("max_steps", "devices", "log_every", "sample_every", "checkpoint_every", "threads")
    _at_least(trainer, "trainer.", 1, *counts)
    _at_least(trainer, "trainer.", 1, "frechet_every")
    _at_least(trainer, "trainer.", 2, "frechet_samples")
    _positive(trainer, "trainer.", "max_minutes", largest=_LARGEST_MINUTES)
    _positive(trainer, "trainer.", "gradient_clip")
    if trainer.ema is not None and not 0 < trainer.ema < 1:
        raise GenrevError(f"--trainer.ema must lie between 0 and 1 and is {trainer.ema}.")


def _check_transport(model: TransportConfig) -> None:
    _positive(model, "model.", "lr", "prior_lr", "bound")
    weights = ("reconstruction", "clamp", "transport", "perturbation")
    _at_least(model, "model.", 0, *(f"{name}_weight" for name in weights))
    _at_least(model, "model.", 0, "transport_memory", "perturbation_std")
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


def _check_phases(config: RunConfig) -> None:
    phases, max_steps = config.phases, config.trainer.max_steps
    if config.method != "matching" and phases != PhasesConfig():
        raise GenrevError(
            f"--phases.* is for --method matching and this is {config.method}; leave it out."
        )
    _at_least(phases, "phases.", 0, "reconstruction_steps", "clamp_weight")
    if phases.reconstruction is not None and phases.reconstruction_steps >= max_steps:
        raise GenrevError(
            f"--trainer.max_steps {max_steps} leaves no steps after those that "
            f"--phases.reconstruction has done; make it more than {phases.reconstruction_steps}."
        )


def _check_matching(model: MatchingConfig, batch_size: int) -> None:
    _positive(model, "model.", "lr", "discriminator_lr", "discriminator_clip", "bound")
    _at_least(model, "model.", 0, "reconstruction_weight", "clamp_weight", "matching_weight")
    _at_least(model, "model.", 2 if model.matching.startswith("mmd") else 1, "prior_samples")
    if min(model.discriminator_hidden) < 1:
        raise GenrevError(
            "--model.discriminator_hidden takes two widths of 1 or more and is "
            f"{list(model.discriminator_hidden)}."
        )
    if not all(0 <= beta < 1 for beta in model.betas):
        raise GenrevError(
            f"--model.betas takes two numbers from 0 to below 1 and is {list(model.betas)}."
        )
    if model.prior == "uniform" and model.bound is None:
        raise GenrevError("--model.prior uniform reaches to --model.bound; give it a value.")
    if model.matching in PAIRED and model.prior_samples not in (None, batch_size):
        raise GenrevError(
            f"--model.matching {model.matching} pairs encodings with samples, so "
            f"--model.prior_samples must be null or {batch_size} and is {model.prior_samples}."
        )


def _at_least(values: object, prefix: str, smallest: int, *names: str) -> None:
    for name in names:
        value = getattr(values, name)
        if value is not None and not value >= smallest:
            raise GenrevError(f"--{prefix}{name} must be {smallest} or more and is {value}.")


def _positive(values: object, prefix: str, *names: str, largest: float = _LARGEST_NUMBER) -> None:
    for name in names:
        value = getattr(values, name)
        if value is not None and not 0 < value <= largest:
            raise GenrevError(
                f"--{prefix}{name} must be positive, {largest:g} or less, and is {value}."
            )
