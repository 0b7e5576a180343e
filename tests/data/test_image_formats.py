"""What Pillow reads is read, in folders, tar files and one by one; the rest is named."""

import os
import warnings

import numpy as np
import pytest
from image_files import png, write_tar
from PIL import Image

from genrev.data import DataConfig, load_images, read_image
from genrev.data.decode import find_images
from genrev.errors import GenrevError
from genrev.files.paths import list_files

LOSSLESS = [".pnm", ".tga", ".dib", ".ico", ".pcx", ".sgi", ".apng", ".png", ".TGA"]
Image.init()
LOSSLESS += [".qoi"] * ("QOI" in Image.SAVE)  # Pillow 11 reads them and does not write them
LOSSY = [".jfif", ".jpe", ".jp2", ".JFIF"]


def save(path, array):
    kind = {".ico": "ICO", "": "PNG"}.get(path.suffix)
    mode = "RGB" if path.suffix.lower() == ".qoi" else "L"
    options = {"sizes": [array.shape]} if path.suffix == ".ico" else {}
    Image.fromarray(array).convert(mode).save(path, kind, **options)
    return path


@pytest.fixture
def array():
    return np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((8, 8), np.uint8))


@pytest.mark.parametrize("ending", [*LOSSLESS, *LOSSY, ""])
def test_every_ending_is_read_everywhere(tmp_path, array, ending):
    path = save(tmp_path / f"0{ending}", array)
    config = DataConfig(source=str(tmp_path), channels=1)
    bound = 0 if ending not in LOSSY else 12
    (image,) = load_images(config).images[:, 0].astype(int)
    assert np.abs(image - array).max() <= bound
    assert find_images(list_files(tmp_path))[0] == [path]
    np.testing.assert_array_equal((read_image(path, config) * 255).round()[0], image)
    write_tar(tmp_path / "set/a.tar", [(path.name, path.read_bytes())])
    config = DataConfig(source=str(tmp_path / "set"), channels=1, streaming=True)
    np.testing.assert_array_equal(load_images(config).images[0, 0], image)


def test_black_and_white_is_read(tmp_path, array):
    Image.fromarray(array).convert("1").save(tmp_path / "0.pbm")
    np.testing.assert_array_equal(load_images(str(tmp_path)).images[0, 0], array)


def test_all_endings_make_one_data_set(tmp_path, array):
    for number, ending in enumerate([*LOSSLESS, ""]):
        save(tmp_path / f"{number:02}{ending}", array)
    assert len(load_images(DataConfig(source=str(tmp_path), channels=1))) == len(LOSSLESS) + 1


@pytest.mark.parametrize(
    "text", [b"", b"P", b"Python", b"#define x", b"SIMPLE", b"%!PS-Adobe", b"GIF"]
)
def test_other_files_without_ending_are_no_images(tmp_path, array, text):
    save(tmp_path / "0.png", array)
    (tmp_path / "README").write_bytes(text)
    data = load_images(str(tmp_path))
    assert len(data) == 1
    assert data.inventory.skipped == ("README",)


def test_what_the_system_leaves_is_passed_over_silently(tmp_path, array):
    save(tmp_path / "0.png", array)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png"):
        (tmp_path / name).write_bytes(b"x")
    assert load_images(str(tmp_path)).inventory.skipped == ()
    members = [("0.png", png(array)), ("Thumbs.db", b"x"), ("__MACOSX/._0.png", b"x")]
    write_tar(tmp_path / "set/a.tar", members)
    assert len(load_images(DataConfig(source=str(tmp_path / "set"), streaming=True))) == 1


def test_a_folder_without_readable_images_says_what_it_has(tmp_path):
    for name in ("a.HEIC", "b.txt", "LICENSE"):
        (tmp_path / name).write_text("x")
    with pytest.raises(GenrevError, match=r"only files with \.heic, \.txt, no ending"):
        load_images(str(tmp_path))


# ------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("target", ["nowhere.png", "1.png", "loop"])
def test_a_link_that_leads_nowhere_is_one_unreadable_image(tmp_path, array, target):
    save(tmp_path / "0.png", array)
    (tmp_path / "1.png").symlink_to(target)
    (tmp_path / "loop").unlink(missing_ok=True)
    with pytest.raises(GenrevError, match=r"1\.png cannot be read as an image \[a link that leads"):
        load_images(str(tmp_path))
    config = DataConfig(source=str(tmp_path), on_error="skip")
    for _ in ("decoded", "from the cache"):
        with pytest.warns(UserWarning, match=r"1 unreadable of 2 images"):
            assert len(load_images(config)) == 1
    (tmp_path / "1.png").unlink()
    save(tmp_path / "1.png", array)  # comes back, and is noticed
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_images(config)) == 2


@pytest.mark.parametrize("name", ["cat", "st. bernard"])
def test_a_class_folder_that_leads_nowhere_is_named(write_folder, pixels, name):
    root = write_folder("set", pixels, ["ape", "bee"] * 6)
    (root / name).symlink_to("/gone/cats")
    with pytest.raises(GenrevError, match=rf"{name} is a link to /gone/cats, which is not there"):
        load_images(DataConfig(source=str(root), on_error="skip"))


def test_two_links_to_one_folder_are_two_classes(write_folder, pixels, tmp_path):
    write_folder("elsewhere", pixels)
    root = tmp_path / "root"
    root.mkdir()
    for name in ("ape", "bee"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    data = load_images(str(root))
    assert (len(data), data.class_names) == (24, ("ape", "bee"))


def test_a_pipe_is_not_waited_for(tmp_path, array):
    save(tmp_path / "0.png", array)
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(GenrevError, match="no ordinary file"):
        load_images(str(tmp_path))


def test_a_folder_that_cannot_be_read_is_named(write_folder, pixels, monkeypatch):
    root = write_folder("set", pixels, ["ape", "bee"] * 6)
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(GenrevError, match=r"bee cannot be read \[Permission denied\]"):
        load_images(str(root))
