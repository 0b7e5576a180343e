import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from genrev.errors import GenrevError
from genrev.figures import image_grid, save_image


@pytest.fixture
def picture() -> Image.Image:
    return image_grid(torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def plot() -> Figure:
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([0, 1], [1, 0])
    return figure


MAGIC = {
    "png": b"\x89PNG",
    "jpg": b"\xff\xd8",
    "jpeg": b"\xff\xd8",
    "webp": b"RIFF",
    "gif": b"GIF8",
    "pdf": b"%PDF",
    "svg": b"<?xml",
}


@pytest.mark.parametrize("extension", ["png", "PNG", "jpg", "jpeg", "webp", "gif", "pdf"])
def test_the_extension_chooses_the_format_of_a_picture(picture, tmp_path, extension):
    path = save_image(picture, tmp_path / f"a.{extension}")
    assert path.read_bytes().startswith(MAGIC[extension.lower()])


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "pdf", "svg"])
def test_the_extension_chooses_the_format_of_a_plot(plot, tmp_path, extension):
    path = save_image(plot, str(tmp_path / f"a.{extension}"))
    assert path.read_bytes().startswith(MAGIC[extension])


@pytest.mark.parametrize("extension", ["png", "webp"])
def test_lossless_formats_keep_every_pixel(picture, tmp_path, extension):
    with Image.open(save_image(picture, tmp_path / f"a.{extension}")) as read:
        assert np.array_equal(np.asarray(read), np.asarray(picture))


def test_missing_folders_are_created_and_nothing_else_is_left(picture, tmp_path):
    path = save_image(picture, tmp_path / "deep" / "er" / "a.png")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permission bits are a POSIX matter")
def test_the_file_has_the_permissions_of_any_new_file(picture, tmp_path):
    other = tmp_path / "other"
    other.touch()
    mode = save_image(picture, tmp_path / "a.png").stat().st_mode
    assert stat.S_IMODE(mode) == stat.S_IMODE(other.stat().st_mode)


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def half_a_file(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
    full_disk()


@pytest.mark.parametrize(
    ("method", "failure"), [("write_bytes", half_a_file), ("replace", full_disk)]
)
def test_a_failure_leaves_the_old_file_and_no_other(
    picture, tmp_path, monkeypatch, method, failure
):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, method, failure)
        with pytest.raises(GenrevError, match="No space left"):
            save_image(picture, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.bmp", "a", "a.svg"])
def test_an_unknown_extension_is_told_with_the_known_ones(picture, tmp_path, name):
    with pytest.raises(GenrevError, match=r"picture as .*must end in one of \.png, \.jpg"):
        save_image(picture, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_plot_is_no_gif(plot, tmp_path):
    with pytest.raises(GenrevError, match=r"plot as .*\.svg"):
        save_image(plot, tmp_path / "a.gif")


def test_a_folder_that_cannot_be_written_is_told(picture, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(GenrevError, match=r"a\.png cannot be written \(.*\); name a file"):
        save_image(picture, tmp_path / "file" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(GenrevError, match="Is a directory"):
        save_image(picture, tmp_path / "folder.png")


@pytest.mark.parametrize("extension", ["webp", "jpg"])
def test_a_picture_too_large_for_its_format_is_told(tmp_path, extension):
    with pytest.raises(GenrevError, match=r"70000x1 pixels.*\.png"):
        save_image(Image.new("L", (70000, 1)), tmp_path / f"a.{extension}")
    assert list(tmp_path.iterdir()) == []
