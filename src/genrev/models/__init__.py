"""Complete generative models: a network and its prior, saved, loaded and looked at."""

from genrev.models.inference import GenerativeAutoencoder
from genrev.models.model import GenerativeModel, load, require_density, save
from genrev.models.saving import shipped_models
