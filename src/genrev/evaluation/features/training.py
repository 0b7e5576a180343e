"""The classifier of a data set: shipped, kept from an earlier training, or trained now and kept.

A classifier belongs to the data whose training or test images, by fingerprint, it was made with.
The package ships those of MNIST and of scikit-learn's digits; all others live in
``$GENREV_CACHE/classifiers/<fingerprint of the training data>/`` (``~/.cache/genrev`` when it is
unset). The shipped ones were made by

    python -m genrev.evaluation.features.training digits FOLDER/digits
    python -m genrev.evaluation.features.training mnist FOLDER/mnist
"""

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from genrev.data import ImageData, announce, load_images
from genrev.errors import GenrevError
from genrev.evaluation.features.classifier import SCORING_BATCH, Classifier, ClassifierInfo
from genrev.files.cache import cache_folder
from genrev.files.paths import expand
from genrev.progress import track

_BATCH = 128
_EPOCHS, _FEWEST_STEPS, _MOST_STEPS = 50, 100, 4000


def classifier_for(
    data: ImageData, test: ImageData | None = None, device: torch.device | str = "cpu"
) -> Classifier:
    """The classifier of a labelled data set in evaluation mode, trained now if there is none yet.

    ``data`` are its training images, or its test images where it exists. A new one's accuracy is
    measured on ``test``, or on a tenth of ``data`` that is held out, and reported on stderr. It is
    trained, and returned, on ``device``.

    Raises:
        GenrevError: data with fewer than two classes, or a damaged classifier in the cache.
    """
    if data.num_classes < 2:
        raise GenrevError(
            f"The data {data.name} has no labels to train a classifier on; name data with labels, "
            "or leave out what needs a classifier."
        )
    if known := known_classifier(data):
        return known.to(device)
    path = cache_folder("classifiers") / data.fingerprint / "classifier.safetensors"
    tell = partial(print, file=sys.stderr)
    how = f"which happens once ({path})"
    tell(f"There is no classifier for {data.name} yet; training one, {how}.")
    classifier = train_classifier(data, test, device=device)
    if classifier.info:
        accuracy = classifier.info.accuracy
        tell(f"Its test accuracy is {accuracy:.2%}.")
        if accuracy < 2 / data.num_classes:
            tell("Features of such a classifier mean little; name others with --features.")
    try:
        classifier.save(path)
    except OSError as error:
        tell(f"It could not be kept: {path} cannot be written ({error}).")
    return classifier


def known_classifier(data: ImageData) -> Classifier | None:
    """The shipped or cached classifier of these training or test images, with the data's names."""
    paths = _shipped()
    for description in sorted(cache_folder("classifiers").glob("*/classifier.json")):
        if data.fingerprint in description.read_text(encoding="utf-8"):
            paths.append(description.with_suffix(".safetensors"))
    for path in paths:
        classifier = Classifier.load(path)
        info = classifier.info
        if info is None or data.fingerprint not in (info.train_fingerprint, info.test_fingerprint):
            continue
        if classifier.num_classes == data.num_classes:  # a fingerprint does not cover names
            classifier.info = dataclasses.replace(info, class_names=data.class_names)
            return classifier
        if set(data.class_names) <= set(info.class_names):  # a test split that lacks a class
            return classifier
    return None


def shipped_classifiers() -> dict[str, Classifier]:
    """The classifiers that come with genrev, by the names of their data."""
    return {path.stem: Classifier.load(path) for path in _shipped()}


def classifier_of_split(
    data: ImageData,
    train: ImageData | None = None,
    split: str | None = None,
    device: torch.device | str = "cpu",
) -> Classifier:
    """The classifier of a split, trained on the training images where there is none yet."""
    if train is None or train.fingerprint == data.fingerprint:
        return classifier_for(data, None, device)
    if split == "all":  # the training images are among its own: a tenth of these is held out
        return classifier_for(train, None, device)
    known = known_classifier(data)
    return classifier_for(train, data, device) if known is None else known.to(device)


def train_classifier(
    train: ImageData,
    test: ImageData | None = None,
    seed: int = 0,
    steps: int | None = None,
    device: torch.device | str = "cpu",
) -> Classifier:
    """Train a classifier on labelled images; it is in evaluation mode and has its ``info``.

    Adam, one learning-rate cycle, cross-entropy. The only augmentation are shifts by at most a
    fourteenth of the image's width (2 pixels for MNIST, none for 8x8 digits). One processor core
    takes two minutes for MNIST.

    Args:
        train: images to learn from.
        test: alike, to measure the accuracy on; ``None`` holds out a tenth of ``train``.
        seed: of the initial weights, the order of the images, the shifts and what is held out.
        steps: number of batches of 128 images; ``None`` takes as many as see every image 50 times,
            from 100 to 4,000.
        device: where it is trained, and is afterwards.

    Raises:
        GenrevError: ``test`` has a class that ``train`` has not.
    """
    labels = torch.tensor((test or train).labels_as(train.class_names))  # fails now or in minutes
    generator = torch.Generator().manual_seed(seed)
    if test is None:
        shuffled = torch.randperm(len(train), generator=generator)
        scored, learnt = shuffled.tensor_split([max(1, len(train) // 10)])
    else:
        scored, learnt = torch.arange(len(test)), torch.arange(len(train))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        classifier = Classifier(train.image_shape, train.num_classes).to(device)
    if steps is None:
        steps = min(_MOST_STEPS, max(_FEWEST_STEPS, math.ceil(_EPOCHS * len(learnt) / _BATCH)))
    _fit(classifier, train, learnt, generator, steps)
    test = test or train
    hits = 0
    for part in scored.split(SCORING_BATCH):
        images = torch.tensor(test.images[part.numpy()])
        hits += int((classifier.predict(images) == labels[part]).sum())
    classifier.info = ClassifierInfo(
        image_shape=train.image_shape,
        class_names=tuple(train.class_names),
        data=train.name,
        train_fingerprint=train.fingerprint,
        test_fingerprint=test.fingerprint,
        train_count=len(learnt),
        test_count=len(scored),
        accuracy=hits / len(scored),
        parameters=sum(parameter.numel() for parameter in classifier.parameters()),
        seed=seed,
        steps=steps,
    )
    return classifier


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line, which trains a classifier and writes it; returns its exit status."""
    told = "Train a classifier on the train split of DATA and measure it on the test split."
    program = "python -m genrev.evaluation.features.training"
    parser = argparse.ArgumentParser(program, description=told)
    parser.add_argument("data", metavar="DATA", help="labelled data, as for `genrev train --data`")
    parser.add_argument("out", metavar="OUT", type=expand, help="writes OUT.safetensors, OUT.json")
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args(arguments)
    try:
        train = load_images(parsed.data, "train")
        announce(train)
        classifier = train_classifier(train, load_images(parsed.data, "test"), parsed.seed)
    except GenrevError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = parsed.out.with_name(parsed.out.name + ".safetensors")
    classifier.save(path)
    assert classifier.info is not None  # it has been trained
    print(f"{path}: test accuracy {classifier.info.accuracy:.2%}")
    return 0


def _shipped() -> list[Path]:
    return sorted(Path(__file__).parent.glob("classifiers/*.safetensors"))


def _fit(
    classifier: Classifier, data: ImageData, learnt: Tensor, generator: torch.Generator, steps: int
) -> None:
    """Train on the images ``learnt``; leaves the classifier in evaluation mode."""
    labels = torch.tensor(data.labels)
    most = min(classifier.image_shape[1:]) // 14
    classifier.train()
    # A third faster on a processor. (torch's annotations do not know this use of ``to``.)
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(classifier.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    order = learnt[:0]
    for _ in track(range(steps), f"classifier for {data.name}", "steps"):
        while len(order) < _BATCH:
            order = torch.cat([order, learnt[torch.randperm(len(learnt), generator=generator)]])
        indices, order = order[:_BATCH], order[_BATCH:]
        images = _shifted(data.tensor(indices.numpy()), most, generator)
        images = images.to(classifier.device).contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(classifier(images), labels[indices].to(classifier.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    classifier.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Move every image (N, C, H, W) by up to ``most`` pixels; black comes in."""
    if most == 0:
        return images
    n, _, height, width = images.shape
    padded = F.pad(images, (most, most, most, most))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 2m+1, 2m+1, H, W)
    down, right = torch.randint(2 * most + 1, (2, n), generator=generator)
    return windows[torch.arange(n), :, down, right]


if __name__ == "__main__":
    sys.exit(main())
