r"""Precision and recall, density and coverage: fidelity and diversity told apart.

Around every image's features lies a ball that reaches to its k-th nearest neighbour of its kind.

* precision: share of samples inside the union of the real images' balls (fidelity);
* recall: share of real images inside the union of the samples' balls (diversity);
* density: mean number of real balls a sample lies in, divided by k; expected to be 1 for equal
  distributions, may exceed 1, and unlike precision does not trust a single outlier's large ball;
* coverage: share of real balls with at least one sample inside; unlike recall it does not profit
  from a model that spreads outliers.

Balls are closed, with a little slack for rounding (1e-9 of a ball's squared radius plus 1e-12 of
the features' variance), so copies of real images count as inside even where the reference has
duplicates. (The density paper's code has open balls: density of equal sets is (k + 1) / k here and
1 there.)

References: Kynkäänniemi et al., "Improved precision and recall metric for assessing generative
models" (2019); Naeem et al., "Reliable fidelity and diversity metrics for generative models"
(2020).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from genrev.evaluation.features.reference import check_features
from genrev.evaluation.metric import Column, EvaluationRun, Lines, Metric, Numbers

NAMES = ("precision", "recall", "density", "coverage")
NEIGHBOURS = 5
RELATIVE_SLACK, ABSOLUTE_SLACK = 1e-9, 1e-12
CHUNK_ENTRIES = 4_000_000  # distances held at once: 32 MB, and a few temporaries of that size


class PrecisionRecall(Metric):
    """``precision_recall`` with k = 5, of equal numbers: reference images are chosen at random."""

    sampled = of_features = True
    columns = tuple(Column(name, name) for name in NAMES)

    def measure(self, run: EvaluationRun) -> Numbers:
        generator = torch.Generator().manual_seed(run.seed)
        chosen = torch.randperm(len(run.real_features), generator=generator)[: run.n]
        shares = precision_recall(run.real_features[chosen], run.fake_features, NEIGHBOURS)
        return {**shares, "k": NEIGHBOURS, **run.provenance(run.n, len(chosen), run.extractor)}

    def lines(self, values: Numbers) -> Lines:
        for name in NAMES:
            yield f"{name} (k = {values['k']})", f"{values[name]:.3f}"


def precision_recall(
    real: Tensor, fake: Tensor, k: int = 5, chunk_entries: int = CHUNK_ENTRIES
) -> dict[str, float]:
    """Precision, recall, density and coverage by k nearest neighbours, in float64.

    Args:
        real: features of the reference images, shape (N, D).
        fake: features of the samples, shape (M, D); M = N makes precision and recall comparable.
        k: which nearest neighbour limits a ball; at least 1 and less than N and M.
        chunk_entries: how many distances are held at once.

    Raises:
        ValueError: shapes that do not fit, or k out of range.

    Example:
        >>> real = torch.arange(10.0).unsqueeze(1)
        >>> precision_recall(real, real + 100, k=2)
        {'precision': 0.0, 'recall': 0.0, 'density': 0.0, 'coverage': 0.0}
    """
    check_features(real, fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(f"k must lie between 1 and {min(len(real), len(fake)) - 1} and is {k}.")
    real, fake = (x.to(torch.float64, copy=True) for x in (real, fake))
    center = real.mean(0)  # small numbers cancel less in |a|² + |b|² - 2ab
    real, fake = real.sub_(center), fake.sub_(center)
    slack = ABSOLUTE_SLACK * float(torch.cat([_squared_norms(real), _squared_norms(fake)]).mean())
    real_radii, fake_radii = (  # (N,) and (M,)
        _squared_radii(x, k, chunk_entries) * (1 + RELATIVE_SLACK) + slack for x in (real, fake)
    )
    inside_real = memberships = 0.0  # samples in a real ball, and pairs of the two
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    covered = torch.zeros_like(recalled)
    for rows, distances in _chunks(fake, real, chunk_entries):  # (m, N)
        in_real = distances <= real_radii
        inside_real += float(in_real.any(1).sum())
        memberships += float(in_real.sum())
        covered |= in_real.any(0)
        recalled |= (distances <= fake_radii[rows, None]).any(0)
    return {
        "precision": inside_real / len(fake),
        "recall": float(recalled.double().mean()),
        "density": memberships / (k * len(fake)),
        "coverage": float(covered.double().mean()),
    }


def _squared_norms(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1).square()


def _chunks(a: Tensor, b: Tensor, entries: int) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances from a few rows of ``a`` to all of ``b`` at a time: (rows, (m, len(b)))."""
    step = max(1, entries // len(b))
    norms = _squared_norms(b)
    for start in range(0, len(a), step):
        rows = slice(start, start + step)
        part = a[rows]
        squared = torch.addmm(_squared_norms(part)[:, None] + norms, part, b.T, alpha=-2)
        yield rows, squared.clamp_(min=0)


def _squared_radii(x: Tensor, k: int, entries: int) -> Tensor:
    """Squared distance of every row to its k-th nearest other row (N,); it is nearest itself."""
    return torch.cat([d.kthvalue(k + 1, dim=1).values for _, d in _chunks(x, x, entries)])
