"""Distributions over the latent space and the maps between full and restricted space."""

from genrev.priors.class_gaussian import ClassConditionalGaussian
from genrev.priors.distribution import DistributionPrior
from genrev.priors.factorised import ActiveGaussian, ActiveLogistic, ActiveUniform, StandardLogistic
from genrev.priors.flow import Flow, FlowDistribution
from genrev.priors.flow_matching import FlowMatchingPrior
from genrev.priors.mixture import GaussianMixturePrior
from genrev.priors.moments import ClassMoments, largest_std_dims
from genrev.priors.prior import FITTED, PRIORS, EqualMixture, Prior
from genrev.priors.spline_flow import FlowPrior
