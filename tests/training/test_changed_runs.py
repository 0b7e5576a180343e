"""A run goes on as what it began, or says in a sentence what has changed."""

import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pydantic import Field
from run_files import ONE_LAYER, assert_same_weights, changed, config_of, cut_short, weights
from spoken import spoken

from genrev.cli.main import main
from genrev.errors import GenrevError
from genrev.options import Options
from genrev.recipes import parse_config
from genrev.training import Choice, resume, train, train_several
from genrev.training.run.beginning import filled_in

CONFIG = config_of(
    batch_size=4,
    network=ONE_LAYER,
    prior={"active_dims": 4},
    trainer={"max_steps": 6, "checkpoint_every": 4, "log_every": 1},
)


def write_classes(folder, classes="ab", n=6, seed=0):
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = generator.integers(0, 255, (8, 8), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A whole run, its data beside it."""
    folder = tmp_path_factory.mktemp("origin")
    data = write_classes(folder / "images")
    train(changed(CONFIG, data=str(data)), folder / "whole")
    return folder


@pytest.fixture
def run(origin, tmp_path):
    """The run as it was left after its fourth step, with images of its own."""
    shutil.copytree(origin / "images", tmp_path / "images")
    folder = cut_short(origin / "whole", tmp_path / "run", 4)
    change(folder, "data.source", str(tmp_path / "images"))
    return folder


def change(run, key, value):
    file = run / "config.yaml"
    values = yaml.safe_load(file.read_text())
    *sections, last = key.split(".")
    place = values
    for section in sections:
        place = place[section]
    place[last] = value
    file.write_text(yaml.safe_dump(values))


def state(run):
    return {p.name: p.read_bytes() for p in run.rglob("*") if p.is_file()}


def refused(run, capsys, *words):
    before = state(run)
    assert main(["resume", str(run)]) == 2
    error = spoken(capsys)[1]
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    assert all(word in error for word in words), error
    assert state(run) == before


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("seed", 1, "seed was 0 and is 1"),
        ("batch_size", 8, "batch_size was 4 and is 8"),
        ("optimizer.lr", 0.5, "optimizer.lr was 0.001 and is 0.5"),
        ("optimizer.ema", 0.9, "optimizer.ema was null and is 0.9"),
        ("prior.active_dims", 5, "prior.active_dims was 4 and is 5"),
        ("prior.lr", 0.5, "prior.lr was 0.001 and is 0.5"),
        ("network.hidden_channels", [8], "network.hidden_channels was [4] and is [8]"),
        ("method.transport_memory", 1, "method.transport_memory was 0 and is 1"),
        ("method", "semi", 'method was "transport" and is semi'),
        ("engine.precision", "bf16", 'engine.precision was "float32" and is "bf16"'),
        ("engine.exact", True, "engine.exact was false and is true"),
        ("trainer.max_steps", 3, "has done 4 steps and is to end after 3"),
        ("data.limit", 8, "data.limit was null and is 8"),
    ],
)
def test_a_changed_option_is_named(run, capsys, key, value, words):
    change(run, key, value)
    refused(run, capsys, words)


def test_added_images_are_told(run, tmp_path, capsys):
    shutil.copy(tmp_path / "images/a/0.png", tmp_path / "images/a/9.png")
    refused(run, capsys, "the train images were 12 and are 13")


def test_a_run_whose_checkpoints_are_damaged_begins_again_and_says_so(
    origin, run, tmp_path, capsys
):
    for checkpoint in (run / "checkpoints").iterdir():
        checkpoint.write_bytes(b"")
    images = tmp_path / "images" / "a"
    shutil.copy(images / "0.png", images / "more.png")
    before = state(run)
    with pytest.warns(UserWarning, match="cannot be read .* begins again"):
        assert main(["resume", str(run)]) == 2
    assert "images were" in spoken(capsys)[1]
    assert state(run) == before
    (images / "more.png").unlink()
    with pytest.warns(UserWarning, match="begins again"):
        assert main(["resume", str(run)]) == 0
    assert_same_weights(weights(run), weights(origin / "whole"))


def test_other_pixels_are_told(run, tmp_path, capsys):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "images/a/0.png")
    refused(run, capsys, "the train images or their labels are others")


def test_a_renamed_class_is_told(run, tmp_path, capsys):
    (tmp_path / "images/b").rename(tmp_path / "images/A")
    refused(run, capsys, "the classes were a, b and are A, a")


def test_a_renamed_class_is_told_though_its_number_is_the_same(run, tmp_path, capsys):
    (tmp_path / "images/b").rename(tmp_path / "images/c")
    refused(run, capsys, "the classes were a, b and are a, c")


def test_a_path_that_was_written_in_another_way_is_no_change(origin, tmp_path, capsys, monkeypatch):
    shutil.copytree(origin / "images", tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    train(changed(CONFIG, data="images"), "whole")
    folder = cut_short(tmp_path / "whole", tmp_path / "run", 4)
    shutil.copy("images/a/0.png", "images/a/9.png")
    capsys.readouterr()
    assert main(["resume", str(folder)]) == 2
    assert "data.source" not in spoken(capsys)[1]


def test_an_added_class_is_told(run, tmp_path, capsys):
    write_classes(tmp_path / "images", classes="c")
    refused(run, capsys, "the classes were a, b and are a, b, c")


def test_the_same_images_elsewhere_and_other_reports_are_no_change(origin, run, tmp_path, capsys):
    (tmp_path / "images").rename(tmp_path / "moved")
    change(run, "data.source", str(tmp_path / "moved"))
    change(run, "trainer.log_every", 2)
    change(run, "trainer.checkpoint_every", 3)
    change(run, "engine.memory", "reversible")
    assert main(["resume", str(run)]) == 0
    assert_same_weights(weights(origin / "whole"), weights(run))


def test_a_run_can_be_made_longer_and_says_so(run):
    config = parse_config(yaml.safe_load((run / "config.yaml").read_text()), "file")
    assert resume(changed(config, trainer={"max_steps": 9}), run) is not None
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_steps"] == 9


def test_options_that_are_newer_than_a_run_had_their_defaults():
    class Newer(Options):
        width: int
        both: tuple[float, float] = (0.5, 1.0)
        several: tuple[int, ...] = Field(default_factory=lambda: (3, 4))

    config = CONFIG.replace(method=Choice(name="newer", options=Newer(width=2)))
    old = config.plain()
    assert filled_in({"method": {"name": "newer", "width": 2}}, config)["method"] == old["method"]
    kept = old["method"] | {"both": [0.0, 2.0]}
    assert filled_in({"method": kept}, config)["method"] == kept


def test_python_is_told_as_well(run):
    config = parse_config(yaml.safe_load((run / "config.yaml").read_text()), "file")
    with pytest.raises(GenrevError, match="seed was 0 and is 1"):
        resume(changed(config, seed=1), run)


def test_a_checkpoint_from_before_goes_on(origin, run):
    checkpoint = run / "checkpoints/step4.ckpt"
    values = torch.load(checkpoint, weights_only=True)
    del values["genrev"]
    torch.save(values, checkpoint)
    assert main(["resume", str(run)]) == 0
    assert_same_weights(weights(origin / "whole"), weights(run))


def test_seeds_are_all_of_one_configuration_and_of_the_same_images(tmp_path, capsys):
    data = write_classes(tmp_path / "images")
    config = changed(
        CONFIG,
        data=str(data),
        prior={"kind": "gaussian", "active_dims": 4},
        method={"name": "matching", "discriminator_hidden": [4, 4], "reconstruction_steps": 2},
        trainer={"max_steps": 3},
    )
    runs = tmp_path / "runs"
    assert train_several(config, runs, 1)
    plan = yaml.safe_load((runs / "seeds.yaml").read_text())
    (runs / "seeds.yaml").write_text(yaml.safe_dump(plan | {"seeds": 2}))
    shutil.copy(data / "a/0.png", data / "a/9.png")
    refused(runs, capsys, "reconstruction cannot go on", "images were 12 and are 13")
    (data / "a/9.png").unlink()
    plan["config"]["optimizer"]["lr"] = 0.5
    (runs / "seeds.yaml").write_text(yaml.safe_dump(plan | {"seeds": 2}))
    refused(runs, capsys, "optimizer.lr was")
