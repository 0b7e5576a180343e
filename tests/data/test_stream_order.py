import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrev.data.streaming.order import StreamOrder

blocks = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(sum)


def stream(order: StreamOrder, batch_size: int, count: int) -> np.ndarray:
    """The first rows of a stream, at least ``count``."""
    steps = -(-count // batch_size)
    return np.concatenate([order.batch(step) for step in range(steps)])


@given(
    rows=blocks,
    share=st.integers(1, 5),
    lanes=st.integers(1, 6),
    buffer=st.integers(1, 40),
    seed=st.integers(0, 2**70),
)
@settings(max_examples=100, deadline=None)
def test_every_row_once_an_epoch_whatever_divides_what(rows, share, lanes, buffer, seed):
    n, batch_size = sum(rows), share * lanes
    order = StreamOrder(np.array(rows), batch_size, lanes, buffer, seed)
    seen = stream(order, batch_size, 3 * n)
    for epoch in range(3):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(rows=blocks, lanes=st.integers(1, 5), buffer=st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_windows_follow_each_other_and_are_read_in_one_direction(rows, lanes, buffer):
    """Between windows of an epoch the reader only goes on, or to the start of another block."""
    order, n = StreamOrder(np.array(rows), 2 * lanes, lanes, buffer, 0), sum(rows)
    starts = set((np.cumsum(rows) - rows).tolist())
    for lane in range(lanes):
        position, jumps = 0, 0
        while position < 4 * n:
            window = order.window(lane, position)
            assert window.start == position
            assert len(window.rows) <= max(buffer // lanes, 1)
            assert sorted(window.order) == list(range(len(window.rows)))
            for before, row in zip(window.rows, window.rows[1:], strict=False):
                assert row == before + 1 or int(row) in starts
            inside = order.window(lane, position + len(window.rows) - 1)
            np.testing.assert_array_equal(inside.rows, window.rows)
            position += len(window.rows)
            jumps += 1


def test_epochs_and_seeds_differ_and_a_seed_repeats():
    rows, n = np.full(30, 7), 210
    orders = [stream(StreamOrder(rows, 10, 10, 70, seed), 10, 2 * n) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    halves = [half for order in orders[1:] for half in (order[:n], order[n : 2 * n])]
    for number, half in enumerate(halves):
        for other in halves[:number]:
            assert (half == other).mean() < 0.1  # 1/210 by chance, more in the same block


def test_neighbours_are_spread_over_the_epoch():
    """Two rows of a file come as far from each other as two of different files."""
    rows, n = np.full(100, 10), 1000
    order = stream(StreamOrder(rows, 20, 10, 500, 0), 20, n)[:n]
    place = np.argsort(order).reshape(100, 10)  # of each row in the epoch, block by block
    apart = np.abs(np.diff(place.mean(1)))
    assert apart.mean() == pytest.approx(n / 3, rel=0.25)  # of uniform places
    # And within a batch hardly any two are of one block, of which there are 100.
    batches = np.sort(order.reshape(-1, 20) // 10, axis=1)
    assert (np.diff(batches, axis=1) == 0).mean() < 0.15


def test_programming_errors():
    for lanes in (0, 3):
        with pytest.raises(ValueError, match="lanes"):
            StreamOrder(np.array([4]), 8, lanes, 8, 0)
    with pytest.raises(ValueError, match="at least one row"):
        StreamOrder(np.array([0]), 8, 2, 8, 0)
