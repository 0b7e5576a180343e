"""Training: configurations, one LightningModule per method, and the loop around them."""

from genrev.training.config import EngineConfig, RunConfig, TrainerConfig, TransportConfig
from genrev.training.ranks import is_first_process
from genrev.training.run_folder import RunFolder
from genrev.training.train import resume, train

__all__ = [
    "EngineConfig",
    "RunConfig",
    "RunFolder",
    "TrainerConfig",
    "TransportConfig",
    "is_first_process",
    "resume",
    "train",
]
