"""Priors as plain JSON values and back; the numbers in them are tensors and travel with a model."""

from typing import Any

import torch

from genrev.priors.active import ActiveGaussian, ActivePrior, ActiveUniform
from genrev.priors.class_conditional import ClassConditionalGaussian
from genrev.priors.logistic import ActiveLogistic
from genrev.priors.mixture import GaussianMixturePrior

__all__ = ["PRIORS", "build_prior", "describe_prior"]

_FIXED: dict[str, type[ActivePrior]] = {
    "ActiveGaussian": ActiveGaussian,
    "ActiveLogistic": ActiveLogistic,
    "ActiveUniform": ActiveUniform,
}
PRIORS: dict[str, type[ActivePrior]] = {
    **_FIXED,
    "ClassConditionalGaussian": ClassConditionalGaussian,
    "GaussianMixturePrior": GaussianMixturePrior,
}
"""All that ``build_prior`` can make."""


def describe_prior(prior: ActivePrior) -> dict[str, Any]:
    """What ``build_prior`` needs to make a prior that takes the same tensors.

    Example:
        >>> describe_prior(ActiveGaussian(6, torch.tensor([1, 4])))
        {'type': 'ActiveGaussian', 'num_classes': 1, 'active_dims': 2, 'bound': 2.0}
    """
    described: dict[str, Any] = {
        "type": type(prior).__name__,
        "num_classes": prior.num_classes,
        "active_dims": len(prior.active_dims),
        "bound": prior.bound,
    }
    if isinstance(prior, GaussianMixturePrior):
        described |= {"components": prior.components, "covariance": prior.covariance}
    return described


def build_prior(described: dict[str, Any], dim: int) -> ActivePrior:
    """A prior of that description, on the first of ``dim`` dimensions until tensors are loaded.

    Raises:
        KeyError, TypeError, ValueError: a description that ``describe_prior`` did not write.
    """
    kind, bound = described["type"], described["bound"]
    classes = int(described["num_classes"])
    # On the CPU even where models are built on the meta device: priors look at the indices.
    active_dims = torch.arange(int(described["active_dims"]), device="cpu")
    if kind == "ClassConditionalGaussian":
        return ClassConditionalGaussian(classes, dim, active_dims, bound)
    if kind == "GaussianMixturePrior":
        components, covariance = int(described["components"]), described["covariance"]
        return GaussianMixturePrior(classes, components, covariance, dim, active_dims, bound)
    return _FIXED[kind](dim, active_dims, bound)
