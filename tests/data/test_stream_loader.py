import threading
import time
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import write_shards

import genrev.data.streaming.loader
import genrev.data.streaming.order
from genrev.data import DataConfig, ImageStream, StreamLoader, open_stream
from genrev.data.streaming.loader import _AHEAD, prefetched
from genrev.data.streaming.order import Lane, StreamOrder
from genrev.errors import GenrevError

DIVIDING, NOT_DIVIDING = [12, 12, 12, 12], [7, 1, 13, 8, 5]


def open_shards(folder, **settings) -> ImageStream:
    return open_stream(DataConfig(source=str(folder), shuffle_buffer=16, **settings))


def indices(loader: StreamLoader) -> np.ndarray:
    return np.stack([batch["index"].numpy() for batch in loader])


@pytest.mark.parametrize("sizes", [DIVIDING, NOT_DIVIDING])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("world", "batch_size"), [(1, 6), (2, 6), (1, 5), (2, 14), (3, 6)])
def test_every_image_once_an_epoch(tmp_path, sizes, workers, world, batch_size):
    images = write_shards(tmp_path / "set", sizes)
    stream, n = open_shards(tmp_path / "set", workers=workers), sum(sizes)
    steps = -(-2 * n // batch_size)
    shares = []
    for rank in range(world):
        loader = StreamLoader(stream, batch_size, steps, 3, rank=rank, world_size=world)
        batches = list(loader)
        for batch in batches:  # what the index says is what the image is
            np.testing.assert_array_equal(batch["image"][:, 0], images[batch["index"]])
            assert batch["image"].dtype == torch.uint8
            assert batch["label"].tolist() == (batch["index"] % 3).tolist()
        assert [batch["step"] for batch in batches] == list(range(steps))
        shares.append(np.stack([batch["index"].numpy() for batch in batches]))
    # Rank after rank within a step, then step after step, is the global stream.
    seen = np.concatenate(shares, axis=1).ravel()
    assert sorted(seen[:n]) == sorted(seen[n : 2 * n]) == list(range(n))
    assert not np.array_equal(seen[:n], seen[n : 2 * n])


def test_the_batches_of_two_ranks_are_those_of_one(tmp_path):
    write_shards(tmp_path / "set", NOT_DIVIDING)
    stream = open_shards(tmp_path / "set")
    whole = indices(StreamLoader(stream, 8, 20, 0))
    for world in (2, 4):
        ranks = [StreamLoader(stream, 8, 20, 0, rank=r, world_size=world) for r in range(world)]
        np.testing.assert_array_equal(np.concatenate([indices(r) for r in ranks], 1), whole)


@given(cut=st.integers(0, 20), workers=st.sampled_from([0, 2]))
@settings(max_examples=5, deadline=None)
def test_a_resumed_stream_goes_on_as_the_uninterrupted_one(shared_shards, cut, workers):
    stream = open_shards(shared_shards, workers=workers)
    whole = list(StreamLoader(stream, 6, 20, 5))
    loader = StreamLoader(stream, 6, 20, 5)
    iterator = iter(loader)
    for _ in range(cut):
        next(iterator)
    iterator.close()
    state = loader.state_dict()
    assert state["step"] == cut  # what waits in the queue does not count
    resumed = StreamLoader(open_shards(shared_shards), 6, 20, 5)
    resumed.load_state_dict(state)
    started = StreamLoader(stream, 6, 20, 5, start=cut)
    assert len(resumed) == 20
    for other in (resumed, started, loader):
        rest = list(other)
        assert [batch["step"] for batch in rest] == list(range(cut, 20))
        for batch, expected in zip(rest, whole[cut:], strict=True):
            assert torch.equal(batch["image"], expected["image"])
            assert torch.equal(batch["index"], expected["index"])
        assert other.state_dict()["step"] == 20


@pytest.fixture(scope="module")
def shared_shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, NOT_DIVIDING)
    return folder


def test_resuming_reads_no_more_than_the_windows(tmp_path, monkeypatch):
    write_shards(tmp_path / "set", [60] * 5, group=10)
    stream, reads = open_shards(tmp_path / "set", workers=0), []
    read = genrev.data.streaming.order._Reader.read

    def counted(self, row):
        reads.append(row)
        return read(self, row)

    monkeypatch.setattr(genrev.data.streaming.order._Reader, "read", counted)
    next(iter(StreamLoader(stream, 4, 100, 0, start=70)))
    assert len(reads) <= 16


def test_a_rank_reads_its_own_images_only(tmp_path, monkeypatch):
    write_shards(tmp_path / "set", [40] * 6, group=10)
    stream, reads = open_shards(tmp_path / "set", workers=0), []
    read = genrev.data.streaming.order._Reader.read

    def counted(self, row):
        reads.append(row)
        return read(self, row)

    monkeypatch.setattr(genrev.data.streaming.order._Reader, "read", counted)
    seen = indices(StreamLoader(stream, 8, 30, 0, rank=1, world_size=2))  # one epoch
    assert sorted(reads) == sorted(seen.ravel())


def test_other_data_cannot_be_gone_on_with(tmp_path):
    write_shards(tmp_path / "set", DIVIDING)
    state = StreamLoader(open_shards(tmp_path / "set"), 6, 20, 5).state_dict()
    write_shards(tmp_path / "set", [*DIVIDING, 3])
    with pytest.raises(GenrevError, match="not those that the run began with"):
        StreamLoader(open_shards(tmp_path / "set"), 6, 20, 5).load_state_dict(state)


@pytest.mark.parametrize("workers", [0, 2])
def test_few_decoded_images_are_alive(tmp_path, monkeypatch, workers):
    """At most the batches that wait, the one in the making and the one in use."""
    write_shards(tmp_path / "set", [50] * 4)
    stream = open_shards(tmp_path / "set", workers=workers)
    alive, most, lock = set(), [0], threading.Lock()
    batch_of = StreamLoader._batch

    def tracked(self, step, rows, apply):
        batch = batch_of(self, step, rows, apply)
        pixels = batch["image"].numpy()
        with lock:
            alive.add(step)
            most[0] = max(most[0], len(alive))
        weakref.finalize(batch["image"], alive.discard, step)
        del pixels
        return batch

    monkeypatch.setattr(StreamLoader, "_batch", tracked)
    for number, batch in enumerate(StreamLoader(stream, 5, 60, 0)):
        if number < 5:
            time.sleep(0.05)  # let the thread go ahead as far as it may
        del batch
    bound = _AHEAD + 2 if workers else 2
    assert most[0] <= bound
    assert workers == 0 or most[0] > 1  # it does go ahead


def test_undecoded_images_stay_within_the_buffer(tmp_path, monkeypatch):
    write_shards(tmp_path / "set", [50] * 4)
    stream, most = open_shards(tmp_path / "set", workers=0), 0
    lanes = []
    create = genrev.data.streaming.order.Lane.__init__

    def remembered(self, *arguments):
        lanes.append(self)
        create(self, *arguments)

    monkeypatch.setattr(genrev.data.streaming.order.Lane, "__init__", remembered)
    for _ in StreamLoader(stream, 8, 60, 0):
        most = max(most, sum(len(lane._waiting) for lane in lanes))
    assert len(lanes) == 8
    assert 0 < most <= 16


def test_what_was_given_out_before_a_resumed_window_is_not_kept(tmp_path):
    write_shards(tmp_path / "set", [50] * 4)
    shards = open_shards(tmp_path / "set").shards
    order = StreamOrder(shards.rows, 8, 1, 16, 0)
    lane = Lane(shards, order, 0, position=5)
    lane.take(1)
    assert len(lane._waiting) == 16 - 5 - 1


def test_the_thread_ends_with_the_iterator(tmp_path):
    write_shards(tmp_path / "set", [50] * 4)
    before = threading.active_count()
    iterator = iter(StreamLoader(open_shards(tmp_path / "set", workers=2), 5, 60, 0))
    next(iterator)
    assert threading.active_count() > before
    iterator.close()
    assert threading.active_count() == before


def test_what_goes_wrong_in_the_thread_is_raised_after_what_went_well():
    def items():
        yield 1
        yield 2
        raise GenrevError("damaged")

    iterator = prefetched(items(), 1)
    assert [next(iterator), next(iterator)] == [1, 2]
    with pytest.raises(GenrevError, match="damaged"):
        next(iterator)
    assert list(prefetched(iter(()), 1)) == []


@pytest.mark.parametrize(
    "arguments", [{"rank": 2, "world_size": 2}, {"rank": -1}, {"start": 4}, {"start": -1}]
)
def test_programming_errors(shared_shards, arguments):
    stream = open_shards(shared_shards)
    with pytest.raises(ValueError, match="must be 0 to"):
        StreamLoader(stream, 2, 3, 0, **arguments)
    loader = StreamLoader(stream, 2, 3, 0)
    with pytest.raises(ValueError, match="must be 0 to 3"):
        loader.load_state_dict({**loader.state_dict(), "step": 4})
    with pytest.raises(GenrevError, match=r"5 .* 2 processes; set it to 4"):
        StreamLoader(stream, 5, 3, 0, world_size=2)
