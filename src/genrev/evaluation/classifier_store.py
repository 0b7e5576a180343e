"""Find the classifier that belongs to a data set: shipped, cached, or trained now and cached.

A classifier belongs to a data set when its training or its test images are exactly those, by
fingerprint. The package ships classifiers for MNIST and for scikit-learn's digits; all others live
below ``$GENREV_CACHE`` (``~/.cache/genrev`` when it is unset) in
``classifiers/<fingerprint of the training data>/``.
"""

import dataclasses
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation.classifier import Classifier, train_classifier
from genrev.files.cache import cache_folder

__all__ = ["classifier_for", "known_classifier"]


def classifier_for(data: ImageData, test: ImageData | None = None) -> Classifier:
    """Return the classifier of a labelled data set, training one if there is none yet.

    Args:
        data: training images, or the test images of a classifier that exists already.
        test: images to measure a newly trained classifier's accuracy on; ``None`` holds out a
            tenth of ``data``.

    Returns:
        A classifier in evaluation mode. That one has to be trained, and where it is kept, is
        told on stderr.

    Raises:
        GenrevError: data with fewer than two classes, or a damaged classifier in the cache.
    """
    if data.num_classes < 2:
        raise GenrevError(
            f"the data {data.name} has no labels to train a classifier on; name data with labels "
            "or leave out what needs a classifier"
        )
    known = known_classifier(data)
    if known is not None:
        return known
    path = cache_folder("classifiers") / data.fingerprint / "classifier.safetensors"
    print(
        f"There is no classifier for {data.name} yet; training one, which takes minutes and "
        f"happens once ({path}).",
        file=sys.stderr,
    )
    classifier = train_classifier(data, test)
    if classifier.info:
        print(f"Its test accuracy is {classifier.info.accuracy:.2%}.", file=sys.stderr)
    try:
        classifier.save(path)
    except OSError as error:
        print(f"It could not be kept: {path} cannot be written ({error}).", file=sys.stderr)
    return classifier


def known_classifier(data: ImageData) -> Classifier | None:
    """The shipped or cached classifier whose training or test images are these.

    It calls the classes as the data does: a fingerprint covers numbers of classes, not their names,
    which may have changed since the classifier was trained.
    """
    for path in [*_shipped(), *_cached(data.fingerprint)]:
        classifier = Classifier.load(path)
        info = classifier.info
        if info is None or data.fingerprint not in (info.train_fingerprint, info.test_fingerprint):
            continue
        if classifier.num_classes == data.num_classes:
            classifier.info = dataclasses.replace(info, class_names=data.class_names)
            return classifier
        if set(data.class_names) <= set(info.class_names):  # a test split that lacks a class
            return classifier
    return None


def _shipped() -> Iterator[Path]:
    folder = resources.files("genrev.evaluation") / "classifiers"
    with resources.as_file(folder) as path:
        yield from sorted(path.glob("*.safetensors"))


def _cached(fingerprint: str) -> Iterator[Path]:
    """Cached classifiers whose description mentions a fingerprint."""
    for description in sorted(cache_folder("classifiers").glob("*/classifier.json")):
        if fingerprint in description.read_text(encoding="utf-8"):
            yield description.with_suffix(".safetensors")
