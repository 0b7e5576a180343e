import struct
import warnings
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import one_sentence, png

from genrev.data import DataConfig, load_images
from genrev.errors import GenrevError


def sentence(config, split="train") -> str:
    """Return the message of the error, which must be one sentence of reasonable length."""
    with pytest.raises(GenrevError) as caught:
        load_images(config, split)
    return one_sentence(caught.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("mnsit", "mnist"),
        ("MNIST", "mnist"),
        ("digit", "digits"),
        ("celebA", "celeba"),
        ("ylecun/mnist", "hub:ylecun/mnist"),
    ],
)
def test_unknown_name_suggests_the_close_one(wrong, right):
    message = sentence(wrong)
    assert f'"{wrong}"' in message
    assert f'did you mean "{right}"?' in message
    assert "hub:owner/name" in message
    assert "parquet" in message


def test_unknown_path_suggests_its_neighbour_and_never_asks_the_hub(
    write_folder, pixels, tmp_path, monkeypatch
):
    def refuse(*args, **kwargs):
        pytest.fail("the hub was asked for a local path")

    monkeypatch.setattr("genrev.data.sources.hub.load_dataset", refuse)
    write_folder("faces", pixels)
    assert f'did you mean "{tmp_path / "faces"}"?' in sentence(str(tmp_path / "facse"))
    for path in ("hub:/home/me/faces", "hub:./faces", "hub:../me/faces", "hub:faces", "hub:~/x"):
        assert "is not the name of a data set on the hub" in sentence(path)
    sentence("no/such/folder")
    sentence("")


def test_local_folder_of_the_same_name_as_a_hub_name(write_folder, pixels, tmp_path, monkeypatch):
    write_folder("owner/name", pixels)
    monkeypatch.chdir(tmp_path)
    assert "write ./owner/name" in sentence("hub:owner/name")


def test_empty_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    message = sentence(str(tmp_path))
    assert str(tmp_path) in message
    assert "no images" in message


def test_file_that_is_not_parquet(tmp_path):
    path = tmp_path / "images.zip"
    path.touch()
    assert "not one of .parquet or .tar" in sentence(str(path))


def test_missing_split(write_folder, write_parquet, pixels, tmp_path):
    write_parquet("set/train.parquet", pixels)
    folder = write_folder("folder", pixels, ["train/a", "train/b"] * 6)
    for source in (str(tmp_path / "set"), str(folder), "digits"):
        message = sentence(source, "valid")
        assert 'no split "valid"' in message
        assert "train" in message


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"hello", lambda b: b""])
def test_damaged_image_is_named_or_skipped(write_folder, pixels, damage):
    root = write_folder("broken", pixels)
    bad = root / "004.png"
    bad.write_bytes(damage(bad.read_bytes()))
    message = sentence(str(root))
    assert str(bad) in message
    assert "skip" in message
    config = DataConfig(source=str(root), on_error="skip")
    for _ in ("decoded", "from the cache"):
        with pytest.warns(UserWarning, match=r"1 unreadable of 12 images .*004\.png"):
            data = load_images(config)
        np.testing.assert_array_equal(data.images[:, 0], np.delete(pixels, 4, axis=0))


def test_skipped_images_take_their_labels_along(write_folder, pixels):
    root = write_folder("broken", pixels, ["a"] * 3 + ["b"] * 9)
    (root / "a" / "001.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="skipped"):
        data = load_images(DataConfig(source=str(root), on_error="skip"))
    assert data.labels.tolist() == [0] * 2 + [1] * 9


def test_intact_images_do_not_warn(write_folder, pixels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_images(DataConfig(source=str(write_folder("fine", pixels)), on_error="skip"))


def test_damaged_row_of_parquet_is_named(tmp_path, pixels):
    for cell in ({"bytes": png(pixels[0])[:60], "path": None}, {"bytes": None, "path": None}):
        path = tmp_path / "broken.parquet"
        good = {"bytes": png(pixels[0]), "path": None}
        pq.write_table(pa.table({"image": [good, good, cell]}), path)
        assert f"row 2 of {path} cannot be read" in sentence(str(path))


def test_no_image_left(tmp_path):
    (tmp_path / "0.png").write_bytes(b"")
    assert "None of the images" in sentence(DataConfig(source=str(tmp_path), on_error="skip"))


def test_images_of_different_sizes_or_channels(write_folder, pixels):
    sizes = write_folder("sizes", [pixels[0], pixels[1][:5]])
    message = sentence(str(sizes))
    assert "000.png is 5x7 grey" in message
    assert "001.png is 5x5 grey; set image_size to" in message
    assert load_images(DataConfig(source=str(sizes), image_size=4)).image_shape == (1, 4, 4)

    colours = write_folder("colours", [pixels[0], np.stack([pixels[0]] * 3, -1)])
    assert "is 5x7 RGB; set channels to 1 or 3" in sentence(str(colours))
    assert load_images(DataConfig(source=str(colours), channels=1)).image_shape == (1, 7, 5)


def test_image_smaller_than_the_crop_is_an_error_even_when_skipping(write_folder, pixels):
    root = write_folder("small", pixels)
    message = sentence(DataConfig(source=str(root), crop=6, on_error="skip"))
    assert "5x7" in message
    assert "crop to at most 5" in message


@pytest.mark.parametrize("side", [10_100, 60_000])  # Pillow itself refuses the second only
def test_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, between 89 and 179 megapixels
        assert "more than 100 megapixels" in sentence(str(tmp_path))


def test_absent_label_column(write_parquet, write_folder, pixels):
    path = write_parquet("table.parquet", pixels, kind=[0, 1] * 6)
    message = sentence(DataConfig(source=str(path), label="sort"))
    assert 'no label column "sort"' in message
    assert "image, kind" in message
    assert "subfolders" in sentence(DataConfig(source=str(write_folder("f", pixels)), label="sort"))
    assert "leave label out" in sentence(DataConfig(source="digits", label="sort"))


def test_parquet_without_image_column(tmp_path):
    path = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"a": [1], "b": [2]}), path)
    assert "no image column, only a, b" in sentence(str(path))


def test_parquet_that_is_cut_off_or_empty(write_parquet, pixels):
    path = write_parquet("table.parquet", pixels)
    path.write_bytes(path.read_bytes()[:-50])
    assert "cannot be read as a parquet file" in sentence(str(path))
    assert "no rows" in sentence(str(write_parquet("empty.parquet", [])))


def test_parquet_with_damage_inside(write_parquet):
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 32)).astype(np.uint8)
    path = write_parquet("table.parquet", noise)
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36  # the header of the first page
    path.write_bytes(content)
    assert f"{path} cannot be read beyond row 0" in sentence(str(path))


def test_parquet_files_that_do_not_belong_together(write_parquet, pixels, tmp_path):
    write_parquet("set/a/train.parquet", pixels, label=[0] * 12)
    write_parquet("set/b/train.parquet", pixels)
    assert "columns of" in sentence(str(tmp_path / "set"))


@pytest.mark.parametrize(
    "settings",
    [{"crop": 0}, {"image_size": -1}, {"limit": 0}, {"channels": 2}, {"on_error": "ignore"}],
)
def test_settings_out_of_range(settings):
    with pytest.raises(GenrevError, match=next(iter(settings))):
        DataConfig(**settings)
