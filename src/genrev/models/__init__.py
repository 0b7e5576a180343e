"""Complete generative models: a network and its prior, saved, loaded and looked at."""

from genrev.models.model import GenerativeModel, load, require_density, save
from genrev.models.protocol import GenerativeAutoencoder
from genrev.models.saving import shipped_models

log_density = GenerativeModel.log_prob

__all__ = [
    "GenerativeAutoencoder",
    "GenerativeModel",
    "load",
    "log_density",
    "require_density",
    "save",
    "shipped_models",
]
