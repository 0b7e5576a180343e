import hashlib

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from image_files import png
from PIL import Image
from sklearn.datasets import load_digits

from genrev.data import DataConfig, ImageData, load_images, read_image
from genrev.data.decode import find_images
from genrev.data.images import fingerprint
from genrev.files.paths import list_files

# ------------------------------------------------------------------------------------- digits


def test_digits_are_those_of_scikit_learn_split_without_loss_or_overlap():
    train, test = load_images("digits"), load_images("digits", "test")
    assert (len(train), len(test)) == (1500, 297)
    assert train.image_shape == (1, 8, 8)
    assert train.class_names == tuple("0123456789")
    assert train.name == "digits"
    original = load_digits()
    # Rounding to uint8 loses nothing: 17 levels are 15.9 apart.
    restored = np.concatenate([train.images, test.images])[:, 0] * (16 / 255)
    labels = np.concatenate([train.labels, test.labels])
    pairs = zip(restored.round(), labels, strict=True)
    expected = zip(original.images, original.target, strict=True)
    assert sorted((i.tobytes(), t) for i, t in pairs) == sorted(
        (i.tobytes(), t) for i, t in expected
    )
    assert train.images.min() == 0
    assert train.images.max() == 255


def test_digits_split_is_stratified_and_fixed():
    train, test = load_images("digits"), load_images("digits", "test")
    counts = np.bincount(load_digits().target)
    assert np.abs(np.bincount(test.labels) - counts * 297 / 1797).max() < 1
    assert np.bincount(train.labels).sum() == 1500
    # The split belongs to the contract: a number of one version compares with the next one's.
    assert load_images("digits", "test").fingerprint == test.fingerprint
    assert test.fingerprint.startswith("384be218112c8d09")


def test_digits_need_no_writable_folder(tmp_path, monkeypatch):
    blocker = tmp_path / "file"
    blocker.touch()
    monkeypatch.setenv("GENREV_CACHE", str(blocker))
    monkeypatch.setenv("HOME", str(blocker))
    data = load_images("digits")
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0


def test_digits_take_size_channels_and_limit():
    data = load_images(DataConfig(source="digits", image_size=16, channels=3, limit=10))
    assert data.images.shape == (10, 3, 16, 16)
    np.testing.assert_array_equal(data.images[:, 0], data.images[:, 2])


# ------------------------------------------------------------------------------------- folders


def test_subfolders_become_classes_in_alphabetic_order(write_folder, pixels):
    places = ["cat", "ape", "bee"] * 4
    data = load_images(str(write_folder("pets", pixels, places)))
    assert data.class_names == ("ape", "bee", "cat")
    assert data.name == "pets"
    assert data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    order = [n for place in ("ape", "bee", "cat") for n in range(12) if places[n] == place]
    np.testing.assert_array_equal(data.images[:, 0], pixels[order])


@pytest.mark.parametrize("places", [[""] * 12, ["a", ""] * 6, ["a/b", "a"] * 6, ["a/b", "c/d"] * 6])
def test_images_not_all_in_exactly_one_subfolder_are_unlabelled(write_folder, pixels, places):
    data = load_images(str(write_folder("flat", pixels, places)))
    assert data.class_names == ("all",)
    assert len(data) == 12
    assert not data.labels.any()


def test_split_folders_share_the_numbers_of_classes(write_folder, pixels):
    places = ["train/ape"] * 4 + ["train/bee"] * 3 + ["test/bee"] * 5
    root = write_folder("split", pixels, places)
    train, test = load_images(str(root)), load_images(str(root), "test")
    assert train.class_names == test.class_names == ("ape", "bee")
    assert (len(train), len(test)) == (7, 5)
    assert test.labels.tolist() == [1] * 5
    np.testing.assert_array_equal(test.images[:, 0], pixels[7:])


def test_a_class_called_train_does_not_make_a_split(write_folder, pixels):
    data = load_images(str(write_folder("vehicles", pixels, ["car", "train"] * 6)), "test")
    assert data.class_names == ("car", "train")
    assert len(data) == 12


def test_a_flat_folder_serves_as_every_split(write_folder, pixels):
    root = str(write_folder("flat", pixels))
    assert load_images(root).fingerprint == load_images(root, "test").fingerprint


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp", ".gif", ".pgm"])
def test_lossless_formats_give_the_same_pixels(tmp_path, pixels, suffix):
    for number, array in enumerate(pixels):
        Image.fromarray(array).save(tmp_path / f"{number:02}{suffix}", lossless=True)
    data = load_images(DataConfig(source=str(tmp_path), channels=1))
    np.testing.assert_array_equal(data.images[:, 0], pixels)


def test_jpeg_in_capital_letters_is_read(tmp_path):
    Image.new("RGB", (16, 16), (200, 30, 60)).save(tmp_path / "PHOTO.JPG")
    data = load_images(str(tmp_path))
    assert data.image_shape == (3, 16, 16)
    assert np.abs(data.images[0, :, 8, 8].astype(int) - (200, 30, 60)).max() <= 3


def test_hidden_and_foreign_files_are_passed_over(write_folder, pixels):
    root = write_folder("mixed", pixels)
    (root / "._000.png").write_bytes(b"not an image")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "000.png").write_bytes(b"not an image")
    (root / "README.txt").write_text("hello")
    assert len(load_images(str(root))) == 12


def test_linked_folders_are_followed_once(write_folder, pixels, tmp_path):
    write_folder("elsewhere", pixels)
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(root)
    assert len(load_images(str(root))) == 12


# ------------------------------------------------------------------------------------- decoding


def one_image(folder, image, **settings):
    folder.mkdir(exist_ok=True)
    image.save(folder / "0.png")
    return load_images(DataConfig(source=str(folder), **settings)).images[0]


def test_crop_is_taken_out_of_the_centre(tmp_path):
    array = np.arange(218 * 178, dtype=np.uint32).reshape(218, 178)
    rgb = np.stack([array & 255, array >> 8, 0 * array], -1).astype(np.uint8)
    cut = one_image(tmp_path, Image.fromarray(rgb), crop=140)
    # The box of the Wasserstein autoencoder's CelebA: left 19, top 39.
    np.testing.assert_array_equal(cut, rgb[39:179, 19:159].transpose(2, 0, 1))


def lanczos_matrix(before: int, after: int) -> np.ndarray:
    """Weights (after, before) of the windowed sinc of three lobes, widened for shrinking."""
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale
    x = (np.arange(before) + 0.5 - centres[:, None]) / scale
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    return weights / weights.sum(1, keepdims=True)


def test_resize_is_lanczos_after_the_crop(tmp_path):
    array = np.random.default_rng(1).integers(0, 256, (40, 30)).astype(np.uint8)
    got = one_image(tmp_path, Image.fromarray(array), crop=20, image_size=8)
    matrix = lanczos_matrix(20, 8)
    want = (matrix @ array[10:30, 5:25] @ matrix.T).clip(0, 255)
    # Pillow rounds after each of the two directions.
    np.testing.assert_allclose(got[0], want, atol=1.5)


def test_grey_and_colour_convert_into_each_other(tmp_path):
    array = np.random.default_rng(2).integers(0, 256, (6, 6)).astype(np.uint8)
    colour = one_image(tmp_path / "a", Image.fromarray(array), channels=3)
    np.testing.assert_array_equal(colour, np.stack([array] * 3))
    grey = one_image(tmp_path / "b", Image.fromarray(np.stack([array] * 3, -1)), channels=1)
    np.testing.assert_array_equal(grey, array[None])


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (2, 2), 1), [255]),
        (Image.new("LA", (2, 2), (10, 0)), [255]),
        (Image.new("LA", (2, 2), (10, 255)), [10]),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), [255, 255, 255]),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 255)), [10, 20, 30]),
        (Image.new("RGB", (2, 2), (1, 2, 3)).quantize(), [1, 2, 3]),
        (Image.fromarray(np.full((2, 2), 65535, np.uint16)), [255]),
        (Image.fromarray(np.full((2, 2), 257 * 7, np.uint16)), [7]),
    ],
)
def test_unusual_modes(tmp_path, image, expected):
    assert one_image(tmp_path, image)[:, 0, 0].tolist() == expected


def test_orientation_of_photographs_is_followed(tmp_path):
    array = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(array).save(tmp_path / "0.png", exif=exif)
    np.testing.assert_array_equal(load_images(str(tmp_path)).images[0, 0], np.rot90(array, -1))


def test_a_single_file_is_read_as_its_folder_is(write_folder, pixels):
    root = write_folder("set", pixels, ["a", "b"] * 6)
    (root / "notes.txt").touch()
    config = DataConfig(source=str(root), crop=4, image_size=6, channels=3)
    data = load_images(config)
    single = torch.stack([read_image(path, config) for path in find_images(list_files(root))[0]])
    assert torch.equal(single, data.tensor(range(12)))


# ------------------------------------------------------------------------------------- parquet


def test_the_same_pixels_have_one_fingerprint_from_folder_and_parquet(
    write_folder, write_parquet, pixels
):
    labels = [0] * 5 + [1] * 7
    folder = write_folder("folder", pixels, [str(label) for label in labels])
    table = write_parquet("table.parquet", pixels, label=labels)
    a, b = load_images(str(folder)), load_images(str(table))
    assert a.fingerprint == b.fingerprint
    assert a.class_names == b.class_names == ("0", "1")
    assert a.fingerprint == fingerprint(pixels[:, None], np.array(labels))


def test_fingerprint_is_this_hash():
    images = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2)
    labels = np.array([1, 0])
    expected = b"(2, 1, 2, 2)" + bytes(range(8)) + bytes([1] + [0] * 7 + [0] * 8)
    assert fingerprint(images, labels) == hashlib.sha256(expected).hexdigest()


def test_fingerprint_sees_a_pixel_a_label_and_the_order():
    images = np.arange(3000, dtype=np.uint32).astype(np.uint8).reshape(3000, 1, 1, 1)
    labels = np.zeros(3000, np.int64)
    seen = {fingerprint(images, labels), fingerprint(images[::-1], labels)}
    for position in (0, 2999):
        other, other_labels = images.copy(), labels.copy()
        other[position] += 1
        other_labels[position] = 1
        seen |= {fingerprint(other, labels), fingerprint(images, other_labels)}
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("train/0000.parquet", "test/0000.parquet"),
        ("train/0000.parquet", "train/test.parquet"),  # the file's own name comes first
    ],
)
def test_parquet_files_of_a_folder_are_split_by_name(write_parquet, pixels, tmp_path, train, test):
    write_parquet(f"set/{train}", pixels[:8], label=[0, 1] * 4)
    write_parquet(f"set/{test}", pixels[8:], label=[0, 1] * 2)
    root = str(tmp_path / "set")
    np.testing.assert_array_equal(load_images(root).images[:, 0], pixels[:8])
    np.testing.assert_array_equal(load_images(root, "test").images[:, 0], pixels[8:])
    assert load_images(root).name == "set"


def test_shards_are_joined_in_order(write_parquet, pixels, tmp_path):
    for n in (2, 0, 1):
        write_parquet(f"set/train-{n}-of-3.parquet", pixels[4 * n : 4 * n + 4])
    np.testing.assert_array_equal(load_images(str(tmp_path / "set")).images[:, 0], pixels)


def test_local_data_needs_no_network(write_folder, write_parquet, pixels, monkeypatch):
    def refuse(*args, **kwargs):
        pytest.fail("the network was asked for local data")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    for source in (write_folder("folder", pixels), write_parquet("table.parquet", pixels)):
        load_images(str(source))
    load_images("digits")


@pytest.mark.parametrize("name", ["images", "values"])  # values do not validate
def test_parquet_without_split_names_serves_as_every_split(write_parquet, pixels, name):
    path = write_parquet(f"set[1]*/{name}.parquet", pixels)  # a name that is also a pattern
    for source in (path, path.parent):
        for split in ("train", "test"):
            np.testing.assert_array_equal(load_images(str(source), split).images[:, 0], pixels)
    assert load_images(str(path)).class_names == ("all",)


def test_parquet_of_the_datasets_library_keeps_its_class_names(tmp_path, pixels):
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["x", "y", "z"])
    )
    rows = {"image": [{"bytes": png(p), "path": None} for p in pixels], "label": [0, 2] * 6}
    path = tmp_path / "typed.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    data = load_images(str(path))
    assert data.class_names == ("x", "y", "z")
    assert data.labels.tolist() == [0, 2] * 6
    np.testing.assert_array_equal(data.images[:, 0], pixels)


def test_parquet_with_a_column_of_plain_bytes(tmp_path, pixels):
    path = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"img": [png(p) for p in pixels]}), path)
    np.testing.assert_array_equal(load_images(str(path)).images[:, 0], pixels)


def test_an_empty_label_column_nobody_asked_for_is_no_label(write_parquet, pixels):
    column = pa.array([None, None, None], pa.float64())
    data = load_images(str(write_parquet("table.parquet", pixels[:3], label=column)))
    assert data.class_names == ("all",)


def test_limit_takes_the_first(write_parquet, pixels):
    path = write_parquet("table.parquet", pixels)
    np.testing.assert_array_equal(
        load_images(DataConfig(source=str(path), limit=5)).images[:, 0], pixels[:5]
    )


def test_more_images_than_are_decoded_at_once_stay_in_order(write_parquet):
    many = np.arange(600 * 4, dtype=np.uint32).astype(np.uint8).reshape(600, 2, 2)
    data = load_images(str(write_parquet("many.parquet", many)))
    np.testing.assert_array_equal(data.images[:, 0], many)


# ------------------------------------------------------------------------------------- ImageData


def test_images_are_a_read_only_memory_map(write_parquet, pixels):
    data = load_images(str(write_parquet("table.parquet", pixels)))
    assert isinstance(data.images, np.memmap)
    for array in (data.images, data.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("wrap", [list, np.array, torch.tensor])
def test_tensor_is_in_zero_to_one(write_parquet, pixels, wrap):
    data = load_images(str(write_parquet("table.parquet", pixels)))
    got = data.tensor(wrap([3, 0, 3, -1]))
    assert got.dtype == torch.float32
    want = torch.from_numpy(pixels[[3, 0, 3, 11], None].astype(np.float32) / 255)
    assert torch.equal(got, want)
    with pytest.raises(IndexError):
        data.tensor([12])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 1, 4, 4)), np.zeros(2, np.int64), "uint8"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64), "N, C, H, W"),
        (np.zeros((2, 1, 4, 4), np.uint8), np.zeros(3, np.int64), "labels"),
        (np.zeros((2, 1, 4, 4), np.uint8), np.zeros(2, np.int32), "int64"),
        (np.zeros((2, 1, 4, 4), np.uint8), np.array([0, 1]), "1 class names"),
        (np.zeros((0, 1, 4, 4), np.uint8), np.zeros(0, np.int64), "at least one"),
    ],
)
def test_image_data_checks_its_arrays(images, labels, message):
    with pytest.raises(ValueError, match=message):
        ImageData(images, labels, ("all",), "x", "")
