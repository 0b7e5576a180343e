"""Table 1 in one command, at toy size: the shipped recipes on 8x8 images and networks for them."""

import json
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import genrev
from genrev import figures
from genrev.bench import table1
from genrev.cli.main import main
from genrev.errors import GenrevError
from genrev.files.readers import dump_yaml
from genrev.recipes import load_recipe, merge, read_recipe, read_run_config

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")

NETWORKS = {"celeba64": "digits", "wae64": "wae8"}
SMALL = {
    "batch_size": 8,
    "network": {"channels": 3},
    "trainer": {"progress": False, "accelerator": "cpu", "threads": 1},
}
MATCHING = {
    "prior": {"active_dims": 8},
    "method": {"prior_samples": 8, "discriminator_hidden": [4, 4]},
}
MINUTES = "0.004"


class Means(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)


def write_toy_recipe(name, folder):
    """A shipped recipe as a file, on a small network and on small batches."""
    values = merge(read_recipe(name)[1], SMALL)
    preset = values["network"]["preset"]
    values["network"]["preset"] = NETWORKS[preset]
    if preset == "celeba64":
        values = merge(values, MATCHING)
    if values.get("prior", {}).get("kind") == "flow-matching":
        values["prior"] |= {"layers": 1, "hidden": 8, "steps": 5}
    path = folder / f"{name}.yaml"
    path.write_text(dump_yaml(values))
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of 10x10 images without labels, which are to become 8x8."""
    folder = tmp_path_factory.mktemp("faces")
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (60, 10, 10, 3))):
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "means.pt"
    torch.jit.save(torch.jit.script(Means()), str(path))
    return path


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    return tuple(write_toy_recipe(name, folder) for name in table1.RECIPES)


@pytest.fixture(autouse=True)
def _toys(monkeypatch, toys):
    monkeypatch.setattr(table1, "RECIPES", toys)


def call(data, features, out, *more, minutes=MINUTES):
    line = ["bench", "table1", "--minutes", minutes, "--data", str(data), "--out", str(out)]
    return main([*line, "-n", "20", "--features", str(features), *more])


def times(out):
    return {path: path.stat().st_mtime_ns for path in out.glob("*/model.safetensors")}


def test_it_goes_on_where_it_stopped_and_repeats_nothing(
    data, features, tmp_path, monkeypatch, capsys
):
    drawing = {"samples": figures.FIGURES["samples"]}  # one figure stands for all
    monkeypatch.setattr("genrev.figures.figure.FIGURES", drawing)
    out, train = tmp_path / "table", table1.training.train
    begun = []

    def interrupted(config, run):
        begun.append(run.name)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return train(config, run)

    monkeypatch.setattr(table1.training, "train", interrupted)
    assert call(data, features, out) == 130
    first = times(out)
    names = ["celeba", "celeba-paper", "celeba-vae", "celeba-wae-mmd", "celeba-wae-gan"]
    assert begun == names[:3]
    assert sorted(path.parent.name for path in first) == names[:2]

    monkeypatch.setattr(table1.training, "train", train)
    (out / names[1] / "model.safetensors").unlink()  # as if the end was not reached
    capsys.readouterr()
    assert call(data, features, out, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    second = times(out)
    assert sorted(path.parent.name for path in second) == sorted(names)
    kept = out / names[0] / "model.safetensors"
    assert second[kept] == first[kept]
    assert [row["recipe"] for row in result["comparison"]["models"]] == names
    assert result["comparison"]["samples"] == 20
    assert result["failed"] == {}
    assert (out / "compare" / "compare.md").is_file()
    pictures = {path: path.stat().st_mtime_ns for path in out.glob("*/figures/samples.png")}
    assert len(pictures) == 5

    assert call(data, features, out) == 0
    printed = capsys.readouterr().out
    assert "| celeba-wae-gan |" in printed
    assert "0.004 minutes of training for each model" in printed
    assert times(out) == second
    assert {path: path.stat().st_mtime_ns for path in pictures} == pictures

    assert call(data, features, out, minutes="1") == 2
    told = f"genrev: {out} was begun with --minutes 0.004 --data {data}; say so again"
    assert told in capsys.readouterr().err


def test_every_run_comes_to_the_end_of_its_schedule(data, tmp_path):
    plan = table1.Plan.begin(tmp_path, 0.004, str(data))
    plan.steps = dict.fromkeys(table1.RECIPES, 10)
    table1.train_all(plan)
    for run in plan.finished():
        config = read_run_config(run)
        assert (config.trainer.max_steps, config.trainer.max_minutes) == (10, 0.004)
        assert config.data.image_size == 8
        assert genrev.load(run).image_shape == (3, 8, 8)
    paper = read_run_config(plan.run(table1.RECIPES[1])).method.options
    assert paper.reconstruction_steps == 5  # half of the steps, as in the recipe


def test_a_training_that_breaks_off_is_told_and_does_not_stop_the_others(
    data, tmp_path, monkeypatch
):
    train = table1.training.train

    def diverging(config, run):
        if run.name == "celeba-vae":
            raise GenrevError("The loss stopped being finite.")
        run.mkdir()
        (run / "model.safetensors").touch()
        (run / "config.json").touch()
        return config

    monkeypatch.setattr(table1.training, "train", diverging)
    plan = table1.Plan.begin(tmp_path, 0.004, str(data))
    plan.steps = dict.fromkeys(table1.RECIPES, 10)
    assert len(table1.train_all(plan)) == 4
    assert plan.failed == {table1.RECIPES[2]: "The loss stopped being finite."}
    again = table1.Plan.begin(tmp_path, 0.004, str(data))
    assert vars(again) == vars(plan)
    assert train is not diverging


def test_steps_fill_the_time_in_the_shares_of_the_phases(data, monkeypatch):
    config = table1._config(table1.RECIPES[1], str(data))
    images = genrev.load_images(config.data)
    half = config.trainer.max_steps // 2

    def seconds(step, batch, start, longest):
        assert batch.shape == (8, 3, 8, 8)
        assert longest == 0.05 * 60 * 2
        return {0: 0.1, half: 0.3}[start]

    monkeypatch.setattr(table1, "_seconds", seconds)
    assert table1.timed_steps(config, 2, images) == int(0.9 * 120 / 0.2)


def test_a_step_is_timed_by_the_clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    numbers = []

    def step(batch, number):
        numbers.append(number)
        now[0] += 0.5 if number % 2 else 1.5
        return {"loss": torch.zeros(())}

    assert table1._seconds(step, torch.zeros(1), 4, longest=3) == 1
    assert numbers == [4, 5, 6, 7, 8, 9]  # the first two to warm up


def test_images_without_features_are_refused_before_the_first_training(data, tmp_path, capsys):
    line = ["bench", "table1", "--minutes", "1", "--data", str(data), "--out", str(tmp_path / "o")]
    assert main(line) == 2
    assert "name others with --features FILE" in capsys.readouterr().err
    assert not list(tmp_path.rglob("config.yaml"))


def test_the_shipped_recipes_are_taken_at_their_size(monkeypatch):
    monkeypatch.undo()
    for name in table1.RECIPES:
        config = table1._config(name, "faces", 60, 1000)
        assert (config.data.source, config.data.image_size, config.data.channels) == (
            "faces",
            64,
            3,
        )
        own = load_recipe(name)
        changed = {
            "max_steps": 1000,
            "max_minutes": 60,
            "sample_every": 50,
            "checkpoint_every": 100,
        }
        assert config.trainer == own.trainer.replace(**changed)
        assert config.network == own.network
        assert config.optimizer == own.optimizer
    assert table1._config("celeba-paper", "faces", 60, 1000).method.options == (
        load_recipe("celeba-paper").method.options.replace(reconstruction_steps=500)
    )


@pytest.mark.parametrize(
    ("minutes", "sheets", "checkpoints"), [(0.01, 1, 1), (2, 12, 2), (9, 20, 9)]
)
def test_a_short_run_does_not_spend_its_time_on_sheets_and_checkpoints(
    monkeypatch, minutes, sheets, checkpoints
):
    monkeypatch.undo()
    trainer = table1._config("celeba", "faces", minutes, 3600).trainer
    assert trainer.sample_every == min(1000, 3600 // sheets)
    assert trainer.checkpoint_every == min(1000, 3600 // checkpoints)
