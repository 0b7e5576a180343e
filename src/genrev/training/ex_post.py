"""Ex-post density estimation: a mixture of Gaussians for the prior of a trained model.

The encoder does not draw its encodings to a prior: the prior comes to them, see
``genrev.priors.mixture``.
"""

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation import batches
from genrev.models import GenerativeAutoencoder, GenerativeModel
from genrev.models.checks import model_labels
from genrev.models.inference import inference
from genrev.priors import GaussianMixturePrior, Prior, fit_mixture
from genrev.priors.mixture import Covariance, fewest_encodings

_AT_ONCE = 250


def fit_to_encodings(
    model: GenerativeModel,
    active: Tensor,
    labels: Tensor,
    components: int,
    covariance: Covariance = "full",
    seed: int = 0,
) -> GaussianMixturePrior:
    """A mixture on the model's own active dimensions and bound; the model stays as it is.

    Args:
        model: whose prior it is to be.
        active: restricted encodings (N, k), of ``restricted_encodings``.
        labels: their classes (N,).
        components: number of Gaussians in each class.
        covariance: of every Gaussian.
        seed: decides the start of the fit.

    Raises:
        GenrevError: encodings that do not fit, see ``fit_mixture``.
    """
    prior = model.prior
    return fit_mixture(
        active,
        labels,
        num_classes=prior.num_classes,
        dim=prior.dim,
        active_dims=prior.active_dims,
        components=components,
        covariance=covariance,
        bound=prior.bound,
        seed=seed,
    )


def restricted_encodings(model: GenerativeAutoencoder, data: ImageData) -> tuple[Tensor, Tensor]:
    """Restricted encodings (N, k) of all images, and the class in the prior of each, (N,).

    Raises:
        GenrevError: the data has no labels, or a class that the model does not know.
    """
    labels = torch.from_numpy(np.array(model_labels(model, data)))
    chunks = list(batches(data, _AT_ONCE))
    parts = []
    with inference(model) as device:
        for indices in tqdm(chunks, desc=f"encodings of {data.name}", disable=None, leave=False):
            z = model.encode(data.tensor(indices).to(device))  # (n, D)
            parts.append(model.prior.restrict(z).cpu())
    return torch.cat(parts), labels


def require_enough(prior: Prior, data: ImageData) -> None:
    """Raise ``GenrevError`` where a mixture could not be fitted when the training is over."""
    if not isinstance(prior, GaussianMixturePrior):
        return
    k = len(prior.active_dims)
    fewest = fewest_encodings(prior.components, "full", k)
    if len(data) < fewest:
        raise GenrevError(
            f"--prior.components {prior.components} of {k} active dimensions need {fewest:,} "
            f"images and {data.name} has {len(data):,} (of a stream, a sample is taken); take "
            "fewer components."
        )
