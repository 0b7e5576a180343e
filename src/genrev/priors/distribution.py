"""A distribution of ``torch.distributions`` as a prior, by the name of its family.

One of another family, or that is composed, learns or tells classes apart, is a subclass of
``Prior`` with a method ``distribution`` of a few lines, see "A prior" in docs/extend.md.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, distributions, nn
from torch.distributions import Distribution, Independent

from genrev.options import OptionError
from genrev.priors.prior import ActiveDims, Prior

Family = Literal[
    "Gumbel",
    "Laplace",
    "LowRankMultivariateNormal",
    "MultivariateNormal",
    "Normal",
    "StudentT",
]
"""Those that give every real vector a density, as encodings need."""


class DistributionPrior(Prior):
    """A family of ``torch.distributions`` on the active dimensions, zero elsewhere; it is fixed.

    Args:
        dim, active_dims, bound: see ``Prior``.
        family: name of a class in ``torch.distributions`` that gives all real vectors a density:
            Gumbel, Laplace, LowRankMultivariateNormal, MultivariateNormal, Normal or StudentT.
        parameters: its arguments by name, numbers or tensors. Those of a family of numbers are
            broadcast to the active dimensions, (k,), which are independent then; those of a family
            of vectors have the shapes that it asks for.

    Raises:
        ValueError: no such family, parameters that it does not take or in which it has no density,
            or moments that are not finite, which figures and walks ask for.

    Example:
        >>> tails = {"df": 5.0, "loc": 0.0, "scale": 1.0}
        >>> prior = DistributionPrior(6, torch.tensor([1, 4]), family="StudentT", parameters=tails)
        >>> z = prior.sample(3, generator=torch.Generator().manual_seed(0))
        >>> z.shape, prior.log_prob(z).shape, round(float(prior.scale()[4]), 3)
        (torch.Size([3, 6]), torch.Size([3]), 1.291)
    """

    class Options(Prior.Options):
        """Options of a distribution whose active dimensions are independent and alike."""

        family: Family = "Laplace"
        """Name of a class in torch.distributions; those of vectors only in Python."""
        parameters: tuple[float, ...] = (0.0, 1.0)
        """Its arguments in their order (of StudentT df, loc, scale), the same for all active
        dimensions."""

    def __init__(
        self,
        dim: int,
        active_dims: ActiveDims = None,
        bound: float | None = None,
        family: str = "Laplace",
        parameters: Mapping[str, Tensor | float] | None = None,
    ) -> None:
        super().__init__(dim, active_dims, bound)
        given = {"loc": 0.0, "scale": 1.0} if parameters is None else parameters
        if family not in get_args(Family):
            known = ", ".join(get_args(Family))
            raise ValueError(f"There is no family {family!r:.80}; choose from {known}.")
        names = getattr(distributions, family).arg_constraints
        if not given or not given.keys() <= names.keys():
            raise ValueError(f"{family} takes {', '.join(names)} and got {', '.join(given)}.")
        self.family, self.given = family, nn.Module()  # whose names are free
        for name, value in given.items():
            self.given.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).clone())
        self.check()

    def distribution(self, label: int | None = None) -> Distribution:
        """The distribution of the active dimensions."""
        return self._made(validate=False)

    def check(self) -> None:
        """Raise ``ValueError`` for active dimensions or parameters that make no prior."""
        super().check()
        tensors = [*self.given.buffers()] if hasattr(self, "given") else []
        # A prior that is being loaded has no numbers yet.
        if not tensors or any(t.is_meta or bool(t.isnan().any()) for t in tensors):
            return
        made, k = self._made(validate=True), len(self.active_dims)
        if made.event_shape != (k,) or made.batch_shape:
            shape = tuple(made.batch_shape + made.event_shape)
            raise ValueError(f"A prior of {k} active dimensions needs them and got {shape}.")
        if not all(bool(moment.isfinite().all()) for moment in (made.mean, made.variance)):
            raise ValueError(
                f"This {self.family} has no finite mean and standard deviation in every dimension."
            )

    def _made(self, validate: bool) -> Distribution:
        arguments: dict[str, Any] = dict(self.given.named_buffers())
        made = getattr(distributions, self.family)(**arguments, validate_args=validate)
        if made.event_shape:
            return made
        made = made.expand((len(self.active_dims),))
        return Independent(made, 1, validate_args=False)

    def describe(self) -> dict[str, Any]:
        """Arguments as plain JSON values, of the parameters their shapes."""
        shapes = {name: list(tensor.shape) for name, tensor in self.given.named_buffers()}
        return {**super().describe(), "family": self.family, "parameters": shapes}

    @classmethod
    def build(cls, described: Mapping[str, Any], dim: int) -> Self:
        """A prior that ``describe`` described, whose parameters are not numbers until loaded."""
        shapes = described["parameters"].items()
        empty = {name: torch.full(tuple(shape), torch.nan) for name, shape in shapes}
        return super().build({**described, "parameters": empty}, dim)

    @classmethod
    def start(cls, options: Any, dim: int, active_dims: Tensor | None, num_classes: int) -> Self:
        """The distribution of the options."""
        names = getattr(distributions, options.family).arg_constraints
        given = dict(zip(names, options.parameters, strict=False))
        try:
            if len(options.parameters) > len(names):
                raise ValueError(f"{options.family} takes {', '.join(names)}.")
            return cls(dim, active_dims, options.bound, options.family, given)
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"--prior.parameters {list(options.parameters)} make no {options.family} "
                f"({str(error).splitlines()[0].rstrip('.')}); give other numbers."
            ) from error
