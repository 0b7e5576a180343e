"""Ex-post density estimation: the prior comes to the encodings, see ``genrev.priors.mixture``."""

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeAutoencoder, GenerativeModel
from genrev.models.checks import model_labels
from genrev.models.conditions import reader
from genrev.models.devices import batch_size_on, in_batches
from genrev.models.inference import inference
from genrev.priors import GaussianMixturePrior, Prior
from genrev.priors.mixture import Covariance, fewest_encodings

_AT_ONCE = 250


def fit_prior(
    model: GenerativeModel,
    data: ImageData,
    components: int = 10,
    covariance: Covariance = "full",
    seed: int = 0,
) -> float:
    """Give a trained model a mixture of Gaussians that fits its encodings as its new prior.

    Active dimensions and bound are those of the prior that it had.

    Args:
        model: whose prior is replaced.
        data: images to encode.
        components: number of Gaussians in each class.
        covariance: of every Gaussian.
        seed: decides the start of the fit.

    Returns:
        Mean log-density of the restricted encodings, each in its own class, in nats.

    Raises:
        GenrevError: encodings that do not fit, see ``GaussianMixturePrior.fit_``, or labels that
            do not, see ``restricted_encodings``.
    """
    active, labels = restricted_encodings(model, data)
    old = model.prior
    prior = GaussianMixturePrior(
        old.num_classes, components, covariance, old.dim, old.active_dims, old.bound
    ).to(old.active_dims.device)
    prior.fit_(active, labels, seed)
    model.prior = prior
    total = sum(
        float(prior.active_log_prob(active[labels == label], label).double().sum())
        for label in range(prior.num_classes)
    )
    return total / len(active)


def restricted_encodings(model: GenerativeAutoencoder, data: ImageData) -> tuple[Tensor, Tensor]:
    """Restricted encodings (N, k) of all images where the model is, and the class of each, (N,).

    Raises:
        GenrevError: the data has no labels, or a class that the model does not know.
    """
    labels = torch.from_numpy(np.array(model_labels(model, data)))
    # Those of the prior, which may not have the classes that the network is told.
    labels = labels if model.prior.num_classes > 1 else torch.zeros_like(labels)
    parts, read = [], reader(model, data)
    bar = tqdm(total=len(data), desc=f"encodings of {data.name}", disable=None, leave=False)
    with inference(model) as device, bar:

        def encode(indices: np.ndarray) -> Tensor:
            x, given = read(indices)
            return model.prior.restrict(model.encode(x, *given))

        for part in in_batches(encode, np.arange(len(data)), batch_size_on(device, _AT_ONCE)):
            parts.append(part)
            bar.update(len(part))
    return torch.cat(parts), labels


def require_enough(prior: Prior, data: ImageData) -> None:
    """Raise ``GenrevError`` where a mixture could not be fitted when the training is over."""
    if isinstance(prior, GaussianMixturePrior):
        k = len(prior.active_dims)
        fewest = fewest_encodings(prior.components, "full", k)
        have = int(np.bincount(data.labels).min()) if prior.num_classes > 1 else len(data)
        if have < fewest:
            of_class = " of every class" if prior.num_classes > 1 else ""
            raise GenrevError(
                f"--prior.components {prior.components} of {k} active dimensions need {fewest:,} "
                f"images{of_class} and {data.name} has {have:,} (of a stream, a sample is taken); "
                "take fewer components."
            )
