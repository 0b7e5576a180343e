"""Precision, recall, density, coverage: known sets, a naive second way, chunks."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from genrev.evaluation import precision_recall


def normal(n: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def naive(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """The definitions, on whole matrices of distances."""
    real_radii = np.sort(cdist(real, real), axis=1)[:, k]
    fake_radii = np.sort(cdist(fake, fake), axis=1)[:, k]
    between = cdist(fake, real)
    return {
        "precision": (between <= real_radii).any(1).mean(),
        "recall": (between <= fake_radii[:, None]).any(0).mean(),
        "density": (between <= real_radii).sum() / (k * len(fake)),
        "coverage": (between <= real_radii).any(0).mean(),
    }


@settings(deadline=None)
@given(
    n=st.integers(6, 40),
    m=st.integers(6, 40),
    k=st.integers(1, 5),
    chunk=st.integers(1, 500),
    seed=st.integers(0, 1000),
)
def test_agrees_with_the_definition_for_every_chunk_size(n, m, k, chunk, seed):
    real, fake = normal(n, 3, seed), 0.7 * normal(m, 3, seed + 1) + 0.3
    expected = naive(real.double().numpy(), fake.double().numpy(), k)
    assert precision_recall(real, fake, k, chunk_entries=chunk) == pytest.approx(expected)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_identical_sets(offset):
    real = normal(100, 5, 0).double() + offset
    result = precision_recall(real, real[torch.randperm(100)], k=4)
    # Closed balls: every sample lies in its own ball too, hence k + 1 over k.
    assert result == {"precision": 1, "recall": 1, "density": 5 / 4, "coverage": 1}


def test_disjoint_sets():
    result = precision_recall(normal(50, 3, 0), normal(50, 3, 1) + 1000)
    assert result == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


@pytest.mark.parametrize("copies", [5, 1000])
def test_duplicates_are_inside_balls_of_radius_zero(copies):
    # Distances between copies are not exactly zero in floating point, and their rounding differs
    # between matrices of different sizes.
    real, fake = (normal(6, 768, 0).repeat_interleave(times, dim=0) for times in (copies, 4))
    result = precision_recall(real, fake, k=3, chunk_entries=1_000_000)
    # Every sample lies in the balls of all copies of itself, and in no other.
    expected = {"precision": 1, "recall": 1, "density": copies / 3, "coverage": 1}
    assert result == pytest.approx(expected, rel=1e-12)


def test_density_of_equal_distributions_is_one():
    density = [
        precision_recall(normal(300, 2, 2 * i), normal(300, 2, 2 * i + 1))["density"]
        for i in range(20)
    ]
    assert np.mean(density) == pytest.approx(1, abs=0.03)


def test_a_collapsed_model_has_precision_without_recall():
    real = normal(200, 2, 0)
    result = precision_recall(real, 0.05 * normal(200, 2, 1))
    assert result["precision"] > 0.95
    assert result["recall"] < 0.1
    assert result["coverage"] < 0.2


@pytest.mark.parametrize("k", [0, 10])
def test_refuses_k_out_of_range(k):
    with pytest.raises(ValueError, match="k must lie"):
        precision_recall(normal(10, 2, 0), normal(20, 2, 1), k)


def test_refuses_other_features():
    with pytest.raises(ValueError, match="features must be"):
        precision_recall(normal(10, 2, 0), normal(10, 3, 1))


def test_leaves_its_arguments_alone():
    real, fake = normal(20, 2, 0).double(), normal(20, 2, 1).double()
    before = real.clone(), fake.clone()
    precision_recall(real, fake)
    assert torch.equal(real, before[0])
    assert torch.equal(fake, before[1])


MEMORY = """
import resource, torch
from genrev.evaluation import precision_recall
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
features = torch.randn(2, 10_000, 2048)
precision_recall(*features[:, :100])  # loads libraries
before = peak()
precision_recall(*features)
print((peak() - before) / 1e6)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="units of ru_maxrss differ")
def test_ten_thousand_against_ten_thousand_in_less_than_a_gigabyte():
    command = [sys.executable, "-c", MEMORY]
    gigabytes = float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert gigabytes < 0.8
