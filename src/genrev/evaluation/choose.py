"""Which features a data set is measured in: named by the user, or what there is for it."""

from genrev.data import ImageData
from genrev.evaluation.features import FeatureExtractor, TorchScriptFeatures
from genrev.evaluation.inception import InceptionFeatures, has_inception

__all__ = ["choose_features"]


def choose_features(name: str | None, data: ImageData) -> FeatureExtractor | None:
    """The extractor that ``--features`` names, or the one that suits the data.

    Args:
        name: the path of a TorchScript file; ``fid`` for the 2,048 features of FID; ``None`` takes
            the latter for colour images without labels where the extra ``fid`` is installed.
        data: the images to measure.

    Returns:
        The extractor, or ``None``: data with labels is measured in the features of its classifier,
        and for other data there is nothing.

    Raises:
        GenrevError: an extractor that cannot be used.
    """
    if name == "fid":
        return InceptionFeatures()
    if name is not None:
        return TorchScriptFeatures(name)
    if data.num_classes == 1 and data.image_shape[0] == 3 and has_inception():
        return InceptionFeatures()
    return None
