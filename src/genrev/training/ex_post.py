"""Ex-post density estimation: the prior comes to the encodings, see ``genrev.priors.mixture``."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.data.arrays import Given, as_image_data
from genrev.errors import GenrevError
from genrev.models import GenerativeAutoencoder, GenerativeModel
from genrev.models.checks import has_density, model_labels, refuse_path
from genrev.models.conditions import reader, takes_labels
from genrev.models.devices import batch_size_on, in_batches
from genrev.models.inference import inference
from genrev.objectives import dequantise, whole_pixels
from genrev.priors import PRIORS, GaussianMixturePrior, Prior
from genrev.priors.mixture import Covariance, fewest_encodings
from genrev.seeding import noise_generator

_AT_ONCE = 250


def fit_prior(
    model: GenerativeModel,
    data: ImageData | Given | str | Path,
    kind: str = "mixture",
    seed: int = 0,
    by_class: bool = False,
    **options: Any,
) -> dict[str, float]:
    """Give a trained model a prior that fits its encodings in place of the one that it had.

    Active dimensions and bound stay, and classes, if there were some. What is fitted are restricted
    encodings as they are, not cut at the bound; those of a model that gives images a likelihood
    are of dequantised images, with the noise that its density was learned with.

    Args:
        model: whose prior is replaced.
        data: images to encode, an ``ImageData`` or what ``genrev.train`` takes.
        kind: name of a prior that is fitted: ``"mixture"``, ``"flow"``, ``"flow-matching"``, or one
            of your own.
        seed: decides the start of the fit, and what is held out.
        by_class: fit one density for every class of the data, where the prior told none apart.
        options: ``components`` and ``covariance`` of a ``GaussianMixturePrior``, or the
            ``Options`` of another prior, such as ``layers``, ``hidden`` and ``steps`` of flows.

    Returns:
        ``images``, their number; ``beyond_bound``, share of the numbers in encodings that the clamp
        cuts; and what the prior's ``fit_`` returns, such as a mean log-density.

    Raises:
        GenrevError: encodings that do not fit, see ``fit_`` of the prior, a missing package, a
            prior without the classes of the model, labels that do not fit, see
            ``restricted_encodings``, or ``by_class`` and none.
        ValueError: a prior of this kind is not fitted.
    """
    refuse_path(model)
    old = model.prior
    if not PRIORS[kind].fitted:
        raise ValueError(f"A {kind} prior is not fitted to encodings.")
    data = as_image_data(data, model.image_shape, "train")
    classes, names = old.num_classes, model.class_names
    if by_class and classes == 1:
        names = names if takes_labels(model) else data.class_names
        classes = len(names)
        if classes == 1:
            raise GenrevError(
                f"{data.name} has no classes; leave --by-class out, or give data with labels."
            )
    prior = _unfitted(kind, old, classes, options).to(old.active_dims.device)
    active, labels = restricted_encodings(model, data)
    if classes > old.num_classes:
        labels = torch.from_numpy(data.labels_as(names).copy())
    told = prior.fit_(active, labels, seed)
    model.prior, model.class_names = prior, names
    beyond = 0.0 if old.bound is None else float((active.abs() > old.bound).double().mean())
    return {"images": len(active), "beyond_bound": beyond, **told}


def _unfitted(kind: str, old: Prior, classes: int, options: dict[str, Any]) -> Prior:
    """A prior of a kind in the place of another, with so many classes."""
    cls = PRIORS[kind]
    if cls is GaussianMixturePrior:
        if unknown := options.keys() - {"components", "covariance"}:
            raise GenrevError(
                f"A mixture takes components and covariance, and not {', '.join(sorted(unknown))}."
            )
        return _mixture(classes, (old.dim, old.active_dims, old.bound), **options)
    made = cls.Options(bound=old.bound, **options)
    prior = cls.start(made, old.dim, old.active_dims, classes)
    if prior.num_classes != classes:
        raise GenrevError(
            f"The model has {classes} classes, which a {kind} prior does not tell apart; "
            "fit a mixture or a flow."
        )
    return prior


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
            if has_density(model):
                x = _as_learned(x, getattr(model, "noise_std", 0.0), int(indices[0]))
            return model.prior.restrict(model.encode(x, *given))

        size = batch_size_on(device, _AT_ONCE)
        parts = [*in_batches(encode, np.arange(len(data)), size, f"encodings of {data.name}")]
    return torch.cat(parts), labels


def _as_learned(x: Tensor, noise_std: float, start: int) -> Tensor:
    """Images (n, C, H, W) as a density learns from them, dequantised and noisy."""
    generator = noise_generator(0, start, "encodings")
    x = dequantise(whole_pixels(x), generator)
    return x + noise_std * torch.randn(x.shape, generator=generator).to(x.device)


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
