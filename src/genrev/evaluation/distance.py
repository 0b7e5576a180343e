"""How far two sets of images are from each other, without a model in sight, or with one or two.

The same numbers as ``genrev evaluate`` gives for samples and reference, of any two of: a folder,
a parquet or npz file, data with a name, a tensor, a trained model. Others that do so are
torch-fidelity (Obukhov et al., 2020) and clean-fid (Parmar et al., "On aliased resizing and
surprising subtleties in GAN evaluation", 2022).
"""

import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from genrev.data import DataConfig, ImageData, announce, load_images, local_path
from genrev.data.arrays import Given, image_data, resized
from genrev.data.images import fingerprint
from genrev.data.load import load_held_out
from genrev.data.sources import spellings
from genrev.errors import GenrevError
from genrev.evaluation.evaluate import is_finite, told_features
from genrev.evaluation.features.choice import choose_features
from genrev.evaluation.features.classifier import Classifier, ClassifierFeatures
from genrev.evaluation.features.extractors import FeatureExtractor
from genrev.evaluation.features.reference import reference_features
from genrev.evaluation.features.training import classifier_of_split, shipped_classifiers
from genrev.evaluation.metric import METRICS, EvaluationRun, Numbers, samples_as_stored
from genrev.files.paths import expand
from genrev.models import load
from genrev.models.devices import choose_device, float64_device, tf32
from genrev.models.inference import GenerativeAutoencoder, is_autoencoder
from genrev.models.saving import CONFIG_FILE, RUN_CONFIG, WEIGHTS_FILE
from genrev.words import counted

Set: TypeAlias = GenerativeAutoencoder | ImageData | Given | str | Path
"""A model, images in memory, or the name or path of data or of a run."""

DISTANCES = ("frechet", "kid", "prdc")
"""The metrics that compare two sets of images by their features."""
MODEL = "model:"  # before a model whose name is one of data, too
_FEWEST, _TRUSTED = 10, 500


def distance(
    a: Set,
    b: Set,
    n: int = 10_000,
    features: FeatureExtractor | str | Path | None = None,
    metrics: Iterable[str] | None = None,
    seed: int = 0,
    device: str | torch.device | None = "cpu",
    split: str | tuple[str | None, str | None] | None = None,
    config: DataConfig | None = None,
) -> dict[str, Any]:
    """Fréchet and kernel distance, precision, recall, density and coverage of two sets of images.

    Precision is the share of ``a`` that lies among ``b``, recall the share of ``b`` that lies among
    ``a``, so samples come first and the reference second. Images of different sizes are resized
    by the extractor, or with Lanczos filtering to what a classifier takes.

    Args:
        a: a run folder or model, of which ``n`` samples are drawn; what ``--data`` takes; or images
            in memory as ``genrev.train`` takes them. A model that comes with genrev, or is on the
            hub, is ``"model:mnist"`` or ``"model:owner/name"``.
        b: the same.
        n: samples of a model, 1 or more.
        features: an extractor; ``"fid"``; ``"digits"`` or ``"mnist"``, whose classifiers come with
            genrev; or the path of a TorchScript file. ``None`` takes the classifier of what has
            labels, first of ``b``, and FID's features of colour images without.
        metrics: some of ``DISTANCES``; ``None`` takes all.
        seed: of samples and subsets.
        device: of models that are loaded and of extractors; ``None`` is the accelerator.
        split: of data with a name or a path, for both or one for each; ``None`` takes test, or
            train of data that has no other, or all of data without splits.
        config: crop, channels, size and what to do about unreadable images; its source is ignored.

    Returns:
        What was compared under ``a``, ``b`` and ``features``, and the numbers of each metric.

    Raises:
        GenrevError: fewer than 10 images, images that cannot be read, nothing to take features
            from, or an unknown metric.

    Example:
        >>> found = distance("digits", "digits", metrics=["frechet"])
        >>> round(found["frechet"]["distance"], 6), found["a"]["images"]
        (0.0, 297)
    """
    names, place, asked = _chosen(metrics), choose_device(device), config or DataConfig()
    splits = split if isinstance(split, tuple) else (split, split)
    sides = [_side(one, n, seed, place, asked, s) for one, s in zip((a, b), splits, strict=True)]
    _require_enough(*sides)
    extractor = _extractor(features, sides, place)
    first, second = (_fitting(side, extractor) for side in sides)
    _tell_sizes(first, second, extractor)
    return {
        "a": sides[0].described(),
        "b": sides[1].described(),
        "features": {key: getattr(extractor, key) for key in ("name", "sha256", "resize")},
        "seed": seed,
        **_measured(_Pair(first, second, extractor, seed), names),
    }


def format_distance(result: dict[str, Any]) -> str:
    """Results of ``distance`` as aligned lines: every number, and what it was measured on."""
    features = result["features"]
    shown = {
        name: result[name] | {"features": features["name"]} for name in DISTANCES & result.keys()
    }
    lines = [
        line for name in DISTANCES if name in shown for line in METRICS[name]().lines(shown[name])
    ]
    width = max(len(label) for label, _ in lines)
    first, second = (_told(result[side]) for side in ("a", "b"))
    told = f"  {first} against {second}, {told_features(features['name'], features['sha256'])}"
    if "prdc" in result:
        told += f", shares of {result['prdc']['samples']:,} of each"
    text = [f"{label:<{width}}  {value}" for label, value in lines]
    return "\n".join([*text, f"{told}, seed {result['seed']}"])


@dataclass(frozen=True)
class _Side:
    """One of the two sets."""

    name: str
    images: ImageData
    split: str | None = None
    drawn: bool = False
    config: DataConfig | None = None  # of data with a name or a path

    def classifier(self, device: torch.device) -> Classifier:
        """The one of its data, trained on the training images where there is none yet."""
        train = None
        if self.config is not None:
            with suppress(GenrevError):
                train = load_images(self.config, "train")
        return classifier_of_split(self.images, train, self.split, device)

    def described(self) -> dict[str, Any]:
        """What it is, in values that JSON can hold."""
        return {
            "name": self.name,
            "images": len(self.images),
            "samples": self.drawn,
            "split": self.split,
            "shape": list(self.images.image_shape),
            "fingerprint": self.images.fingerprint,
        }


class _Pair(EvaluationRun):
    """Two sets of images, the first in the place of samples."""

    def __init__(self, first: _Side, second: _Side, extractor: FeatureExtractor, seed: int) -> None:
        # There is no model, and nothing of what is measured asks for one.
        nobody = cast(GenerativeAutoencoder, None)
        super().__init__(nobody, second.images, len(first.images), extractor, seed)
        self.first, self.second = first, second

    @property
    def float64_device(self) -> torch.device:
        return float64_device(getattr(self.extractor, "device", torch.device("cpu")))

    @cached_property
    def fake_features(self) -> Tensor:
        return reference_features(self.first.images, self.extractor, keep=not self.first.drawn)

    @cached_property
    def real_features(self) -> Tensor:
        return reference_features(self.second.images, self.extractor, keep=not self.second.drawn)


def _chosen(metrics: Iterable[str] | None) -> list[str]:
    asked = [metrics] if isinstance(metrics, str) else metrics
    names = list(dict.fromkeys(DISTANCES if asked is None else asked))
    unknown = [name for name in names if name not in DISTANCES]
    if unknown or not names:
        raise GenrevError(
            f"Two sets of images are compared by {', '.join(DISTANCES)}, and not by "
            f"{', '.join(unknown) or 'nothing'}; choose some of these."
        )
    return names


def _side(
    given: Set, n: int, seed: int, device: torch.device, config: DataConfig, split: str | None
) -> _Side:
    name = str(given) if isinstance(given, str | Path) else ""
    if name and _is_model(name):
        name = name.removeprefix(MODEL)
        return _drawn(load(name, device).float(), n, seed, Path(name).name)
    if name:
        path = local_path(name)
        if path is not None and not path.exists():
            raise GenrevError(
                f"There is no data set, file, folder or run called {name!r}; give {spellings()}, a "
                "run folder, or model:NAME of a model."
            )
        config = config.replace(source=name)
        images, found = load_held_out(config, split)
        announce(images)
        return _Side(images.name, images, found if images.inventory.splits else None, config=config)
    if is_autoencoder(given):
        return _drawn(given, n, seed, "the model")
    images = given if isinstance(given, ImageData) else image_data(given, config)
    return _Side(images.name, images)


def _is_model(text: str) -> bool:
    """Whether a text is a run or a model, and not data."""
    if text.startswith(MODEL):
        return True
    path = expand(text)
    run = (path / RUN_CONFIG).is_file() and (path / "checkpoints").is_dir()
    return run or all((path / name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE))


def _drawn(model: GenerativeAutoencoder, n: int, seed: int, name: str) -> _Side:
    if n < _FEWEST:
        few = f"{counted(n, 'sample')} {'is' if n == 1 else 'are'}"
        raise GenrevError(f"{few} too few to compare; draw at least {_FEWEST} with -n.")
    images, labels = samples_as_stored(model, n, seed)
    classes = tuple(getattr(model, "class_names", map(str, range(model.prior.num_classes))))
    numbers = (torch.zeros(n, dtype=torch.int64) if labels is None else labels).numpy()
    pixels = images.numpy()
    names = ("all",) if labels is None else classes
    data = ImageData(pixels, numbers, names, name, fingerprint(pixels, numbers))
    return _Side(name, data, drawn=True)


def _extractor(
    given: FeatureExtractor | str | Path | None, sides: list[_Side], device: torch.device
) -> FeatureExtractor:
    """What was asked for, or what suits one of the sets, the reference first."""
    if given is not None and not isinstance(given, str | Path):
        return given
    shipped = shipped_classifiers()
    if given is not None and str(given) in shipped:
        return ClassifierFeatures(shipped[str(given)].to(device))
    first, second = sides
    if found := choose_features(None if given is None else str(given), second.images, device):
        return found
    for side in (second, first):
        if side.images.num_classes > 1 and not side.drawn:
            return ClassifierFeatures(side.classifier(device))
    raise GenrevError(
        f"Neither {first.name} nor {second.name} has labels, so there is no classifier to take "
        f"features from; give --features fid, {', '.join(shipped)} or a TorchScript file."
    )


def _fitting(side: _Side, extractor: FeatureExtractor) -> _Side:
    """The images in the shape that a classifier takes; other extractors resize by themselves."""
    if not isinstance(extractor, ClassifierFeatures):
        return side
    shape = extractor.classifier.image_shape
    if side.images.image_shape == tuple(shape):
        return side
    return _Side(side.name, resized(side.images, shape), side.split, side.drawn)


def _measured(run: _Pair, names: list[str]) -> dict[str, Numbers]:
    """The numbers of each metric, without what they were measured on, which all share."""
    result, told = {}, run.provenance().keys()
    for name in names:
        with tf32(False):
            numbers = METRICS[name]().measure(run)
        # The shares are of equally many of both sets.
        own = told - {"samples"} if name == "prdc" else told
        result[name] = {key: value for key, value in numbers.items() if key not in own}
        if not is_finite(result[name]):
            raise GenrevError(
                f"The metric {name} is not finite, since features of {run.extractor.name} are not; "
                "choose others with --features."
            )
    return result


def _require_enough(first: _Side, second: _Side) -> None:
    least = min(len(first.images), len(second.images))
    if _FEWEST <= least < _TRUSTED:
        warnings.warn(
            f"{least:,} images say little of a distribution: distances grow with fewer images; "
            f"take at least {_TRUSTED} of both",
            stacklevel=3,
        )
    if least < _FEWEST:
        raise GenrevError(
            f"{first.name} has {counted(len(first.images), 'image')} and {second.name} has "
            f"{len(second.images):,}, too few to compare; take at least {_FEWEST} of both."
        )


def _tell_sizes(first: _Side, second: _Side, extractor: FeatureExtractor) -> None:
    """Say on standard error where the extractor is what makes images of two sizes comparable."""
    if first.images.image_shape == second.images.image_shape:
        return
    shapes = (first.images.image_shape, second.images.image_shape)
    one, other = (f"{w}x{h} {'grey' if c == 1 else 'RGB'}" for c, h, w in shapes)
    print(
        f"The images of {first.name} are {one} and those of {second.name} {other}; "
        f"the features {extractor.name} resize both of them by themselves.",
        file=sys.stderr,
    )


def _told(side: dict[str, Any]) -> str:
    what = "samples" if side["samples"] else "images"
    split = f" ({side['split']})" if side["split"] else ""
    return f"{side['images']:,} {what} of {side['name']}{split}"
