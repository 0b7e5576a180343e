import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genrev.data import BatchLoader, ImageData
from genrev.errors import GenrevError


def make_data(counts: list[int], shape=(1, 2, 2)) -> ImageData:
    """Data with the given number of images per class, whose first two pixels tell the index."""
    labels = np.random.default_rng(len(counts)).permutation(
        np.repeat(np.arange(len(counts)), counts)
    )
    images = np.zeros((len(labels), *shape), np.uint8)
    index = np.arange(len(labels))
    images[:, 0, 0, 0], images[:, 0, 0, 1] = index & 255, index >> 8
    names = tuple(f"class {number}" for number in range(len(counts)))
    return ImageData(images, labels.astype(np.int64), names, "made up", "")


def all_indices(loader: BatchLoader) -> np.ndarray:
    return np.concatenate([batch["index"].numpy() for batch in loader])


sizes = st.integers(1, 60)
seeds = st.integers(0, 2**70)


@given(n=sizes, share=sizes, world=st.integers(1, 3), seed=seeds)
@settings(max_examples=60, deadline=None)
def test_every_image_once_an_epoch_on_any_number_of_ranks(n, share, world, seed):
    data, batch_size = make_data([n]), share * world
    steps = -(-3 * n // batch_size)
    ranks = [
        BatchLoader(data, batch_size, steps, seed, balanced=False, rank=r, world_size=world)
        for r in range(world)
    ]
    # Rank after rank within a step, then step after step, is the global stream.
    stream = np.stack([all_indices(r).reshape(steps, share) for r in ranks], axis=1).ravel()
    for epoch in range(3):
        assert sorted(stream[epoch * n : (epoch + 1) * n]) == list(range(n))
    single = BatchLoader(data, batch_size, steps, seed, balanced=False)
    np.testing.assert_array_equal(all_indices(single), stream)


@given(
    counts=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    per_class=st.integers(1, 15),
    world=st.integers(1, 3),
    seed=seeds,
)
@settings(max_examples=60, deadline=None)
def test_balanced_batches(counts, per_class, world, seed):
    data, classes = make_data(counts), len(counts)
    batch_size, steps = per_class * classes * world, 6
    ranks = [
        BatchLoader(data, batch_size, steps, seed, balanced=True, rank=r, world_size=world)
        for r in range(world)
    ]
    seen: list[list[int]] = [[] for _ in counts]
    single = BatchLoader(data, batch_size, steps, seed, balanced=True)
    for step in range(steps):
        shares = [rank.batch(step) for rank in ranks]
        for share in shares:  # the same number of every class, class by class
            assert share["label"].tolist() == np.repeat(np.arange(classes), per_class).tolist()
            assert torch.equal(share["label"], torch.from_numpy(data.labels)[share["index"]])
        union = sorted(torch.cat([share["index"] for share in shares]).tolist())
        assert union == sorted(single.batch(step)["index"].tolist())
        for number in range(classes):
            for share in shares:
                seen[number] += share["index"].view(classes, per_class)[number].tolist()
    for number, count in enumerate(counts):
        members = np.flatnonzero(data.labels == number).tolist()
        for start in range(0, len(seen[number]) - count + 1, count):
            assert sorted(seen[number][start : start + count]) == members


def test_batch_holds_the_images_of_its_index():
    data = make_data([300, 300])
    for balanced in (True, False):
        batch = BatchLoader(data, 50, 9, 3, balanced=balanced).batch(8)
        assert batch["image"].dtype == torch.uint8
        assert batch["image"].shape == (50, 1, 2, 2)
        assert batch["label"].dtype == batch["index"].dtype == torch.int64
        assert batch["step"] == 8
        pixels = batch["image"][:, 0, 0].long()
        assert torch.equal(pixels[:, 0] + 256 * pixels[:, 1], batch["index"])
        assert torch.equal(batch["label"], torch.from_numpy(data.labels)[batch["index"]])


def test_batches_do_not_share_memory_with_the_data():
    data = make_data([8])
    data.images.flags.writeable = False
    loader = BatchLoader(data, 8, 2, 0, balanced=False)
    loader.batch(0)["image"].zero_()
    loader.batch(0)["label"].fill_(1)
    assert data.images.any()
    assert not data.labels.any()
    assert loader.batch(0)["image"].any()
    index = loader.batch(0)["index"].clone()
    loader.batch(0)["index"].zero_()
    assert torch.equal(loader.batch(0)["index"], index)


@pytest.mark.parametrize("balanced", [True, False])
@given(order=st.permutations(range(12)))
@settings(max_examples=20, deadline=None)
def test_batches_are_independent_of_history(balanced, order):
    data = make_data([7, 10])  # an epoch is less than two batches long
    forward = list(BatchLoader(data, 10, 12, 5, balanced=balanced))
    loader = BatchLoader(data, 10, 12, 5, balanced=balanced)
    for step in order:
        assert torch.equal(loader.batch(step)["index"], forward[step]["index"])


@pytest.mark.parametrize("balanced", [True, False])
def test_resumed_run_sees_what_the_uninterrupted_one_sees(balanced):
    data, arguments = make_data([7, 10]), (10, 12, 5)
    whole = list(BatchLoader(data, *arguments, balanced=balanced))
    assert [batch["step"] for batch in whole] == list(range(12))
    loader = BatchLoader(data, *arguments, balanced=balanced)
    iterator = iter(loader)
    for _ in range(5):
        next(iterator)
    state = loader.state_dict()
    assert state == {"step": 5}
    resumed = BatchLoader(data, *arguments, balanced=balanced)
    resumed.load_state_dict(state)
    started = BatchLoader(data, *arguments, balanced=balanced, start=5)
    assert len(resumed) == len(started) == 12
    for other in (resumed, started, loader):
        rest = list(other)
        assert [batch["step"] for batch in rest] == list(range(5, 12))
        for batch, expected in zip(rest, whole[5:], strict=True):
            assert torch.equal(batch["image"], expected["image"])
        assert other.state_dict() == {"step": 12}
        assert list(other) == []


def test_seeds_epochs_and_classes_are_independent():
    data = make_data([40, 40])

    def halves(seed):
        batch = BatchLoader(data, 80, 2, seed, balanced=True)
        index = torch.stack([batch.batch(0)["index"], batch.batch(1)["index"]])
        rank_in_class = index.view(4, 40).argsort().argsort()  # order within the class
        return [tuple(row.tolist()) for row in rank_in_class]

    assert len(set(halves(0) + halves(1))) == 8


def test_every_position_is_equally_likely():
    """Chi-squared of where image 0 comes in the epoch, over 6,000 seeds."""
    data = make_data([6])
    where = [
        BatchLoader(data, 6, 1, seed, balanced=False).indices(0).tolist().index(0)
        for seed in range(6000)
    ]
    counts = np.bincount(where, minlength=6)
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # 5 degrees of freedom: p = 0.001


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 5, "world_size": 2, "balanced": False}, "5 .* 2 processes; set it to 4"),
        ({"batch_size": 4, "balanced": True}, "4 cannot .* 3 classes; set it to 3"),
        ({"batch_size": 9, "balanced": True, "world_size": 2}, "3 classes and 2 processes; .* 12"),
        ({"batch_size": 0, "balanced": False}, "0 is too small; set it to 1"),
    ],
)
def test_batch_that_cannot_be_divided(arguments, message):
    with pytest.raises(GenrevError, match=message):
        BatchLoader(make_data([4, 4, 4]), steps=1, seed=0, **arguments)


def test_class_without_images():
    with pytest.raises(GenrevError, match="no images of the class class 1"):
        BatchLoader(make_data([4, 0, 4]), 3, 1, 0, balanced=True)


@pytest.mark.parametrize(
    "arguments", [{"rank": 2, "world_size": 2}, {"rank": -1}, {"start": 4}, {"start": -1}]
)
def test_programming_errors(arguments):
    with pytest.raises(ValueError, match="must be 0 to"):
        BatchLoader(make_data([4]), 2, 3, 0, balanced=False, **arguments)
    with pytest.raises(ValueError, match="negative"):
        BatchLoader(make_data([4]), 2, 3, -1, balanced=False)
    loader = BatchLoader(make_data([4]), 2, 3, 0, balanced=False)
    with pytest.raises(ValueError, match="must be 0 to 3"):
        loader.load_state_dict({"step": 4})
    for step in (-1, 3):
        with pytest.raises(IndexError):
            loader.batch(step)


def test_loader_feeds_twenty_thousand_images_a_second():
    data = make_data([2000], shape=(3, 64, 64))
    loader = BatchLoader(data, 250, 40, 0, balanced=False)
    best = 0.0
    for _ in range(5):  # others may be using the machine
        loader.load_state_dict({"step": 0})
        start = time.perf_counter()
        count = sum(len(batch["image"]) for batch in loader)
        best = max(best, count / (time.perf_counter() - start))
    assert count == 10_000
    assert best > 20_000
