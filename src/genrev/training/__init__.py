"""Training: configurations, one LightningModule per method, and the loop around them."""

from genrev.training.config import (
    METHODS,
    BaselineConfig,
    EngineConfig,
    FlowGANConfig,
    LikelihoodConfig,
    MatchingConfig,
    PhasesConfig,
    RunConfig,
    SemiConfig,
    TrainerConfig,
    TransportConfig,
)
from genrev.training.ranks import is_first_process
from genrev.training.run_folder import RunFolder
from genrev.training.several import SEEDS_FILE, train_several
from genrev.training.train import resume, train

__all__ = [
    "METHODS",
    "SEEDS_FILE",
    "BaselineConfig",
    "EngineConfig",
    "FlowGANConfig",
    "LikelihoodConfig",
    "MatchingConfig",
    "PhasesConfig",
    "RunConfig",
    "RunFolder",
    "SemiConfig",
    "TrainerConfig",
    "TransportConfig",
    "is_first_process",
    "resume",
    "train",
    "train_several",
]
