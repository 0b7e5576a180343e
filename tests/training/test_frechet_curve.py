"""The Fréchet distance through training: its value, its cost to the run, its cache."""

import math
import shutil
from dataclasses import replace

import pytest
import torch
from run_files import metrics, weights
from torch import nn

import genrev
from genrev.data import DataConfig, load_images
from genrev.errors import GenrevError
from genrev.evaluation import evaluate
from genrev.networks import RevNetConfig
from genrev.training import (
    EngineConfig,
    RunConfig,
    RunFolder,
    TrainerConfig,
    TransportConfig,
    frechet_curve,
    resume,
    train,
)

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")

CONFIG = RunConfig(
    batch_size=40,
    data=DataConfig(source="digits"),
    model=TransportConfig(
        network=RevNetConfig(
            image_size=8, channels=1, hidden_channels=(6,), blocks=(1,), kernel_sizes=(3,)
        ),
        active_dims=6,
        reconstruction_weight=10.0,
    ),
    engine=EngineConfig(drift_every=None),
    trainer=TrainerConfig(
        max_steps=9,
        accelerator="cpu",
        threads=1,
        log_every=2,
        checkpoint_every=6,
        sample_every=100,
        frechet_every=3,
        frechet_samples=120,
        progress=False,
    ),
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
    without = replace(CONFIG, trainer=replace(CONFIG.trainer, frechet_every=None))
    train(without, tmp_path / "without")
    assert "frechet" not in metrics(tmp_path / "without")[0]
    shutil.copytree(run, tmp_path / "cut")
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "cut" / name).unlink()
    resume(CONFIG, tmp_path / "cut")
    for resumed, whole in zip(metrics(tmp_path / "cut"), metrics(run), strict=True):
        # Matrix products may round by where in memory they lie, and eigenvalues with them.
        distances = [float(row.pop("frechet") or 0) for row in (resumed, whole)]
        assert distances[0] == pytest.approx(distances[1], rel=1e-6)
        assert resumed == whole
    expected = weights(run)
    for other in ("without", "cut"):
        found = weights(tmp_path / other)
        assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_model_of_the_lowest_distance_is_kept(tmp_path, capsys):
    """With a rate that leads astray, so that the last measurement is not the lowest."""
    config = replace(
        CONFIG,
        model=replace(CONFIG.model, lr=0.3),
        trainer=replace(CONFIG.trainer, keep_best=True, max_steps=12),
    )
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
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "cut" / name).unlink()
    resume(config, tmp_path / "cut")  # from step 6 on
    assert genrev.load(tmp_path / "cut" / "best").info["frechet"] == measured[step]

    with pytest.raises(GenrevError, match=r"--trainer\.frechet_every"):
        train(replace(config, trainer=replace(config.trainer, frechet_every=None)), tmp_path / "no")


def test_features_of_a_file_for_data_without_labels(tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    for i in range(20):
        Image.effect_noise((8, 8), 40 + i).save(tmp_path / f"images/{i}.png")
    data = DataConfig(source=str(tmp_path / "images"))
    config = replace(CONFIG, data=data, batch_size=10)
    with pytest.raises(GenrevError, match=r"no labels .* --trainer\.frechet_features"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    trainer = replace(CONFIG.trainer, frechet_features=features_file(tmp_path))
    train(replace(config, trainer=trainer), tmp_path / "run")
    assert float(metrics(tmp_path / "run")[-1]["frechet"]) > 0


def test_a_file_that_is_not_there(tmp_path):
    trainer = replace(CONFIG.trainer, frechet_features="none.pt")
    with pytest.raises(GenrevError, match=r"cannot read the feature extractor none\.pt"):
        train(replace(CONFIG, trainer=trainer), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_samples_that_are_not_finite_are_infinitely_far(run):
    model = genrev.load(run)
    with torch.no_grad():
        model.prior.mean.fill_(float("nan"))
    curve = frechet_curve.FrechetCurve(CONFIG.trainer, RunFolder("unused"))
    curve.prepare(load_images("digits"), torch.device("cpu"), first=True)
    assert curve.number(model) == math.inf


def test_other_ranks_hear_of_the_result_and_measure_nothing(run):
    curve = frechet_curve.FrechetCurve(CONFIG.trainer, RunFolder("unused"))
    curve.prepare(load_images("digits"), torch.device("cpu"), first=False)
    assert curve._extractor is None
