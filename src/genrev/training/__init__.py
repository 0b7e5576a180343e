"""Training: configurations, one LightningModule per method, and the loop around them."""

from genrev.training.config import RunConfig, TrainerConfig, TransportConfig
from genrev.training.run_folder import RunFolder
from genrev.training.train import resume, train

__all__ = ["RunConfig", "RunFolder", "TrainerConfig", "TransportConfig", "resume", "train"]
