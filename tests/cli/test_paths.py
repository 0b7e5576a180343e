"""Every path is what was meant: ~ is the home folder, and all else is a plain name."""

import pwd
import shutil
import subprocess

import numpy as np
import pytest
import yaml
from PIL import Image

import genrev
from genrev.cli import train as train_command
from genrev.cli.main import main
from genrev.data import DataConfig, load_images
from genrev.errors import GenrevError
from genrev.models import save
from genrev.training import RunFolder

RECIPE = {
    "batch_size": 20,
    "data": {"source": "digits"},
    "network": {
        "image_size": 8,
        "channels": 1,
        "hidden_channels": [4],
        "blocks": [1],
        "kernel_sizes": [1],
    },
    "prior": {"active_dims": 4},
    "trainer": {
        "max_steps": 3,
        "accelerator": "cpu",
        "threads": 1,
        "progress": False,
        "checkpoint_every": 2,
        "log_every": 1,
    },
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    monkeypatch.setenv("HOME", str(folder))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def done(*words):
    assert main(list(words)) == 0


def test_a_tilde_is_the_home_folder_everywhere(home, tmp_path):
    generator = np.random.default_rng(0)
    (home / "images").mkdir()
    for i in range(20):
        pixels = generator.integers(0, 255, (8, 8), np.uint8)
        Image.fromarray(pixels).save(home / f"images/{i}.png")
    (home / "more.yaml").write_text("data: {source: ~/images, cache: ~/cache}\n")
    done("train", "~/tiny.yaml", "--config=~/more.yaml", "--out=~/run")
    assert (home / "cache/data").is_dir()
    (home / "run/model.safetensors").unlink()
    done("resume", "~/run")
    done("sample", "~/run", "--out=~/sheet.png", "--npz=~/array.npz")
    done("reconstruct", "~/run", "--images", "~/images/0.png", "--out=~/rows.png")
    done("export", "~/run", "--to=~/weights.safetensors")
    done("push", "~/run", "owner/name", "--dry-run=~/card")
    model = genrev.load("~/run")
    save(model, "~/saved")
    model.save_pretrained("~/pretrained")
    type(model).from_pretrained("~/pretrained", local_files_only=True)
    assert RunFolder("~/run").finished
    assert len(load_images("~/images")) == 20
    made = ("sheet.png", "array.npz", "rows.png", "weights.safetensors", "card", "saved")
    assert all((home / name).exists() for name in made)
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("name", ["a::b", "file:x$HOME", "http-run", "zip:a::b [0]*", "-run"])
def test_names_are_plain_names(home, name):
    done("train", str(home / "tiny.yaml"), f"--out={name}")
    run = RunFolder(f"./{name}")
    assert any(path.name.startswith("events") for path in run.path.iterdir())
    (run.path / "model.safetensors").unlink()
    done("resume", f"./{name}")
    assert run.finished
    assert [path.name for path in run.path.parent.iterdir()] == [name]


COMMANDS = {
    "--out": ["train", "digits", "--out=~nosuchuser/run"],
    "--config": ["train", "digits", "--config=~nosuchuser/x.yaml", "--out=run"],
    "--data": ["train", "digits", "--data=~nosuchuser/x", "--out=run"],
    "--data.cache": ["train", "digits", "--data.cache=~nosuchuser/x", "--out=run"],
    "argument RUN": ["sample", "~nosuchuser/run"],
    "argument --npz": ["sample", "mnist", "--npz=~nosuchuser/x.npz"],
    "argument --features": ["evaluate", "mnist", "--features=~nosuchuser/x.pt"],
    "argument --to": ["export", "mnist", "--to=~nosuchuser/x.onnx"],
}


@pytest.mark.parametrize("option", COMMANDS)
def test_a_home_folder_that_is_not_there_is_told(home, capsys, option):
    assert main(COMMANDS[option]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"genrev: {option}")
    assert "~nosuchuser" in error
    assert "home folder" in error
    assert not list(home.parent.joinpath("here").iterdir())


@pytest.mark.parametrize("variable", [None, ""])
def test_a_user_without_a_home_folder_is_told(tmp_path, monkeypatch, variable):
    def unknown(uid):
        raise KeyError(f"uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("GENREV_CACHE", raising=False)
    monkeypatch.delenv("HOME") if variable is None else monkeypatch.setenv("HOME", variable)
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    with pytest.raises(GenrevError, match="GENREV_CACHE"):
        load_images(str(tmp_path))
    with pytest.raises(GenrevError, match="variable HOME"):
        genrev.load("~/run")
    assert len(load_images(DataConfig(source=str(tmp_path), cache=str(tmp_path / "cache")))) == 1


def test_a_folder_called_tilde_can_be_named(home):
    done("train", str(home / "tiny.yaml"), "--out=./~run")
    assert main(["sample", "./~run", "--out", "./~sheet.png"]) == 0
    assert sorted(p.name for p in home.parent.joinpath("here").iterdir()) == ["~run", "~sheet.png"]


def next_steps(text):
    """The commands that were printed, as a shell takes them apart."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("  genrev ")]
    shell = shutil.which("sh") or "sh"
    script = "\n".join(f"printf '%s\\0' {line.removeprefix('genrev ')}; echo" for line in lines)
    out = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True).stdout
    return [line.split("\0")[:-1] for line in out.splitlines()]


@pytest.mark.parametrize("split", ["", "train"])  # images of no split, and of one only
def test_what_is_printed_as_the_next_step_works(home, capsys, split):
    folder = home.parent / "my images" / split
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for i in range(12):
        pixels = generator.integers(0, 255, (8, 8), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    method = {"name": "matching", "reconstruction_steps": 1, "discriminator_hidden": [4, 4]}
    recipe = RECIPE | {"method": method, "prior": {"active_dims": 2}, "batch_size": 4}
    (home / "faces.yaml").write_text(yaml.safe_dump(recipe))
    begin = ["train", "~/faces.yaml", "--data", "../my images"]
    done(*begin, "--seeds", "1", "--out", "-it's $HOME")
    told = next_steps(capsys.readouterr().out)
    done("fit-prior", "./-it's $HOME/seed0", "--components", "1")
    told += next_steps(capsys.readouterr().out)
    assert [words[0] for words in told] == ["figures", "evaluate", "sample", "evaluate"]
    for words in told:
        assert main(words) == 0, capsys.readouterr().err
    assert (home.parent / "here/-it's $HOME/figures/losses_seed0.png").is_file()


def test_a_folder_that_is_taken_is_told_before_anything_is_imported(tmp_path, capsys, monkeypatch):
    (tmp_path / "config.yaml").touch()
    monkeypatch.setattr(train_command, "_config", lambda line: pytest.fail("imported"))
    assert main(["train", "digits", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "exists already and is kept as it is; name another folder with --out, or go on" in told
    assert "importing" not in told
