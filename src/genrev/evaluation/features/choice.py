"""Which features distances are computed in, by the name that ``--features`` takes."""

import torch

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation.features.classifier import ClassifierFeatures
from genrev.evaluation.features.extractors import (
    FeatureExtractor,
    InceptionFeatures,
    TorchScriptFeatures,
    has_inception,
)
from genrev.evaluation.features.training import shipped_classifiers


def choose_features(
    name: str | None, data: ImageData, device: torch.device | str = "cpu"
) -> FeatureExtractor | None:
    """The extractor that ``--features`` names, or the one that suits the data.

    That is a TorchScript file by its path, by ``digits`` or ``mnist`` the classifier that comes
    with genrev, and by ``fid`` the 2,048 features of FID, which colour images without labels get by
    ``None``, too, where the extra ``fid`` is installed; it computes on ``device``. Returns ``None``
    where the data's classifier is to be taken or there is nothing.
    """
    if name not in (None, "fid"):
        known = shipped_classifiers().get(str(name))
        if known is None:
            return TorchScriptFeatures(name, device)
        if known.image_shape != data.image_shape:
            takes, have = ("x".join(map(str, s)) for s in (known.image_shape, data.image_shape))
            raise GenrevError(
                f"The classifier of {name} takes images of {takes} (channels x height x width) and "
                f"those of {data.name} are {have}; give fid or a TorchScript file for features."
            )
        return ClassifierFeatures(known.to(device))
    suits = data.num_classes == 1 and data.image_shape[0] == 3
    return InceptionFeatures(device) if name or (suits and has_inception()) else None
