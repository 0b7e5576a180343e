"""Values that no run can have, told before anything is loaded or written."""

from genrev.errors import GenrevError
from genrev.training.config import EngineConfig, PhasesConfig, RunConfig, TrainerConfig
from genrev.training.limits import require_at_least, require_positive
from genrev.training.methods import PROCEDURES

__all__ = ["check"]

_LARGEST_MINUTES = 1e6  # two years, before dates end
_LARGEST_SEED = 2**32 - 1  # what numpy's global generator takes, which Lightning seeds too


def check(config: RunConfig) -> None:
    """Raise ``GenrevError`` for values that no run can have."""
    require_at_least(config, "", 0, "seed")
    if config.seed > _LARGEST_SEED:
        raise GenrevError(f"--seed must be at most {_LARGEST_SEED} and is {config.seed}.")
    _check_engine(config.engine)
    _check_trainer(config.trainer)
    if config.method != "matching" and config.phases != PhasesConfig():
        raise GenrevError(
            f"--phases.* is for --method matching and this is {config.method}; leave it out."
        )
    if config.data.streaming and PROCEDURES[config.method].balanced:
        raise GenrevError(
            f"--method {config.method} takes as many images of every class into each batch, which "
            "a stream cannot deliver; leave --data.streaming out, or train with --method matching."
        )
    PROCEDURES[config.method].check(config)


def _check_engine(engine: EngineConfig) -> None:
    require_at_least(engine, "engine.", 1, "drift_every")
    require_positive(engine, "engine.", "drift_threshold")
    if engine.exact and engine.compile:
        raise GenrevError(
            "--engine.exact and --engine.compile exclude each other, since compiled networks need "
            "not give the same bits twice; leave one of them out."
        )


def _check_trainer(trainer: TrainerConfig) -> None:
    counts = ("max_steps", "devices", "nodes", "log_every", "sample_every", "checkpoint_every")
    require_at_least(trainer, "trainer.", 1, *counts)
    require_at_least(trainer, "trainer.", 1, "threads", "frechet_every")
    require_at_least(trainer, "trainer.", 2, "frechet_samples")
    require_positive(trainer, "trainer.", "max_minutes", largest=_LARGEST_MINUTES)
    require_positive(trainer, "trainer.", "gradient_clip")
    if trainer.keep_best and trainer.frechet_every is None:
        raise GenrevError(
            "--trainer.keep_best goes by the Fréchet distance; say how often to measure it with "
            "--trainer.frechet_every."
        )
    if trainer.ema is not None and not 0 < trainer.ema < 1:
        raise GenrevError(f"--trainer.ema must lie between 0 and 1 and is {trainer.ema}.")
