"""Commands on a run whose data has had a class renamed since, as somebody tidying up would do."""

import json
import shutil

import pytest
from PIL import Image
from run_files import config_of, cut_short
from spoken import spoken

from genrev.cli.main import main
from genrev.data import load_images
from genrev.training import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, and the folder of two classes that it was trained on."""
    root = tmp_path_factory.mktemp("renamed")
    digits = load_images("digits")
    for split, start in (("Train", 0), ("Test", 60)):
        for label, name in enumerate("ab"):
            place = root / "data" / split / name
            place.mkdir(parents=True)
            images = digits.images[digits.labels == label][start : start + 60]
            for number, image in enumerate(images):
                Image.fromarray(image[0]).save(place / f"{number}.png")
    config = config_of(
        batch_size=20,
        data=str(root / "data"),
        network={"hidden_channels": [4, 4]},
        prior={"active_dims": 4},
        engine={"drift_every": None},
        trainer={"max_steps": 4, "checkpoint_every": 2, "sample_every": 100},
    )
    train(config, root / "run")
    return root


def genrev(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    return status, *spoken(capsys)


@pytest.fixture
def renamed(folder):
    for split in ("Train", "Test"):
        (folder / "data" / split / "b").rename(folder / "data" / split / "A")
    yield folder
    for split in ("Train", "Test"):
        (folder / "data" / split / "A").rename(folder / "data" / split / "b")


def test_the_model_knows_the_names(folder):
    assert json.loads((folder / "run/config.json").read_text())["class_names"] == ["a", "b"]


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "RUN", "-n", "20", "--metrics", "latent"],
        ["fit-prior", "RUN", "--components", "1", "--out", "OUT"],
        ["figures", "RUN", "--out", "OUT"],
    ],
    ids=lambda command: command[0],
)
def test_commands_name_the_class(capsys, renamed, tmp_path, command):
    places = {"RUN": renamed / "run", "OUT": tmp_path / "out"}
    status, _, err = genrev(capsys, *[places.get(word, word) for word in command])
    assert status == 2
    assert "the class A, which is none of a, b" in err
    assert len(err.splitlines()) == 1


def test_resume_refuses_and_leaves_the_run_as_it_is(capsys, renamed, tmp_path):
    run = cut_short(renamed / "run", tmp_path / "run", 2)
    status, _, err = genrev(capsys, "resume", run)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert not (run / "model.safetensors").exists()


def test_resume_goes_on_where_nothing_was_renamed(capsys, folder, tmp_path):
    run = cut_short(folder / "run", tmp_path / "run", 2)
    assert genrev(capsys, "resume", run)[0] == 0
    assert (run / "model.safetensors").read_bytes() == (
        folder / "run/model.safetensors"
    ).read_bytes()


def test_every_command_says_once_how_data_was_understood(capsys, folder, tmp_path):
    said = "data data: train 120, test 120, 2 classes (a, b)\n"
    run, out = folder / "run", tmp_path / "out"
    for command in (
        ["evaluate", run, "-n", 20, "--metrics", "latent"],
        ["fit-prior", run, "--components", 1, "--out", out],
        ["reconstruct", run, "--out", tmp_path / "a.png"],
        ["interpolate", run, "--out", tmp_path / "b.png"],
    ):
        main([str(word) for word in command])
        err = capsys.readouterr().err
        assert err.count("data data:") == err.count(said) == 1, command


def test_images_that_are_left_out_are_named(capsys, folder, tmp_path):
    (tmp_path / "notes.txt").touch()
    shutil.copy(folder / "data/Train/a/0.png", tmp_path / "0.jfif")
    out = tmp_path.parent / f"{tmp_path.name}.png"
    status, _, err = genrev(
        capsys, "reconstruct", folder / "run", "--images", tmp_path, "--out", out
    )
    assert status == 0
    assert err == f"{tmp_path}: skipped 1 file other than images: notes.txt\n"
