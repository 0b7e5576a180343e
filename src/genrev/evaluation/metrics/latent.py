"""Do the encodings follow the prior, how many dimensions do they use, and do classes share them?

For the whole data set and, when the prior is conditioned on classes, for every class:

* **Dimensions in use**: how many have a standard deviation above 0.1, of the prior, of the
  encodings among its active dimensions, and of the encodings in the full latent space. Prior
  collapse shows in the first; a third larger than the second is information that clamping loses.
* **Standard deviations** of the prior and the encodings on every active dimension, about the centre
  of the class or of the whole data set: equal when the encoder matches the prior.
* **Relative sliced Wasserstein distance** of the encodings, restricted to the active dimensions,
  from samples of the prior: between n encodings and n prior samples, divided by that between two
  independent sets of n prior samples. At 1.0 the encodings cannot be told from samples of the prior
  by their one-dimensional projections, at 2.0 they are twice as far away as chance would have it.
  For a fixed mismatch the quotient grows as the root of n: compare it at equal n.

Of a class-conditional prior there is a fourth: how many active dimensions are in use in all
classes, in several, in one, in none. Training without an adversary finds 3 to 4 dimensions a class,
several of them shared (Schirrmeister et al. 2018, Section 3.2).
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation.metric import EvaluationRun, Lines, Metric, Numbers
from genrev.models.checks import class_names_of, model_labels
from genrev.models.conditions import reader
from genrev.models.devices import batch_size_on, float64_device, in_batches
from genrev.models.inference import GenerativeAutoencoder, Prior, device_of, inference
from genrev.objectives.transport import random_directions, sliced_wasserstein
from genrev.priors.moments import ClassMoments

IN_USE = 0.1
PAIRS = 8


class Latent(Metric):
    """``latent_report`` of the reference, against as many prior samples, none of them decoded."""

    def measure(self, run: EvaluationRun) -> Numbers:
        return latent_report(run.model, run.data, run.batch_size, run.seed)

    def lines(self, values: Numbers) -> Lines:
        for name, group in {"all": values["overall"], **values["classes"]}.items():
            relative = group["sliced_wasserstein_relative"]
            far = "undefined, prior is a point" if relative is None else f"{relative:.2f} x chance"
            active = f"encodings {group['encoding_dims']} of {values['active_dims']}"
            full = f"full space {group['encoding_dims_full']} of {values['dims']}"
            used = f"dimensions in use: prior {group['prior_dims']}, {active}, {full}"
            yield f"latent distance, {name}", f"{far}; {used}"
        for kind, used in values["shared"].items():
            told = f"{used['several']} in several, {used['one']} in one, {used['none']} in none"
            yield f"dimensions in use, {kind}", f"{used['all']} in all classes, {told}"


def latent_report(
    model: GenerativeAutoencoder,
    data: ImageData,
    batch_size: int | None = None,
    seed: int = 0,
    num_projections: int = 128,
) -> Numbers:
    """Compare the encodings of a data set with the prior; see the module's text.

    Classes are those of ``data`` by name. The seed is that of the prior samples and of the
    directions, ``num_projections`` of them, of the sliced Wasserstein distance.

    Returns:
        ``overall`` and ``classes`` (class name to the same; empty for an unconditional prior),
        each with ``count``, ``prior_dims``, ``encoding_dims`` (active ones above the threshold),
        ``encoding_dims_full``, ``prior_std`` and ``encoding_std`` (lists over active dimensions),
        ``sliced_wasserstein`` and ``sliced_wasserstein_relative``. Beside them ``threshold``,
        ``active_dims`` (how many), ``dims`` (size of the full latent space) and ``shared``: for
        ``prior`` and ``encodings``, how many active dimensions are in use in ``all``, ``several``,
        ``one`` and ``none`` of the classes; empty for an unconditional prior.

    Raises:
        GenrevError: the data has no labels or a class that the model does not know, or a class has
            fewer than 2 images.
    """
    prior = model.prior
    names = class_names_of(model) or data.class_names
    # Those of the prior, which may not have the classes that the network is told.
    labels = model_labels(model, data) if prior.num_classes > 1 else np.zeros(len(data), np.int64)
    counts = np.bincount(labels, minlength=prior.num_classes).tolist()
    if min(counts) < 2:
        raise GenrevError(
            f"Among the {len(data):,} images of {data.name} are fewer than two images of the class "
            f"{names[np.argmin(counts)]}, too few for a standard deviation; evaluate on more of "
            "them, or on other data."
        )
    generator = torch.Generator().manual_seed(seed)
    with inference(model):
        directions = random_directions(num_projections, len(prior.active_dims), generator)
        active, moments = _encodings(model, data, labels, batch_size)
        compare = partial(_compare, prior, directions, generator)
        overall = compare(torch.cat(active), moments.overall_std, counts)
        classes = {
            name: compare(active[label], moments.std[label], [0] * label + [counts[label]])
            for label, name in enumerate(names if prior.num_classes > 1 else ())
        }
    return {
        "overall": overall,
        "classes": classes,
        "shared": _shared(classes) if classes else {},
        "threshold": IN_USE,
        "active_dims": len(prior.active_dims),
        "dims": prior.dim,
    }


def _encodings(
    model: GenerativeAutoencoder, data: ImageData, labels: np.ndarray, batch_size: int | None
) -> tuple[list[Tensor], ClassMoments]:
    """Restricted encodings (n, k) of every class, and moments of the full ones."""
    prior, device, read = model.prior, device_of(model), reader(model, data)
    size = batch_size_on(device, 250) if batch_size is None else batch_size
    moments, active = ClassMoments(prior.num_classes, prior.dim), []

    def encode(indices: np.ndarray) -> Tensor:
        x, given = read(indices)
        return model.encode(x, *given)  # (n, D)

    for label in range(prior.num_classes):
        parts = []
        chosen = np.flatnonzero(labels == label)
        for z in in_batches(encode, chosen, size, f"encodings of {data.name}"):
            moments.update(z, torch.full((len(z),), label))
            parts.append(prior.restrict(z).to(float64_device(device)))
        active.append(torch.cat(parts))
    return active, moments


def relative_sliced_wasserstein(
    prior: Prior,
    active: Tensor,
    labels: Tensor | None,
    directions: Tensor,
    generator: torch.Generator | None = None,
) -> tuple[float, float | None]:
    """Sliced 2-Wasserstein distance of restricted encodings from the prior, and relative to chance.

    The prior is drawn from 8 times, by ``generator`` on the CPU; distances are root mean squares
    over the draws.

    Args:
        active: restricted encodings, shape (N, k).
        labels: class of every encoding, shape (N,), or None for an unconditional prior.
        directions: unit vectors to project on, shape (K, k).

    Returns:
        The distance, and its quotient by that between two prior samples of size N. Of a prior that
        has collapsed to a point None, or 1 if all encodings sit on that point.
    """

    def draw() -> Tensor:
        return prior.restrict(prior.sample(len(active), labels, generator)).to(active)

    mismatch = chance = 0.0
    for _ in range(PAIRS):
        first, second = draw(), draw()
        mismatch += float(sliced_wasserstein(active, first, directions)) / PAIRS
        chance += float(sliced_wasserstein(first, second, directions)) / PAIRS
    distance, baseline = mismatch**0.5, chance**0.5
    if baseline == 0:
        return distance, 1.0 if distance == 0 else None
    return distance, distance / baseline


def _compare(
    prior: Prior,
    directions: Tensor,
    generator: torch.Generator,
    active: Tensor,
    std: Tensor,
    counts: list[int],
) -> Numbers:
    """Report on encodings, of class 0 the first ``counts[0]``; ``std`` is that of the full ones."""
    full_std = std * (len(active) / (len(active) - 1)) ** 0.5
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))  # (N,)
    prior_std = _mixture_std(prior, counts)[prior.active_dims.cpu()]  # (k,)
    active_std = active.double().std(0).cpu()  # (k,)
    distance, relative = relative_sliced_wasserstein(
        prior, active, labels if prior.num_classes > 1 else None, directions, generator
    )
    return {
        "count": len(active),
        "prior_dims": int((prior_std > IN_USE).sum()),
        "encoding_dims": int((active_std > IN_USE).sum()),
        "encoding_dims_full": int((full_std > IN_USE).sum()),
        "prior_std": prior_std.tolist(),
        "encoding_std": active_std.tolist(),
        "sliced_wasserstein": distance,
        "sliced_wasserstein_relative": relative,
    }


def _shared(classes: dict[str, Numbers]) -> dict[str, dict[str, int]]:
    """In how many classes each dimension is in use, by the reports on all classes."""
    shared = {}
    for kind, key in (("prior", "prior_std"), ("encodings", "encoding_std")):
        stds = torch.tensor([group[key] for group in classes.values()])  # (K, k)
        used = (stds > IN_USE).sum(0).tolist()  # (k,)
        every, one, none = (used.count(number) for number in (len(classes), 1, 0))
        several = len(used) - every - one - none
        shared[kind] = {"all": every, "several": several, "one": one, "none": none}
    return shared


def _mixture_std(prior: Prior, counts: list[int]) -> Tensor:
    """Standard deviation (D,) of the prior whose classes are as frequent as in the data."""
    if prior.num_classes == 1:
        return prior.scale().cpu()
    present = [label for label, count in enumerate(counts) if count]
    weights = torch.tensor([counts[label] for label in present], dtype=torch.float64)[:, None]
    weights = weights / weights.sum()  # (P, 1)
    centers, scales = (
        torch.stack([of_class(label).cpu().double() for label in present])  # (P, D)
        for of_class in (prior.center, prior.scale)
    )
    mean = (weights * centers).sum(0)
    return (weights * (scales.square() + (centers - mean).square())).sum(0).sqrt()
