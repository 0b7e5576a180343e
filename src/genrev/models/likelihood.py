"""The density that an invertible network and its prior give to images."""

from collections.abc import Callable

from torch import Tensor

from genrev.errors import GenrevError
from genrev.models.generative import GenerativeRevNet
from genrev.models.protocol import GenerativeAutoencoder
from genrev.objectives import gaussian_log_density, logistic_log_density
from genrev.priors import ActiveGaussian, ActiveLogistic, ActivePrior

__all__ = ["log_density", "require_density"]

_LATENT: dict[type[ActivePrior], Callable[[Tensor], Tensor]] = {
    ActiveGaussian: gaussian_log_density,
    ActiveLogistic: logistic_log_density,
}


def log_density(model: GenerativeRevNet, x: Tensor) -> Tensor:
    """Natural log-density of images by change of variables.

    Args:
        model: one that ``require_density`` lets pass.
        x: images (N, C, H, W) in [0, 1], dequantised.

    Returns:
        Log-densities (N,), in float32 or the precision of the model.
    """
    z, log_det = model.net.encode_with_log_det(x)
    return _LATENT[type(model.prior)](z) + log_det


def require_density(model: GenerativeAutoencoder) -> GenerativeRevNet:
    """The same model if it gives images a density.

    Raises:
        GenrevError: it is not bijective, or its prior is not a full-dimensional standard normal
            or logistic.
    """
    if not isinstance(model, GenerativeRevNet) or model.net.config.padding:
        raise GenrevError(
            "This model is not a bijection, so it gives images no likelihood; train a RevNet "
            "without padding, such as the recipe mnist-nice."
        )
    whole = len(model.prior.active_dims) == model.prior.dim
    if type(model.prior) not in _LATENT or not whole:
        raise GenrevError(
            "The prior of this model has no density in all latent dimensions, so images get no "
            "likelihood; train with --method likelihood."
        )
    return model
