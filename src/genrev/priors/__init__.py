"""Distributions over the latent space and the maps between full and restricted space."""

from genrev.priors.active import ActiveGaussian, ActivePrior, ActiveUniform, largest_std_dims
from genrev.priors.class_conditional import ClassConditionalGaussian
from genrev.priors.description import build_prior, describe_prior
from genrev.priors.logistic import ActiveLogistic
from genrev.priors.mixture import GaussianMixturePrior, fit_mixture
from genrev.priors.moments import ClassMoments

__all__ = [
    "ActiveGaussian",
    "ActiveLogistic",
    "ActivePrior",
    "ActiveUniform",
    "ClassConditionalGaussian",
    "ClassMoments",
    "GaussianMixturePrior",
    "build_prior",
    "describe_prior",
    "fit_mixture",
    "largest_std_dims",
]
