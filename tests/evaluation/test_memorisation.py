"""Nearest neighbours against scipy, and the copying statistics on data whose answer is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import norm

from genrev.evaluation import copying, evaluate, nearest, nearest_images


@given(
    m=st.integers(1, 9), n=st.integers(1, 30), batch=st.integers(1, 30), seed=st.integers(0, 999)
)
def test_nearest_agrees_with_all_distances(m, n, batch, seed):
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(m, 3, generator=generator)
    references = torch.randn(n, 3, generator=generator)
    distances, positions = nearest(queries, references.split(batch))
    expected = cdist(queries.double(), references.double())
    np.testing.assert_allclose(distances, expected.min(1), rtol=1e-5)
    np.testing.assert_array_equal(positions, expected.argmin(1))


def test_copies_are_at_distance_zero(toys):
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8), dtype=np.uint8)
    data = toys(images, np.zeros(30), 1)
    distances, indices = nearest_images(torch.tensor(images[[7, 3]]), data)
    assert distances.tolist() == [0, 0]
    assert indices.tolist() == [7, 3]


def test_z_is_standard_normal_for_equal_distributions():
    generator = torch.Generator().manual_seed(0)
    z = [
        copying(torch.rand(60, generator=generator), torch.rand(80, generator=generator))
        for _ in range(400)
    ]
    values = np.array([entry["copying_z"] for entry in z])
    assert values.mean() == pytest.approx(0, abs=3 / np.sqrt(400))
    assert values.std() == pytest.approx(1, abs=0.1)
    assert (values < norm.ppf(0.05)).mean() == pytest.approx(0.05, abs=0.04)


def test_z_by_counting_pairs():
    samples, held_out = torch.tensor([1.0, 4.0, 6.0]), torch.tensor([2.0, 3.0, 4.0, 5.0])
    # Farther: 0 + (2 and half of the tie) + 4 of 12 pairs.
    expected = (6.5 - 6) / np.sqrt(3 * 4 * 8 / 12)
    assert copying(samples, held_out)["copying_z"] == pytest.approx(expected)


def test_share_of_samples_nearer_than_the_first_percentile():
    held_out = torch.arange(1, 102).double()  # the first percentile is 2
    samples = torch.tensor([0.0, 1.9, 2.0, 50.0])
    result = copying(samples, held_out)
    assert result["nearer_share"] == 0.5
    assert result["median_held_out"] == 51


def test_refuses_no_distances():
    with pytest.raises(ValueError, match="need both"):
        copying(torch.zeros(0), torch.ones(3))


def test_a_model_that_copies_is_found_out(unconditional, draw):
    train, held_out = draw(unconditional, 200, seed=5), draw(unconditional, 100, seed=6)
    honest = evaluate(unconditional, held_out, ["memorisation"], 100, train=train)
    copied = iter([train.tensor(range(100))])
    unconditional.sample = lambda n, label=None, generator=None: next(copied)
    copier = evaluate(unconditional, held_out, ["memorisation"], 100, train=train)
    assert honest["memorisation"]["pixel_space"]["nearer_share"] < 0.1
    assert abs(honest["memorisation"]["pixel_space"]["copying_z"]) < 3
    assert copier["memorisation"]["pixel_space"]["nearer_share"] == 1
    assert copier["memorisation"]["pixel_space"]["copying_z"] < -10
