"""What a run tells on its way: the Fréchet distance, the best model by it, sheets of samples."""

import math
import shutil

import pytest
import torch
from run_files import (
    assert_same_weights,
    changed,
    config_of,
    metrics,
    unfinish,
    weights,
    write_images,
)
from torch import nn

import genrev
from genrev.data import load_images
from genrev.errors import GenrevError
from genrev.evaluation import evaluate
from genrev.figures import stored_sheets
from genrev.figures.progress import _read_sheet
from genrev.training import RunFolder, resume, train
from genrev.training.reports.frechet_curve import FrechetCurve

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")

CONFIG = config_of(
    batch_size=40,
    network={"hidden_channels": [6], "blocks": [1], "kernel_sizes": [3]},
    prior={"active_dims": 6},
    method={"reconstruction_weight": 10.0},
    engine={"drift_every": None},
    trainer={
        "max_steps": 9,
        "log_every": 2,
        "checkpoint_every": 6,
        "sample_every": 100,
        "frechet_every": 3,
        "frechet_samples": 120,
    },
)


class MeanColumns(nn.Module):
    """Eight features of an image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float().mean(1).mean(1)[:, :8]


def features_file(folder):
    path = folder / "columns.pt"
    torch.jit.script(MeanColumns()).save(path)
    return str(path)


@pytest.fixture
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENREV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frechet") / "run"
    train(CONFIG, folder)
    return folder


def test_it_is_logged_on_its_own_schedule_and_is_what_evaluation_finds(run):
    assert [int(row["step"]) for row in metrics(run)] == [2, 3, 4, 6, 8, 9]
    measured = {int(row["step"]): row["frechet"] for row in metrics(run) if row["frechet"]}
    assert list(measured) == [3, 6, 9]
    report = evaluate(genrev.load(run), load_images("digits", "train"), ["frechet"], n=120, seed=0)
    assert float(measured[9]) == pytest.approx(report["frechet"]["distance"], rel=1e-5)


def test_measuring_changes_nothing_and_survives_a_resume(run, tmp_path):
    train(changed(CONFIG, trainer={"frechet_every": None}), tmp_path / "without")
    assert "frechet" not in metrics(tmp_path / "without")[0]
    shutil.copytree(run, tmp_path / "cut")
    unfinish(tmp_path / "cut")
    resume(CONFIG, tmp_path / "cut")
    for resumed, whole in zip(metrics(tmp_path / "cut"), metrics(run), strict=True):
        # Matrix products may round by where in memory they lie, and eigenvalues with them.
        distances = [float(row.pop("frechet") or 0) for row in (resumed, whole)]
        assert distances[0] == pytest.approx(distances[1], rel=1e-6)
        assert resumed == whole
    for other in ("without", "cut"):
        assert_same_weights(weights(run), weights(tmp_path / other))


def test_the_model_of_the_lowest_distance_is_kept(tmp_path, capsys):
    """With a rate that leads astray, so that the last measurement is not the lowest."""
    trainer = {"keep_best": True, "max_steps": 12}
    config = changed(CONFIG, optimizer={"lr": 0.3}, trainer=trainer)
    train(config, tmp_path / "run")
    measured = {
        int(r["step"]): float(r["frechet"]) for r in metrics(tmp_path / "run") if r["frechet"]
    }
    step = min(measured, key=measured.__getitem__)
    assert step < 12
    assert f"is in {tmp_path / 'run' / 'best'}." in capsys.readouterr().out
    best = genrev.load(tmp_path / "run" / "best")
    assert (best.info["steps"], best.info["frechet"]) == (step, measured[step])
    report = evaluate(best, load_images("digits", "train"), ["frechet"], n=120, seed=0)
    assert report["frechet"]["distance"] == pytest.approx(measured[step], rel=1e-5)

    shutil.copytree(tmp_path / "run", tmp_path / "cut")
    unfinish(tmp_path / "cut")
    resume(config, tmp_path / "cut")  # from step 6 on
    assert genrev.load(tmp_path / "cut" / "best").info["frechet"] == measured[step]


def test_features_of_a_file_for_data_without_labels(tmp_path):
    images = write_images(tmp_path / "images", n=20)
    config = changed(CONFIG, data=images, batch_size=10)
    with pytest.raises(GenrevError, match=r"no labels .* --trainer\.frechet_features"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    features = {"frechet_features": features_file(tmp_path)}
    train(changed(config, trainer=features), tmp_path / "run")
    assert float(metrics(tmp_path / "run")[-1]["frechet"]) > 0


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(GenrevError, match=r"Cannot read the feature extractor none\.pt"):
        train(changed(CONFIG, trainer={"frechet_features": "none.pt"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_samples_that_are_not_finite_are_infinitely_far(run):
    model = genrev.load(run)
    with torch.no_grad():
        model.prior.mean.fill_(float("nan"))
    curve = FrechetCurve(CONFIG.trainer, RunFolder("unused"))
    curve.prepare(load_images("digits"), torch.device("cpu"), first=True)
    assert curve.number(model) == math.inf


def test_other_ranks_hear_of_the_result_and_measure_nothing(run):
    curve = FrechetCurve(CONFIG.trainer, RunFolder("unused"))
    curve.prepare(load_images("digits"), torch.device("cpu"), first=False)
    assert curve._extractor is None


# Sheets of samples, from before the first step on


def with_sheets(folder, every):
    config = config_of(
        batch_size=40,
        network="digits",
        prior={"active_dims": 6},
        method={"reconstruction_weight": 1.0},
        engine={"memory": "stored"},
        trainer={"max_steps": 6, "sample_every": every},
    )
    train(config, folder)
    return folder


def test_sheets_show_the_same_noise_from_the_untrained_to_the_trained_model(tmp_path):
    folder = with_sheets(tmp_path / "run", every=2)
    sheets = stored_sheets(folder / "samples")
    assert list(sheets) == [0, 2, 4, 6]
    last, _ = _read_sheet(sheets[6])
    expected = genrev.load(folder).sample(len(last), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(last, expected, rtol=0, atol=0.5 / 255 + 1e-6)
    first, _ = _read_sheet(sheets[0])
    assert not torch.equal(first, last)


def test_a_short_run_has_a_sheet_of_its_end(tmp_path):
    folder = with_sheets(tmp_path / "run", every=500)
    assert list(stored_sheets(folder / "samples")) == [0, 6]


def test_drawing_changes_nothing_in_the_training(tmp_path):
    often, never = with_sheets(tmp_path / "often", 1), with_sheets(tmp_path / "never", 100)
    assert_same_weights(weights(often), weights(never))
