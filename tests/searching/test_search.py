"""Searches of a few steps on the digits: halving, failures, interruptions, several processes."""

import csv
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml
from run_files import ONE_LAYER, assert_same_weights, metrics, weights

import genrev
from genrev import evaluation
from genrev.cli.main import main
from genrev.errors import GenrevError
from genrev.recipes import load_recipe, read_run_config
from genrev.training.reports.frechet_curve import FrechetCurve

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")

STEPS = 9


class Pixels(torch.nn.Module):
    """Features that cost nothing: four pixels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 3:5, 3:5].flatten(1).float() / 255


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Sections of a search that takes a second or so a trial."""
    file = tmp_path_factory.mktemp("features") / "pixels.pt"
    torch.jit.save(torch.jit.script(Pixels()), str(file))
    return {
        "data": {"source": "digits", "limit": 100},
        "batch_size": 20,
        "network": {"image_size": 8, "channels": 1, **ONE_LAYER},
        "prior": {"kind": "gaussian", "active_dims": 6},
        "method": {"name": "matching", "reconstruction_steps": 2, "criterion": "sliced"},
        "trainer": {
            **{"max_steps": STEPS, "accelerator": "cpu", "threads": 1},
            **{"frechet_samples": 40, "frechet_features": str(file)},
        },
    }


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, settings):
    file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    file.write_text(yaml.safe_dump(settings))
    return str(file)


OVER = {"optimizer.lr": "log:1e-4..1e-1", "prior.active_dims": "2..20", "batch_size": [10, 20]}


@pytest.fixture(scope="module")
def found(tmp_path_factory, recipe):
    """A search of eight trials, in two calls."""
    out = tmp_path_factory.mktemp("search") / "out"
    first = genrev.search(recipe, out, OVER, trials=3)
    assert [row.number for row in sorted(first.rows, key=lambda r: r.number)] == [0, 1, 2]
    both = genrev.search(recipe, out, OVER, trials=8)
    kept = {row.number: row for row in both.rows}
    assert all(kept[row.number] == row for row in first.rows)
    return both


def test_trials_are_runs_with_the_values_asked_for(found):
    assert sorted(row.number for row in found.rows) == list(range(8))
    for row in found.rows:
        config = read_run_config(row.run)
        assert str(config.batch_size) == row.options["batch_size"]
        assert repr(config.optimizer.lr) == row.options["optimizer.lr"]
        assert str(config.prior.options.active_dims) == row.options["prior.active_dims"]
        logged = {int(line["step"]): line["frechet"] for line in metrics(row.run)}
        assert {step: float(logged[step]) for step in row.curve} == row.curve
        if row.state == "done":
            assert genrev.load(row.run).sample(2).shape == (2, 1, 8, 8)
            assert row.value == row.curve[STEPS]
    assert len({tuple(row.options.values()) for row in found.rows}) == 8


def test_the_first_trial_is_the_recipe_itself(found, recipe):
    (first,) = (row for row in found.rows if row.number == 0)
    own = load_recipe(recipe)
    assert first.options["optimizer.lr"] == repr(own.optimizer.lr)
    assert first.options["batch_size"] == "20"


def test_the_best_third_goes_on(found):
    states = set()
    at = {1: [], 3: []}  # values of the trials so far
    for row in sorted(found.rows, key=lambda r: r.number):
        reached = []
        for step, values in at.items():
            if step not in row.curve:
                break
            values.append(row.curve[step])
            reached.append(sorted(values).index(row.curve[step]) < max(1, len(values) // 3))
        assert row.state == ("done" if all(reached) else "stopped early")
        assert len(reached) == 2 or not reached[-1]
        assert row.steps == (STEPS if all(reached) else (1, 3)[len(reached) - 1])
        states.add(row.state)
    assert len(states) == 2


def test_the_best_recipe_trains_to_the_same_model(found, tmp_path):
    assert found.best.value == min(row.value for row in found.rows if row.state == "done")
    file = found.folder / "best.yaml"
    assert "frechet_every" not in file.read_text()
    genrev.train(str(file), tmp_path / "again", trainer={"progress": False})
    assert_same_weights(weights(tmp_path / "again"), weights(found.best.run))


def test_table_and_plot_tell_of_all_trials(found):
    with (found.folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == [row.number for row in found.rows]
    assert [row["optimizer.lr"] for row in rows] == [r.options["optimizer.lr"] for r in found.rows]
    assert float(rows[0]["frechet"]) == found.best.value
    assert found.text().count("\n") == len(rows)
    assert (found.folder / "trials.png").stat().st_size > 10_000


def test_a_trial_that_was_stopped_can_be_resumed(found, settings):
    row = next(row for row in found.rows if row.state == "stopped early")
    features = settings["trainer"]["frechet_features"]
    assert main(["resume", str(row.run), "--trust", features]) == 0
    assert genrev.load(row.run).sample(1).shape == (1, 1, 8, 8)
    assert int(metrics(row.run)[-1]["step"]) == STEPS


def test_other_settings_are_another_search(found, recipe, tmp_path):
    with pytest.raises(GenrevError, match="holds a search of other settings"):
        genrev.search(recipe, found.folder, {"optimizer.lr": "1e-3,1e-2"}, trials=9)
    with pytest.raises(GenrevError, match="is no search"):
        genrev.search(recipe, found.best.run, OVER, trials=9)
    (tmp_path / "file").touch()
    with pytest.raises(GenrevError, match="is no folder"):
        genrev.search(recipe, tmp_path / "file", OVER, trials=9)


def test_ctrl_c_keeps_a_trial_which_ends_the_same(recipe, tmp_path, monkeypatch):
    over, distance, calls = {"optimizer.lr": "1e-3,2e-3"}, FrechetCurve.distance, []

    def interrupting(self, model):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return distance(self, model)

    monkeypatch.setattr(FrechetCurve, "distance", interrupting)
    first = genrev.search(recipe, tmp_path / "out", over, trials=1)
    assert not first.finished
    assert [(row.state, row.steps) for row in first.rows] == [("unfinished", 4)]
    assert first.best is None
    assert not (tmp_path / "out/best.yaml").exists()
    second = genrev.search(recipe, tmp_path / "out", over, trials=1)
    assert second.finished
    assert [(row.number, row.state) for row in second.rows] == [(0, "done")]
    assert second.best.curve.keys() == set(range(1, STEPS + 1))
    lr = float(second.best.options["optimizer.lr"])
    changes = {"trainer": {"progress": False}, "optimizer": {"lr": lr}}
    genrev.train(recipe, tmp_path / "whole", **changes)
    assert_same_weights(weights(tmp_path / "whole"), weights(second.best.run))


def test_when_time_is_over_the_trial_waits_for_the_next_call(recipe, tmp_path, monkeypatch):
    seconds = iter(range(10_000))  # each look at the clock takes one
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    over = {"optimizer.lr": "1e-3,2e-3"}
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["genrev.searching.trials"], "time", clock)
        first = genrev.search(recipe, tmp_path / "out", over, minutes=0.1)
    assert first.finished
    (row,) = first.rows
    assert row.state == "unfinished"
    assert 1 < row.steps < STEPS
    second = genrev.search(recipe, tmp_path / "out", over, trials=1)
    assert [(row.number, row.state) for row in second.rows] == [(0, "done")]


def test_a_trial_that_was_killed_after_its_end_is_not_lost(recipe, tmp_path, monkeypatch):
    def killed(*_):
        raise SystemExit

    over = {"optimizer.lr": "1e-3,2e-3"}
    with monkeypatch.context() as patch:
        patch.setattr("genrev.searching.study.Study.end", killed)
        with pytest.raises(SystemExit):
            genrev.search(recipe, tmp_path / "out", over, trials=1)
    trained = weights(tmp_path / "out/trials/000")
    (row,) = genrev.search(recipe, tmp_path / "out", over, trials=1).rows
    assert (row.state, row.value) == ("done", row.curve[STEPS])
    assert_same_weights(weights(row.run), trained)


@pytest.mark.parametrize(
    ("every", "told"), [(1, "frechet is inf at step 1."), (3, "stopped being finite")]
)
def test_a_trial_that_diverges_fails_and_the_search_goes_on(recipe, tmp_path, every, told):
    over, trainer = {"optimizer.lr": "1e-3,2e-3,1e30"}, {"frechet_every": every}
    search = genrev.search(recipe, tmp_path / "out", over, trials=5, trainer=trainer)
    assert len(search.rows) == 3  # there are no more values
    failed = search.rows[-1]
    assert (failed.state, failed.options["optimizer.lr"]) == ("failed", "1e30")
    assert told in failed.error
    assert search.best is not None


def test_ten_failures_in_a_row_end_the_search(recipe, tmp_path):
    with pytest.raises(GenrevError, match="10 trials in a row failed, the last: frechet is inf"):
        genrev.search(recipe, tmp_path / "out", {"optimizer.lr": "1e29..1e30"}, trials=50)
    assert len(list((tmp_path / "out/trials").glob("[0-9]*"))) == 10


def test_what_is_compared_is_the_finished_model(recipe, tmp_path, settings):
    """The average of the weights is not what was measured through the training."""
    ema = {"optimizer": {"ema": 0.9}}
    search = genrev.search(recipe, tmp_path / "out", {"batch_size": "20,30"}, trials=1, **ema)
    (row,) = search.rows
    samples, _ = evaluation.samples_as_stored(genrev.load(row.run), 40, seed=0)
    features = Pixels()(samples).double()
    data = genrev.load_images(read_run_config(row.run).data)
    real = Pixels()(torch.from_numpy(data.images[:].copy())).double()
    moments = [(x.mean(0), torch.cov(x.T)) for x in (real, features)]
    expected = evaluation.frechet_distance(*moments[0], *moments[1])
    assert row.value == pytest.approx(expected, rel=1e-4)
    assert row.value != row.curve[STEPS]


def test_a_search_needs_an_end_and_one_process(recipe, tmp_path):
    for wrong, message in [
        ({}, "--minutes or --trials"),
        ({"minutes": 0}, "--minutes takes a number above 0"),
        ({"minutes": float("nan")}, "--minutes takes a number above 0"),
        ({"trials": 0}, "--trials takes a whole number"),
        ({"trials": 1, "metric": "fid"}, "--metric takes frechet"),
        ({"trials": 1, "trainer": {"devices": 2}}, "trains in one process"),
    ]:
        with pytest.raises(GenrevError, match=message):
            genrev.search(recipe, tmp_path / "out", OVER, **wrong)
    assert not (tmp_path / "out").exists()


def test_without_optuna_one_sentence_says_how_to_get_it(recipe, tmp_path, without):
    without("optuna")
    with pytest.raises(GenrevError, match=r'pip install "genrev\[search\]"'):
        genrev.search(recipe, tmp_path / "out", OVER, trials=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_share_the_trials(recipe, tmp_path, settings):
    out, features = tmp_path / "out", settings["trainer"]["frechet_features"]
    line = [sys.executable, "-m", "genrev", "search", recipe, "--over", "optimizer.lr=1e-4..1e-1"]
    line += ["--trials", "6", "--features", features, "--out", str(out)]
    both = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=240)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    ended = [[word for word in t.split("\n") if word.startswith("trial 0")] for t in told]
    numbers = sorted(int(line.split()[1]) for lines in ended for line in lines)
    assert numbers == list(range(6))
    with (out / "trials.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 6
