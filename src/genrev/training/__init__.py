"""Training: methods, the step they share, and runs on disk."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from genrev.training.config import (
    Choice,
    EngineOptions,
    OptimizerOptions,
    PriorChoice,
    RunConfig,
    TrainerOptions,
)
from genrev.training.methods.adversarial import AdversarialMethod
from genrev.training.methods.method import (
    METHODS,
    Batch,
    HeldOut,
    Method,
    Noise,
    Phase,
    build_method,
)
from genrev.training.steps.step import Step

if TYPE_CHECKING:
    from genrev.files.locking import is_first_process
    from genrev.training.ex_post import fit_prior
    from genrev.training.run.checkpoints import stopping_signal
    from genrev.training.run.folder import RunFolder
    from genrev.training.run.several import SEEDS_FILE, train_several
    from genrev.training.run.train import resume, train
    from genrev.training.steps.module import TrainingModule

# Imported when they are first used: options and steps need no Lightning.
_HOMES = {
    "ex_post": ("fit_prior",),
    "run.checkpoints": ("stopping_signal",),
    "run.folder": ("RunFolder", "is_first_process"),
    "run.several": ("SEEDS_FILE", "train_several"),
    "run.train": ("resume", "train"),
    "steps.module": ("TrainingModule",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"genrev.training.{home}"), name)
    raise AttributeError(f"module 'genrev.training' has no attribute {name!r}")
