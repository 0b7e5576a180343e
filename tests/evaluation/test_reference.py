"""The cache of reference features: computed once, whole or not there, never in the way."""

import numpy as np
import pytest
import torch

from genrev.evaluation import (
    FeatureStatistics,
    evenly_spread,
    reference_features,
    reference_statistics,
)


class Rows:
    name, sha256, dim, resize = "rows", "1" * 64, 4, "none"

    def __init__(self):
        self.images = 0

    def __call__(self, images):
        self.images += len(images)
        return images.float().mean((1, 2)) / 255


@pytest.fixture
def data(unconditional, draw):
    return draw(unconditional, 30, seed=0)


def files(cache):
    return sorted(cache.rglob("*.*"))


def test_features_are_computed_once(data, cache):
    extractor = Rows()
    first = reference_features(data, extractor, batch_size=7)
    assert extractor.images == 30
    assert torch.equal(reference_features(data, extractor), first)
    assert extractor.images == 30
    assert [path.suffix for path in files(cache)] == [".safetensors"]


def test_other_data_and_other_extractors_are_not_mixed_up(data, unconditional, draw):
    extractor, other = Rows(), Rows()
    other.sha256 = "2" * 64
    reference_features(data, extractor)
    reference_features(draw(unconditional, 30, seed=1), extractor)
    reference_features(data, other)
    assert (extractor.images, other.images) == (60, 30)


def test_statistics_use_features_that_are_there(data):
    extractor = Rows()
    features = reference_features(data, extractor)
    mean, covariance = reference_statistics(data, extractor)
    assert extractor.images == 30
    expected = FeatureStatistics.of(features)
    torch.testing.assert_close(mean, expected.mean)
    torch.testing.assert_close(covariance, expected.covariance)
    assert torch.equal(reference_statistics(data, Rows())[0], mean)


def test_statistics_alone_keep_no_features(data, cache):
    extractor = Rows()
    mean, covariance = reference_statistics(data, extractor)
    features = torch.from_numpy(data.images.copy()).double().mean((1, 2)) / 255
    torch.testing.assert_close(mean, features.mean(0))
    torch.testing.assert_close(covariance, features.T.cov())
    again = reference_statistics(data, extractor)
    assert extractor.images == 30
    assert torch.equal(again[0], mean)
    assert torch.equal(again[1], covariance)
    (file,) = files(cache)
    file.write_bytes(b"cut off")
    assert torch.equal(reference_statistics(data, extractor)[0], mean)
    assert extractor.images == 60


@pytest.mark.parametrize("damage", [b"", b"no tensors", None])
def test_a_damaged_file_is_computed_again(data, cache, damage):
    extractor = Rows()
    first = reference_features(data, extractor)
    (path,) = files(cache)
    path.write_bytes(path.read_bytes()[:-8] if damage is None else damage)
    assert torch.equal(reference_features(data, extractor), first)
    assert extractor.images == 60
    assert torch.equal(reference_features(data, extractor), first)
    assert extractor.images == 60


def test_an_interrupted_computation_leaves_nothing(data, cache):
    class Interrupted(Rows):
        def __call__(self, images):
            if self.images:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        reference_features(data, Interrupted(), batch_size=10)
    assert files(cache) == []


def test_a_cache_that_cannot_be_written_costs_time_only(data, cache):
    cache.write_text("a file, where a folder should be")
    with pytest.warns(UserWarning, match="set GENREV_CACHE"):
        features = reference_features(data, Rows())
    assert features.shape == (30, 4)


def test_a_part_of_the_images_is_spread_evenly_and_always_the_same(data):
    part = evenly_spread(data, 10)
    assert part.fingerprint == evenly_spread(data, 10).fingerprint != data.fingerprint
    np.testing.assert_array_equal(part.images, data.images[::3])
    assert evenly_spread(data, 31) is data
