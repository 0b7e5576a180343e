"""What methods share that train class-conditional Gaussians along with the network."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from genrev.evaluation import IN_USE
from genrev.models import GenerativeModel
from genrev.options import Weight
from genrev.priors import ClassConditionalGaussian, Prior
from genrev.training.methods.method import Batch, Method, Phase


class ClassConditionalMethod(Method):
    """Reconstruction first, if there is time for it, then transport to the Gaussians as well."""

    class Options(Method.Options):
        reconstruction_weight: Weight = 0.0
        """Weight of the L1 loss on the decoded clamped encoding."""
        clamp_weight: Weight = 0.0
        """Weight of the L2 distance between encodings and clamped encodings."""
        transport_start: Annotated[float, Field(ge=0, le=1)] = 0.0
        """Fraction of the steps after which the transport sets in; the Gaussians start from the
        encodings at that step."""

    options: Options

    @classmethod
    def accepts_prior(cls, prior: type[Prior]) -> bool:
        return issubclass(prior, ClassConditionalGaussian)

    def phases(self, max_steps: int) -> Sequence[Phase]:
        start = round(self.options.transport_start * max_steps)
        transport = Phase("transport", start)
        return (Phase("reconstruction"), transport) if start else (transport,)

    def after_step(self, model: GenerativeModel, batch: Batch) -> None:
        """Bring standard deviations back to zero or above."""
        gaussians(model).project_()

    def report(self, model: GenerativeModel) -> dict[str, Tensor]:
        """How wide the prior is, for one that collapses, over all classes and dimensions."""
        std = gaussians(model).std.detach()  # (classes, k)
        in_use = (std > IN_USE).sum(1).float().mean()
        return {"std_mean": std.mean(), "std_max": std.max(), "dims_in_use": in_use}


def gaussians(model: GenerativeModel) -> ClassConditionalGaussian:
    """The prior of a model that these methods train."""
    assert isinstance(model.prior, ClassConditionalGaussian)
    return model.prior
