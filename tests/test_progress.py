"""Progress of what takes long: a bar on a terminal, lines that get rarer anywhere else."""

import io
import sys
from types import SimpleNamespace

import pytest

from genrev import progress
from genrev.progress import Bar, track
from genrev.training.run.trainer import StepBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what a test adds to it."""
    now = [1000.0]
    monkeypatch.setattr(progress, "FIRST", 3.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def work(clock, seconds, steps=None):
    with Bar("encodings", steps or seconds, "images") as bar:
        for _ in range(steps or seconds):
            clock[0] += seconds / (steps or seconds)
            bar.update()


def test_lines_come_after_three_seconds_and_get_rarer(clock, capsys):
    work(clock, 200)
    lines = capsys.readouterr().err.splitlines()
    at = [int(line.split()[1]) for line in lines]
    assert at == [3, 9, 21, 45, 93, 153]  # 3, 6, 12, 24 and 48 seconds later, then a minute
    assert lines[0].startswith("encodings: 3 of 200, 00:03 passed, 03:17 left")


def test_short_work_is_not_told(clock, capsys, monkeypatch):
    work(clock, 2, steps=50)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Bar("encodings", 5) as bar:
        for _ in range(5):
            clock[0] += 0.1
            bar.update()
    assert sys.stderr.getvalue() == ""


def test_a_terminal_has_a_bar_that_goes(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    work(clock, 5)
    drawn = sys.stderr.getvalue()
    assert "5/5" in drawn
    assert "\n" not in drawn
    assert not drawn.split("\r")[-2].strip()  # the last thing written is blank


def test_what_was_done_before_does_not_count_for_the_speed(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Bar("training", 300, "steps", initial=135, delay=0, leave=True) as bar:
        for _ in range(5):
            clock[0] += 0.5
            bar.update()
    last = sys.stderr.getvalue().split("\r")[-1]
    assert "140/300" in last
    assert " 2.00 steps/s" in last


def test_track_goes_through_all_items(clock, capsys):
    def slowly():
        for number in range(4):
            clock[0] += 4
            yield number

    assert list(track(slowly(), "files", "files", 4)) == [0, 1, 2, 3]
    assert "files: 1 of 4" in capsys.readouterr().err
    assert list(track([1, 2], "some", "files")) == [1, 2]


def test_the_bar_of_a_resumed_training_counts_on(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    trainer = SimpleNamespace(
        is_global_zero=True, global_step=135, max_steps=300, progress_bar_metrics={"loss": 1.5}
    )
    bar = StepBar()
    bar.on_train_start(trainer)
    for _ in range(5):
        clock[0] += 0.5
        trainer.global_step += 1
        bar.on_train_batch_end(trainer)
    bar.on_train_end(trainer)
    drawn = sys.stderr.getvalue().split("\r")
    assert "135/300" in drawn[1]
    assert "140/300" in drawn[-1]
    assert "2.00 steps/s, loss=1.5" in drawn[-1]
    assert "?" not in drawn[-1]
