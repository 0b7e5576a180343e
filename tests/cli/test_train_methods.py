"""`genrev train` with methods, phases and seeds."""

from pathlib import Path

import pytest
import yaml
from spoken import spoken

from genrev.cli.main import main
from genrev.cli.train import read_arguments

RECIPE = {
    "batch_size": 20,
    "data": {"source": "digits", "limit": 200},
    "method": "matching",
    "model": {
        "network": {
            "image_size": 8,
            "channels": 1,
            "hidden_channels": [4],
            "blocks": [1],
            "kernel_sizes": [3],
        },
        "active_dims": 6,
    },
    "phases": {"reconstruction_steps": 2},
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
            ["--model.matching", "sliced", *extra],
            [*extra, "--model.matching=sliced"],
        ):
            config, _ = read_arguments(["empty.yaml", *arguments, "--out", "runs/x"])
            assert (config.method, config.model.matching, config.seed) == ("matching", "sliced", 3)


def test_phases_one_after_the_other(capsys):
    first = ["train", "mine.yaml", "--trainer.max_steps", "2", "--out", "first"]
    assert genrev(capsys, *first)[0] == 0
    second = ["train", "mine.yaml", "--phases.reconstruction", "first", "--out", "second"]
    assert genrev(capsys, *second)[0] == 0
    config = yaml.safe_load(Path("second/config.yaml").read_text())
    assert config["phases"]["reconstruction"] == str(Path("first").absolute())
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
        (["mine.yaml", "--model.transport_start", "1", "--out", "x"], "for --method transport"),
        (["mine.yaml", "--method", "magic", "--out", "x"], "one of transport, matching, baseline"),
        (["digits", "--seeds", "2", "--out", "x"], "--seeds is for --method matching"),
        (["mine.yaml", "--seeds", "0", "--out", "x"], "--seeds takes a number of 1 or more"),
        (["mine.yaml", "--seeds", "two", "--out", "x"], "got 'two'"),
        (["mine.yaml", "--phases.reconstruction", "no", "--out", "x"], "no run or model 'no'"),
        (["digits", "--phases.reconstruction_steps", "3", "--out", "x"], "--method matching"),
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


def test_help_has_the_keys_of_all_methods(capsys):
    status, out, _ = genrev(capsys, "train", "--help")
    assert status == 0
    for text in (
        "--model.transport_start", "--model.discriminator_lr", "--phases.reconstruction ",
        "--seeds N", "keys of --method matching", "faces-small-released", "fraction of the steps",
        "--model.network.factor_out", "--model.network.latent_dim", "is baseline",
    ):  # fmt: skip
        assert text in out, text
    for text in ("CONFIG", ".help"):  # of the parser, not of genrev
        assert text not in out, text
