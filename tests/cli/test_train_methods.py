"""`genrev train` with methods, phases, seeds and its help."""

import json
from pathlib import Path

import pytest
import yaml
from spoken import spoken

from genrev.cli.main import main
from genrev.cli.train import read_arguments
from genrev.recipes import keys_of

RECIPE = {
    "batch_size": 20,
    "data": {"source": "digits", "limit": 200},
    "network": {
        "image_size": 8,
        "channels": 1,
        "hidden_channels": [4],
        "blocks": [1],
        "kernel_sizes": [3],
    },
    "prior": {"kind": "gaussian", "active_dims": 6},
    "method": {"name": "matching", "reconstruction_steps": 2},
    "trainer": {"max_steps": 4, "accelerator": "cpu", "threads": 1, "progress": False},
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(RECIPE))


def genrev(capsys, *arguments):
    status = main(list(arguments))
    return status, *spoken(capsys)


def test_keys_follow_the_method_wherever_it_is_named(tmp_path):
    (tmp_path / "other.yaml").write_text("method: matching\n")
    (tmp_path / "empty.yaml").write_text("seed: 3\n")
    for extra in (["--config", "other.yaml"], ["--method", "matching"]):
        # Before the method as well as after it.
        for arguments in (
            ["--method.criterion", "sliced", *extra],
            [*extra, "--method.criterion=sliced"],
        ):
            config, _ = read_arguments(["empty.yaml", *arguments, "--out", "runs/x"])
            method = config.method
            assert (method.name, method.options.criterion, config.seed) == ("matching", "sliced", 3)


def test_phases_one_after_the_other(capsys):
    first = ["train", "mine.yaml", "--trainer.max_steps", "2", "--out", "first"]
    assert genrev(capsys, *first)[0] == 0
    second = ["train", "mine.yaml", "--method.reconstruction_run", "first"]
    second += ["--out", "second"]
    assert genrev(capsys, *second)[0] == 0
    config = yaml.safe_load(Path("second/config.yaml").read_text())
    assert config["method"]["reconstruction_run"] == str(Path("first").absolute())
    assert genrev(capsys, "sample", "second", "-n", "4", "--out", "s.png")[0] == 0


def test_seeds_and_their_resume(capsys, tmp_path):
    status, out, err = genrev(capsys, "train", "mine.yaml", "--seeds", "2", "--out", "runs")
    assert (status, err) == (0, "")
    assert "genrev figures runs\n" in out
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == [
        "reconstruction", "seed0", "seed1", "seeds.yaml",
    ]  # fmt: skip
    weights = tmp_path / "runs/seed1/model.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    status, out, err = genrev(capsys, "resume", "runs")
    assert (status, err) == (0, "")
    assert weights.read_bytes() == before
    (tmp_path / "runs/seeds.yaml").write_text("seeds: many\n")
    status, _, err = genrev(capsys, "resume", "runs")
    assert status == 2
    assert "was not written by" in err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["mine.yaml", "--method.transport_start", "1", "--out", "x"], "for --method transport"),
        (["mine.yaml", "--method", "magic", "--out", "x"], "one of transport, matching, baseline"),
        (
            ["digits-transport", "--seeds", "2", "--out", "x"],
            "such as --method matching, and this is transport",
        ),
        (["mine.yaml", "--seeds", "0", "--out", "x"], "--seeds takes a number of 1 or more"),
        (["mine.yaml", "--seeds", "two", "--out", "x"], "got 'two'"),
        (["mine.yaml", "--method.reconstruction_run", "no", "--out", "x"], "no run or model 'no'"),
        (
            ["digits-transport", "--method.reconstruction_steps", "3", "--out", "x"],
            "for --method matching",
        ),
        (["digits-transport", "--prior", "mixture", "--out", "x"], "choose class-gaussian"),
        (["mine.yaml", "--network", "wae8", "--method", "likelihood", "--out", "x"], "revnet"),
        (["mine.yaml"], "add --out runs/mine"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_get_one_sentence_and_status_2(capsys, tmp_path, command, message):
    status, out, err = genrev(capsys, "train", *command)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]


def test_help_without_a_recipe_lists_recipes_and_options(capsys):
    status, out, _ = genrev(capsys, "train", "--help")
    assert status == 0
    for text in (
        "faces-small-released",
        "--seeds N",
        "--plugin FILE",
        "--config FILE",
        "--out RUN",
    ):
        assert text in out, text
    assert "--method.transport_start" not in out


@pytest.mark.parametrize(
    "line",
    [
        ["digits", "--method.reconstruction_weight", "7"],
        ["faces-small", "--prior", "mixture"],
        ["digits-vae"],
        ["digits-flow-gan", "--network.coupling=affine"],
    ],
    ids=lambda line: line[0],
)
def test_help_of_a_recipe_has_every_key_with_its_value_and_description(capsys, line):
    status, out, _ = genrev(capsys, "train", *line, "--help")
    assert status == 0
    config, _ = read_arguments([*line, "--out", "x"])
    plain, words = config.plain(), " ".join(out.split())
    for key in keys_of(config):
        section, _, option = key.name.rpartition(".")
        value = plain[section][option] if section else plain[option]
        assert f"--{key.name} {json.dumps(value)}" in out, key.name
        assert " ".join(key.field.description.split()) in words, key.name
    for section, option in (("network", "network.kind"), ("prior", "prior"), ("method", "method")):
        assert f"{section}: {getattr(config, section).name} (--{option} takes " in out
