"""What methods share that train class-conditional Gaussians along with the network."""

from typing import Any, TypeVar

from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Adam

from genrev.evaluation import IN_USE
from genrev.models import GenerativeRevNet
from genrev.priors import ClassConditionalGaussian
from genrev.training.config import SemiConfig, TransportConfig
from genrev.training.module import TrainingModule
from genrev.training.schedule import rate_factor, scheduled

__all__ = ["ClassConditionalModule"]

Config = TypeVar("Config", bound=TransportConfig | SemiConfig)


class ClassConditionalModule(TrainingModule[Config]):
    """Optimiser, schedule and the moment at which the transport sets in.

    Args:
        model: what is trained; its prior must be class-conditional.
        config: weights and rates.
        seed: of all noise.
        max_steps: length of the run, for the schedule and the start of the transport.
        gradient_clip: largest gradient norm; ``None`` does not clip.
    """

    model: GenerativeRevNet

    def __init__(
        self,
        model: GenerativeRevNet,
        config: Config,
        seed: int,
        max_steps: int,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(model, config, seed, gradient_clip)
        self.max_steps = max_steps
        self.transport_step = round(config.transport_start * max_steps)

    @property
    def prior(self) -> ClassConditionalGaussian:
        """The model's prior."""
        assert isinstance(self.model.prior, ClassConditionalGaussian)
        return self.model.prior

    def report_losses(self, losses: dict[str, Tensor]) -> None:
        """Log the losses, and beside them how wide the prior is.

        ``std_mean`` and ``std_max`` are over all classes and dimensions, ``dims_in_use`` is the
        mean over the classes of the number of dimensions wider than ``evaluation.IN_USE``: a prior
        that collapses shows at once.
        """
        std = self.prior.std.detach()  # (classes, k)
        in_use = (std > IN_USE).sum(1).float().mean()
        widths = {"std_mean": std.mean(), "std_max": std.max(), "dims_in_use": in_use}
        self.report(losses | widths, off_bar=tuple(widths))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam with one learning rate for the network and one for the prior."""
        groups = [
            {"params": list(self.model.net.parameters()), "lr": self.config.lr},
            {"params": list(self.prior.parameters()), "lr": self.config.prior_lr},
        ]
        return scheduled(Adam(groups), self._learning_rate_factor)

    def _learning_rate_factor(self, step: int) -> float:
        return rate_factor(self.config.schedule, step, self.max_steps)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then bring standard deviations back to zero or above."""
        super().optimizer_step(*args, **kwargs)
        self.prior.project_()
