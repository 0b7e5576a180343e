"""Options of a whole run."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from genrev.data import DataConfig
from genrev.training.config.baseline import BaselineConfig
from genrev.training.config.engine import EngineConfig
from genrev.training.config.flow_gan import FlowGANConfig
from genrev.training.config.likelihood import LikelihoodConfig
from genrev.training.config.matching import MatchingConfig
from genrev.training.config.phases import PhasesConfig
from genrev.training.config.semi import SemiConfig
from genrev.training.config.trainer import TrainerConfig
from genrev.training.config.transport import TransportConfig

__all__ = ["METHODS", "ModelConfig", "RunConfig"]

ModelConfig: TypeAlias = (
    TransportConfig
    | MatchingConfig
    | BaselineConfig
    | LikelihoodConfig
    | FlowGANConfig
    | SemiConfig
)

METHODS: dict[str, type[ModelConfig]] = {
    "transport": TransportConfig,
    "matching": MatchingConfig,
    "baseline": BaselineConfig,
    "likelihood": LikelihoodConfig,
    "flow-gan": FlowGANConfig,
    "semi": SemiConfig,
}
"""The type of ``RunConfig.model`` for every ``RunConfig.method``."""


@dataclass(frozen=True)
class RunConfig:
    """A whole run.

    Args:
        recipe: name of the recipe it came from.
        seed: everything random follows from it.
        batch_size: images per optimiser step over all processes; method transport takes the same
            number of each class.
        data: where the images come from.
        method: transport to class-conditional Gaussians, matching of a fixed prior, one of the
            baselines, maximum likelihood, an adversary on images, or class-conditional Gaussians
            from few labels.
        model: network, prior and objective, of the method's type.
        phases: of method matching.
        engine: how gradients are computed.
        trainer: length, device and reports.

    Raises:
        TypeError: a model that is not of the method's type.
    """

    recipe: str = "custom"
    seed: int = 0
    batch_size: int = 400
    data: DataConfig = field(default_factory=DataConfig)
    method: Literal["transport", "matching", "baseline", "likelihood", "flow-gan", "semi"] = (
        "transport"
    )
    model: ModelConfig = field(default_factory=TransportConfig)
    phases: PhasesConfig = field(default_factory=PhasesConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        expected = METHODS[self.method]
        if not isinstance(self.model, expected):
            raise TypeError(
                f"method {self.method} needs a {expected.__name__} and got a "
                f"{type(self.model).__name__}."
            )

    @property
    def first_step(self) -> int:
        """The step to begin with, the one after a reconstruction phase that another run did."""
        return self.phases.reconstruction_steps if self.phases.reconstruction else 0

    @property
    def steps(self) -> int:
        """Optimiser steps of this run itself."""
        return self.trainer.max_steps - self.first_step
