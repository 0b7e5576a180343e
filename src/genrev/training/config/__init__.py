"""Everything a training run depends on, as plain dataclasses.

A recipe is a YAML file with the fields of a ``RunConfig``; the command line overrides single ones
with dotted names (``--model.lr 0.002``); a run folder keeps the resolved whole as ``config.yaml``.
"""

from genrev.training.config.baseline import BaselineConfig
from genrev.training.config.engine import EngineConfig
from genrev.training.config.flow_gan import FlowGANConfig
from genrev.training.config.likelihood import LikelihoodConfig
from genrev.training.config.matching import MatchingConfig
from genrev.training.config.phases import PhasesConfig
from genrev.training.config.run import METHODS, ModelConfig, RunConfig
from genrev.training.config.semi import SemiConfig
from genrev.training.config.trainer import TrainerConfig
from genrev.training.config.transport import TransportConfig

__all__ = [
    "METHODS",
    "BaselineConfig",
    "EngineConfig",
    "FlowGANConfig",
    "LikelihoodConfig",
    "MatchingConfig",
    "ModelConfig",
    "PhasesConfig",
    "RunConfig",
    "SemiConfig",
    "TrainerConfig",
    "TransportConfig",
]
