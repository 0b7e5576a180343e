"""Training: methods, the step they share, and runs on disk."""

from genrev.training.config import (
    Choice,
    EngineOptions,
    OptimizerOptions,
    PriorChoice,
    RunConfig,
    TrainerOptions,
)
from genrev.training.methods import (
    METHODS,
    AdversarialMethod,
    Batch,
    HeldOut,
    Method,
    Noise,
    Phase,
    build_method,
)
from genrev.training.run.folder import RunFolder, is_first_process
from genrev.training.run.several import SEEDS_FILE, train_several
from genrev.training.run.train import resume, train
from genrev.training.steps import Step, TrainingModule
