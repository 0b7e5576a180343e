"""Photographs of any size go into a small network, whatever the command."""

import tarfile

import numpy as np
import pytest
from PIL import Image
from spoken import spoken

import genrev
from genrev.cli.main import main
from genrev.recipes import read_run_config

TRAIN = [
    "--trainer.max_steps", "4", "--trainer.progress", "false", "--trainer.threads", "1",
    "--batch_size", "40", "--prior.active_dims", "6", "--trainer.accelerator", "cpu",
]  # fmt: skip
BECOME = "images of 3x9x12 (channels x height x width) become 1x8x8"


def written(folder, *shape):
    for number in range(40):
        place = folder / "ab"[number % 2]
        place.mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return written(tmp_path_factory.mktemp("photos"), 9, 12, 3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = written(tmp_path_factory.mktemp("small"), 8, 8)
    out = tmp_path_factory.mktemp("fitting") / "run"
    assert main(["train", "digits-transport", "--data", str(data), *TRAIN, "--out", str(out)]) == 0
    return out


def test_a_training_fits_them_and_keeps_how(tmp_path, photos, capsys):
    run = tmp_path / "run"
    line = ["train", "digits-transport", "--data", str(photos), *TRAIN, "--out", str(run)]
    assert main(line) == 0
    assert BECOME in capsys.readouterr().err
    data = read_run_config(run).data
    assert (data.image_size, data.channels) == (8, 1)
    assert genrev.load(run).info["data"]["image_size"] == 8
    assert main(["evaluate", str(run), "-n", "20", "--metrics", "inversion"]) == 0
    assert "become" not in capsys.readouterr().err  # they do as they did in the training


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "RUN", "-n", "20", "--metrics", "inversion,latent"],
        ["fit-prior", "RUN", "--components", "1", "--covariance", "diag"],
        ["reconstruct", "RUN"],
        ["interpolate", "RUN", "--pairs", "2"],
    ],
)
def test_other_images_are_fitted_and_told(capsys, monkeypatch, tmp_path, run, photos, command):
    monkeypatch.chdir(tmp_path)
    words = [str(run) if word == "RUN" else word for word in command]
    assert main([*words, "--data", str(photos)]) == 0
    assert capsys.readouterr().err.count(BECOME) == 1


def test_single_files_are_told_too(capsys, monkeypatch, tmp_path, run, photos):
    monkeypatch.chdir(tmp_path)
    files = sorted(str(file) for file in (photos / "a").iterdir())
    assert main(["reconstruct", str(run), "--images", files[0]]) == 0
    assert f"data {files[0]} becomes 1x8x8" in capsys.readouterr().err
    assert main(["reconstruct", str(run), "--images", *files]) == 0
    assert "data 20 image files become 1x8x8" in capsys.readouterr().err


def test_an_image_file_is_read_once(monkeypatch, tmp_path, run, photos):
    read = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("PIL.ImageOps.exif_transpose", lambda image: read.append(image) or image)
    files = sorted(str(file) for file in (photos / "a").iterdir())[:2]
    assert main(["reconstruct", str(run), "--images", *files]) == 0
    assert len(read) == 2


def test_without_a_network_image_files_are_named_as_the_way_out(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("genrev.data.sources.hub.load_dataset", lambda *_, **__: 1 / 0)
    assert main(["interpolate", "mnist"]) == 2
    assert spoken(capsys)[1].endswith("; or name images with --images.\n")


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "RUN", "-n", "20", "--metrics", "inversion", "--data"],
        ["compare", "RUN", "--out", "compared", "-n", "20", "--seeds", "1", "--data"],
        ["fit-prior", "RUN", "--components", "1", "--covariance", "diag", "--data"],
        ["reconstruct", "RUN", "--data"],
        ["reconstruct", "RUN", "--images"],
        ["figures", "RUN", "--out", "figures", "--data"],
        ["distance", "digits", "--metrics", "frechet", "--image_size", "8", "--channels", "1"],
    ],
    ids=" ".join,
)
def test_every_command_can_go_on_without_a_damaged_file(
    capsys, monkeypatch, tmp_path, run, command
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some").mkdir()
    damaged = written(tmp_path / "some", 9, 12, 3) / "a" / "02.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    words = [str(run) if word == "RUN" else word for word in [*command, "some"]]
    assert main(words) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "genrev: " in line]
    assert "02.png cannot be read" in error
    assert "other commands by --on_error skip" in error
    with pytest.warns(UserWarning, match=r"1 (unreadable )?of 40 image"):
        assert main([*words, "--on_error", "skip"]) == 0


@pytest.mark.parametrize("command", ["evaluate", "reconstruct", "distance"])
def test_tar_files_are_looked_at_without_an_option_of_training(
    tmp_path, photos, run, command, capsys
):
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for number, file in enumerate(sorted(photos.rglob("*.png"))):
            tar.add(file, f"{number:03}.png")
    line = {
        "evaluate": [run, "--data", tmp_path / "photos.tar", "--metrics", "reconstruction"],
        "reconstruct": [run, "--data", tmp_path / "photos.tar", "--out", tmp_path / "x.png"],
        "distance": [tmp_path / "photos.tar", photos, "--features", "digits"],
    }[command]
    assert main([command, *map(str, line)]) == 0
    assert "40 images" in capsys.readouterr().err


def test_images_of_which_only_the_first_fit_are_shown_all_the_same(tmp_path, run, capsys):
    written(tmp_path, 8, 8)
    Image.new("RGB", (30, 20)).save(tmp_path / "b" / "zz.png")
    assert main(["evaluate", str(run), "--data", str(tmp_path), "--metrics", "reconstruction"]) == 0
    assert "41 images" in capsys.readouterr().out
    assert main(["distance", str(tmp_path), "digits"]) == 2  # where no network says what they are
    assert "--image_size" in capsys.readouterr().err
