"""Priors as plain JSON values, for the configuration of the models that have them."""

from typing import Any

import torch

from genrev.priors import (
    ActiveGaussian,
    ActiveLogistic,
    ActivePrior,
    ActiveUniform,
    ClassConditionalGaussian,
)

__all__ = ["build_prior", "describe_prior"]

_UNCONDITIONAL: dict[str, type[ActivePrior]] = {
    "ActiveGaussian": ActiveGaussian,
    "ActiveLogistic": ActiveLogistic,
    "ActiveUniform": ActiveUniform,
}


def describe_prior(prior: ActivePrior) -> dict[str, Any]:
    """What ``build_prior`` needs."""
    return {
        "type": type(prior).__name__,
        "num_classes": prior.num_classes,
        "active_dims": len(prior.active_dims),
        "bound": prior.bound,
    }


def build_prior(described: dict[str, Any], dim: int) -> ActivePrior:
    """A prior of that kind and size whose active dimensions and parameters are yet to be loaded.

    Args:
        described: what ``describe_prior`` returned.
        dim: size of the full latent space.

    Raises:
        KeyError, TypeError, ValueError: something else.
    """
    active_dims = torch.arange(int(described["active_dims"]))
    bound = described["bound"]
    if described["type"] == "ClassConditionalGaussian":
        return ClassConditionalGaussian(int(described["num_classes"]), dim, active_dims, bound)
    return _UNCONDITIONAL[described["type"]](dim, active_dims, bound)
