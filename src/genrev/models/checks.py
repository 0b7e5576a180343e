"""Checks of images and labels that a model is asked about."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor

from genrev.errors import GenrevError
from genrev.models.inference import GenerativeAutoencoder, device_of
from genrev.networks.network import check_floats
from genrev.priors.prior import Labels, check_class, check_count, is_several
from genrev.words import kind_of

if TYPE_CHECKING:
    from genrev.data import ImageData


def refuse_path(model: object) -> None:
    """Raise ``GenrevError`` for the path of a model in place of the model."""
    if isinstance(model, str | Path):
        raise GenrevError(f"A path is no model; give genrev.load({str(model)!r}).")


def require_images(
    shape: tuple[int, ...],
    what: str,
    cure: str = "use its encode, decode and sample in Python",
) -> tuple[int, int, int]:
    """Channels, height and width of images; ``GenrevError`` for what is none.

    Args:
        shape: of what a network takes, (C, H, W) of images.
        what: is for images only, as the beginning of a sentence.
        cure: its end.
    """
    if len(shape) != 3:
        raise GenrevError(
            f"{what} a network of images, and this one is of {kind_of(shape)} of shape "
            f"{tuple(shape)}; {cure}."
        )
    channels, height, width = shape
    return channels, height, width


def images_for(model: GenerativeAutoencoder, x: Tensor, name: str) -> Tensor:
    """``x`` where the model is, if it is a batch (N, C, H, W) of floats that suits the model."""
    check_floats(x, name, model.image_shape)
    if len(x) == 0:
        raise ValueError(f"{name} must have one image or more and has none.")
    if x.max() > 1 and bool((x == x.round()).all()):
        raise ValueError(
            f"{name} must lie in [0, 1] and has whole numbers up to {float(x.max()):g}; "
            f"give {name} / 255."
        )
    return x.to(device_of(model))


def check_label(model: GenerativeAutoencoder, label: SupportsIndex | str | None) -> int | None:
    """Number of a class given by number or name (which comes first); None if there is but one."""
    if label is None:
        return None
    classes = num_classes_of(model)
    names = class_names_of(model) or ()
    try:
        if not isinstance(label, str):
            number = check_class(label, classes)
        else:
            number = names.index(label) if label in names else check_class(int(label), classes)
    except (TypeError, ValueError) as error:
        if classes == 1:
            raise GenrevError(
                f"There is no class {label!r}: this model knows no classes; leave the label out."
            ) from error
        named = names if names != tuple(map(str, range(classes))) else ()
        known = ", ".join(named[:20]) or f"0 to {classes - 1}"
        if len(named) > 20:
            known += f" and {len(named) - 20} more"
        if isinstance(error, TypeError):
            known += ", by whole number or name"
        elif not isinstance(label, str) and str(label) in named:
            known += f"; {label} is a name here and not a number, so write '{label}'"
        raise GenrevError(
            f"There is no class {label!r}: this model knows the classes {known}."
        ) from error
    return number if classes > 1 else None


def check_labels(
    model: GenerativeAutoencoder, n: SupportsIndex, label: Labels | str | Sequence[str]
) -> tuple[int, int | Tensor | None]:
    """How many samples, and of which classes, as ``model.prior.sample`` takes them."""
    try:
        count = check_count(n)
    except (TypeError, ValueError):
        count = 0
    if count < 1:
        raise GenrevError(f"The number of samples must be a whole number, 1 or more, not {n!r}.")
    if label is None or isinstance(label, str | bytes) or not is_several(label):
        return count, check_label(model, label)  # type: ignore[arg-type]
    given = list(label.tolist() if hasattr(label, "tolist") else label)  # type: ignore[arg-type]
    if len(given) != count or (None in given and num_classes_of(model) > 1):
        raise GenrevError(
            f"{count} samples need one label for all or {count} of them, and got {given!r:.80}; "
            "None alone takes all classes in turn."
        )
    numbers = [check_label(model, one) for one in given]
    return count, None if num_classes_of(model) == 1 else torch.tensor(numbers)


def class_names_of(model: GenerativeAutoencoder) -> tuple[str, ...] | None:
    """One name per class of the prior; ``None`` of a model that does not tell them."""
    return getattr(model, "class_names", None)


def num_classes_of(model: GenerativeAutoencoder) -> int:
    """How many classes can be asked for: those of its prior, or of its network's context."""
    return int(getattr(model, "num_classes", model.prior.num_classes))


def prior_label(model: GenerativeAutoencoder, label: int | None) -> int | None:
    """The class of the prior, which may not have those that the network is told."""
    return label if model.prior.num_classes > 1 else None


def has_density(model: Any) -> bool:
    """Whether it gives images a likelihood: a bijection, and a prior in all latent dimensions."""
    bijective: bool = getattr(getattr(model, "net", None), "bijective", False)
    return bijective and len(model.prior.active_dims) == model.prior.dim


def model_labels(model: GenerativeAutoencoder, data: "ImageData") -> np.ndarray:
    """The class of every image, int64 (N,); a model without names has the data's."""
    if num_classes_of(model) == 1:
        return np.zeros(len(data), np.int64)
    names = class_names_of(model)
    if names is not None:
        return data.labels_as(names)
    if data.num_classes != num_classes_of(model):
        raise GenrevError(
            f"The model's prior has {num_classes_of(model)} classes and the data {data.name} has "
            f"{data.num_classes}; use data with the same classes."
        )
    return np.asarray(data.labels)
