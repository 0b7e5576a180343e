"""Ex-post density estimation: the prior comes to the encodings, see ``genrev.priors.mixture``."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeAutoencoder, GenerativeModel
from genrev.models.checks import model_labels
from genrev.models.conditions import reader
from genrev.models.devices import batch_size_on, in_batches
from genrev.models.inference import inference
from genrev.priors import PRIORS, GaussianMixturePrior, Prior
from genrev.priors.mixture import Covariance, fewest_encodings

_AT_ONCE = 250


def fit_prior(
    model: GenerativeModel, data: ImageData, kind: str = "mixture", seed: int = 0, **options: Any
) -> dict[str, float]:
    """Give a trained model a prior that fits its encodings in place of the one that it had.

    Active dimensions, classes and bound stay. What is fitted are restricted encodings as they are,
    not cut at the bound.

    Args:
        model: whose prior is replaced.
        data: images to encode.
        kind: name of a prior that is fitted: ``"mixture"``, ``"flow"``, ``"flow-matching"``, or one
            of your own.
        seed: decides the start of the fit, and what is held out.
        options: ``components`` and ``covariance`` of a ``GaussianMixturePrior``, or the
            ``Options`` of another prior, such as ``layers``, ``hidden`` and ``steps`` of flows.

    Returns:
        ``images``, their number; ``beyond_bound``, share of the numbers in encodings that the clamp
        cuts; and what the prior's ``fit_`` returns, such as a mean log-density.

    Raises:
        GenrevError: encodings that do not fit, see ``fit_`` of the prior, a missing package, a
            prior without the classes of the model, or labels that do not fit, see
            ``restricted_encodings``.
        ValueError: a prior of this kind is not fitted.
    """
    old, cls = model.prior, PRIORS[kind]
    if not cls.fitted:
        raise ValueError(f"A {kind} prior is not fitted to encodings.")
    prior: Prior
    if cls is GaussianMixturePrior:
        place = old.dim, old.active_dims, old.bound
        prior = _mixture(old.num_classes, place, **options)
    else:
        made = cls.Options(bound=old.bound, **options)
        prior = cls.start(made, old.dim, old.active_dims, old.num_classes)
    if prior.num_classes != old.num_classes:
        raise GenrevError(
            f"The model has {old.num_classes} classes, which a {kind} prior does not tell apart; "
            "fit a mixture or a flow."
        )
    prior = prior.to(old.active_dims.device)
    active, labels = restricted_encodings(model, data)
    told = prior.fit_(active, labels, seed)
    model.prior = prior
    beyond = 0.0 if old.bound is None else float((active.abs() > old.bound).double().mean())
    return {"images": len(active), "beyond_bound": beyond, **told}


def _mixture(
    num_classes: int,
    place: tuple[int, Tensor, float | None],
    components: int = 10,
    covariance: Covariance = "full",
) -> Prior:
    return GaussianMixturePrior(num_classes, components, covariance, *place)


def restricted_encodings(model: GenerativeAutoencoder, data: ImageData) -> tuple[Tensor, Tensor]:
    """Restricted encodings (N, k) of all images where the model is, and the class of each, (N,).

    Raises:
        GenrevError: the data has no labels, or a class that the model does not know.
    """
    labels = torch.from_numpy(np.array(model_labels(model, data)))
    # Those of the prior, which may not have the classes that the network is told.
    labels = labels if model.prior.num_classes > 1 else torch.zeros_like(labels)
    read = reader(model, data)
    with inference(model) as device:

        def encode(indices: np.ndarray) -> Tensor:
            x, given = read(indices)
            return model.prior.restrict(model.encode(x, *given))

        size = batch_size_on(device, _AT_ONCE)
        parts = [*in_batches(encode, np.arange(len(data)), size, f"encodings of {data.name}")]
    return torch.cat(parts), labels


def require_enough(model: GenerativeModel, data: ImageData) -> None:
    """Raise ``GenrevError`` where a prior could not be fitted when the training is over."""
    prior, k = model.prior, len(model.prior.active_dims)
    counts = np.array([len(data)])
    if prior.num_classes > 1:
        counts = np.bincount(data.labels, minlength=prior.num_classes)
    have, fewest = int(counts.min()), prior.fewest_images
    if have >= fewest:
        return
    need, cure = f"--prior {PRIORS.name_of(type(prior))} needs", "take data with more images"
    if isinstance(prior, GaussianMixturePrior):
        need = f"--prior.components {prior.components} of {k} active dimensions need"
        cure = _fitting(have, k)
    found = f"{data.name} has {have:,}"
    if prior.num_classes > 1:
        name = model.class_names[int(counts.argmin())]
        found += f" of class {name} among {len(data):,}"
        if not getattr(model.net, "context", 0) and len(data) >= fewest:
            cure += ", or fit all classes together with --prior.by_class false"
    raise prior.too_few(need, found, cure)


def _fitting(images: int, k: int) -> str:
    """What makes a mixture fit so many images, in words."""
    most = images // fewest_encodings(1, "full", k)
    if most:
        return f"set --prior.components to {most}" + (" or fewer" if most > 1 else "")
    dims = max(d for d in range(k) if d == 0 or fewest_encodings(1, "full", d) <= images)
    if not dims:
        return "take data with more images"
    fewer = " or fewer" if dims > 1 else ""
    return f"set --prior.components to 1 and --prior.active_dims to {dims}{fewer}"
