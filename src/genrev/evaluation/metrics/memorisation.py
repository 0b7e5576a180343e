r"""Are samples copies of training images? Their distances from the training set tell.

Samples that lie nearer to the training set than images that were held out are suspicious:

* the **share of samples nearer** to their nearest training image than 99 % of the held-out images
  are to theirs is about 0.01 of a model that does not copy, also one whose samples are bad;
* the **z-score of Meehan et al.**: of all pairs of a sample and a held-out image, U is the number
  in which the sample is farther from its nearest training image, and
  :math:`z = (U - mn/2) / \sqrt{mn(m+n+1)/12}` is standard normal where both are equally far (Mann
  and Whitney). Far below 0 (-3, say) says copying, far above 0 that samples stray from the data.
  This is their C_T with one cell; copying of a few regions only is what the share above finds.

Both trust the distance. Blurred images are nearer to all others, pixel by pixel, so soft samples
can be below zero in pixels; look at the neighbours themselves (``neighbours.png`` of ``genrev
figures``), and at the same numbers in features, of at most as many training images as samples.

Reference: Meehan, Chaudhuri and Dasgupta, "A non-parametric test to detect data-copying in
generative models" (2020).
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.evaluation.features import reference
from genrev.evaluation.features.extractors import require_bytes
from genrev.evaluation.metric import EvaluationRun, Lines, Metric, Numbers
from genrev.progress import track

_NEAREST_SHARE = 0.01
_SOUGHT = 2000  # samples, and held-out images, whose nearest training image is sought
_IMAGES_AT_ONCE = 1000


class Memorisation(Metric):
    """``copying`` of samples, in pixels and, where there are any, in features."""

    sampled = True

    def refusal(self, run: EvaluationRun) -> str | None:
        if run.held_out:
            return None
        if run.split == "all":
            return (
                "The metric memorisation needs images that were held out, and --split all has "
                "those of the training among its images; leave the metric out, or --split all."
            )
        return (
            "The metric memorisation compares the distances from the training images of samples "
            f"and of images held out, and of {run.data.name} none are held out; leave the metric "
            "out."
        )

    def measure(self, run: EvaluationRun) -> Numbers:
        train, samples = run.train, run.drawn[0]
        assert train is not None  # else it is refused
        mine = reference.spread_indices(len(samples), _SOUGHT)
        held_out = reference.evenly_spread(run.data, _SOUGHT)
        shown = (samples[mine], torch.tensor(held_out.images))
        device = run.float64_device
        pixels = [nearest_images(images.to(device), train)[0] for images in shown]
        result: Numbers = {"pixel_space": {**copying(*pixels), "train_count": len(train)}}
        extractor = None if run.needs_features() else run.extractor
        if extractor is not None:
            some = reference.evenly_spread(train, run.n)
            known = reference.reference_features(some, extractor, run.batch_size).split(_SOUGHT)
            others = run.real_features[reference.spread_indices(len(run.data), _SOUGHT)]
            both = (run.fake_features[mine].to(device), others.to(device))
            distances = [nearest(part, known)[0] for part in both]
            result["feature_space"] = {**copying(*distances), "train_count": len(some)}
        told = run.provenance(len(mine), len(held_out), extractor)
        return {**result, "train_fingerprint": train.fingerprint, **told}

    def lines(self, values: Numbers) -> Lines:
        for space in ("pixel", "feature"):
            if found := values.get(f"{space}_space"):
                share, count = f"{found['nearer_share']:.1%}", f"{found['train_count']:,}"
                than = "training images than 99 % of held-out images are"
                told = f"{share} of samples nearer to {count} {than}; z {found['copying_z']:+.1f}"
                yield f"memorisation, {space}s", told


def copying(samples: Tensor, held_out: Tensor) -> dict[str, float]:
    """Compare distances to the nearest training image; see the module's text.

    They are of samples, (m,), and of images that were not trained on, (n,), m and n 1 or more.

    Returns:
        ``nearer_share``, ``copying_z``, ``median_samples`` and ``median_held_out``.

    Example:
        >>> far, near = torch.linspace(1, 2, 100), torch.zeros(100)
        >>> copying(near, far)["nearer_share"], copying(far, far)["copying_z"]
        (1.0, 0.0)
    """
    m, n = len(samples), len(held_out)
    if not m or not n:
        raise ValueError(f"there are distances of {m} samples and {n} held-out images; need both.")
    from scipy.stats import mannwhitneyu

    threshold = torch.quantile(held_out.double(), _NEAREST_SHARE)
    farther = float(mannwhitneyu(samples.numpy(), held_out.numpy(), method="asymptotic").statistic)
    return {
        "nearer_share": float((samples < threshold).double().mean()),
        "copying_z": (farther - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12),
        "median_samples": float(samples.median()),
        "median_held_out": float(held_out.median()),
    }


def nearest(queries: Tensor, references: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """The nearest reference of every query, float32 (M, D), by Euclidean distance.

    The references are batches of vectors (m, D), one of which is held at a time, on the device of
    the queries, which needs float64.

    Returns:
        Distances, float64 (M,), exactly 0 of a copy, and positions among all references, int64
        (M,), both on the CPU.

    Example:
        >>> queries, references = torch.tensor([[0.0], [5.0]]), torch.tensor([[4.0], [1.0]])
        >>> nearest(queries, references.split(1))
        (tensor([1., 1.], dtype=torch.float64), tensor([1, 0]))
    """
    device = queries.device
    distances = torch.full((len(queries),), torch.inf, dtype=torch.float64, device=device)
    positions = torch.zeros(len(queries), dtype=torch.int64, device=device)
    start = 0
    for batch in references:
        part = batch.to(device)
        # |q - r|² without |q|², which all r share: enough to find the nearest r of this part.
        norms = torch.linalg.vector_norm(part, dim=1).square()
        found = torch.addmm(norms, queries, part.T, alpha=-2).argmin(1)  # (M,)
        # Its distance is computed again from the difference, where nothing cancels.
        there = torch.linalg.vector_norm(queries - part[found], dim=1, dtype=torch.float64)
        better = there < distances
        distances = torch.where(better, there, distances)
        positions = torch.where(better, start + found, positions)
        start += len(part)
    return distances.cpu(), positions.cpu()


def nearest_images(samples: Tensor, data: ImageData) -> tuple[Tensor, Tensor]:
    """The image of a data set nearest to every sample, uint8 (M, C, H, W), found where these are.

    Returns:
        Euclidean distances in pixels of [0, 1], float64 (M,), and indices, int64 (M,).
    """
    starts = range(0, len(data), _IMAGES_AT_ONCE)
    bar = track(starts, f"neighbours in {data.name}", "blocks of images")
    parts = (range(start, min(start + _IMAGES_AT_ONCE, len(data))) for start in bar)
    images = (data.tensor(part).flatten(1) for part in parts)
    return nearest(require_bytes(samples).flatten(1).float() / 255, images)
