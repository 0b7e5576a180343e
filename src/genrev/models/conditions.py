"""What a conditional network takes beside an image or a latent: its class, or features.

A network is class-conditional if its ``context`` has as many features as the model has classes.
Where the class of an image is not given, ``likely_labels`` looks for it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from genrev.errors import GenrevError
from genrev.models.checks import has_density, model_labels, num_classes_of
from genrev.models.inference import GenerativeAutoencoder, device_of, inference
from genrev.priors.prior import labels_for

if TYPE_CHECKING:
    from genrev.data import ImageData

Given = tuple[Tensor, ...]
"""What ``encode`` and ``decode`` take beside the batch: one context, or nothing."""


def takes_labels(model: GenerativeAutoencoder) -> bool:
    """Whether the context of its network is the class."""
    features = _features(model)
    return features > 1 and features == num_classes_of(model)


def contexts_of(
    model: GenerativeAutoencoder, labels: int | Tensor | np.ndarray | None, n: int
) -> Given:
    """What ``encode`` and ``decode`` take beside n images or latents of these classes.

    Args:
        labels: of the model, one for all or (n,); ``None`` takes all classes in turn.

    Raises:
        GenrevError: the network takes another context than classes.
    """
    if not _features(model):
        return ()
    if not takes_labels(model):
        raise GenrevError(
            f"The network of this model takes a context of {_features(model)} features, which are "
            "no classes; give it in Python, as context= of encode, decode, sample, reconstruct "
            "and log_prob."
        )
    if not isinstance(labels, Tensor):  # the host looks at no numbers of a device
        labels = labels_for(n, labels, num_classes_of(model))
    return (labels.to(device_of(model)),)


def contexts_for(model: GenerativeAutoencoder, x: Tensor) -> Given:
    """What ``encode`` takes beside images (N, C, H, W) whose classes nobody tells."""
    return contexts_of(model, likely_labels(model, x) if takes_labels(model) else None, len(x))


def one_class(model: GenerativeAutoencoder, label: int | None, n: int) -> Given:
    """As ``contexts_of`` for a single class, which a class-conditional network needs."""
    if label is None and takes_labels(model):
        raise GenrevError(
            "The network of this model is class-conditional; choose a class with --label, or in "
            "Python with label=."
        )
    return contexts_of(model, label, n)


def likely_labels(model: GenerativeAutoencoder, x: Tensor) -> Tensor:
    """The most likely class of images (N, C, H, W) for a class-conditional network: (N,).

    Of a density p(x | c) that is the largest one, by Bayes' rule with equally frequent classes. A
    model without a density has the class whose restricted reconstruction is nearest to the image.
    """
    known: Any = model
    dense = has_density(model)
    scores = []
    with inference(model) as device:
        x = x.to(device)
        for label in range(num_classes_of(model)):
            given = contexts_of(model, label, len(x))
            if dense:
                scores.append(known.log_prob(x, None, *given))
                continue
            decoded = known.decode(known.prior.clamp(known.encode(x, *given)), *given)
            scores.append(-(decoded - x).abs().flatten(1).mean(1))
    return torch.stack(scores).argmax(0)


def reader(
    model: GenerativeAutoencoder, data: "ImageData"
) -> Callable[[Sequence[int] | np.ndarray], tuple[Tensor, Given]]:
    """Reads images (n, C, H, W) by their positions in the data, with what the model takes beside.

    Raises:
        GenrevError: the network is class-conditional, and the data has no labels, or others.
    """
    labels = model_labels(model, data) if _features(model) else None

    def read(indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Given]:
        x = data.tensor(indices).to(device_of(model))
        own = None if labels is None else labels[np.asarray(indices)]
        return x, () if own is None else contexts_of(model, own, len(x))

    return read


def _features(model: GenerativeAutoencoder) -> int:
    return int(getattr(getattr(model, "net", None), "context", 0))
