"""Images in memory: the same images, whatever they are given as, and a sentence for all else."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_files import one_sentence
from PIL import Image
from torch.utils.data import DataLoader, Subset, TensorDataset

from genrev.data import DataConfig, load_images, summary
from genrev.data.arrays import as_image_data, image_data, resized, splits_of
from genrev.data.pixels import as_pixels
from genrev.data.sources.npz import write_npz
from genrev.errors import GenrevError


def pixels(n=12, channels=1, side=8):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (n, channels, side, side), dtype=np.uint8)


class Pictures:
    """A data set of somebody else's: pictures of PIL, of several modes and sizes."""

    def __init__(self, arrays, labels):
        self.arrays, self.labels = arrays, labels

    def __len__(self):
        return len(self.arrays)

    def __getitem__(self, number):
        return Image.fromarray(self.arrays[number][0]), self.labels[number]


def test_a_list_of_images_and_labels_is_a_pair():
    images, labels = pixels(), np.arange(12) % 3
    pair, listed = image_data((images, labels)), image_data([images, labels])
    np.testing.assert_array_equal(pair.labels, listed.labels)
    np.testing.assert_array_equal(pair.images, listed.images)
    two = image_data([images[0, 0], images[1, 0]])  # two images
    assert two.images.shape == (2, 1, 8, 8)


def test_a_tensor_is_not_loaded():
    with pytest.raises(GenrevError, match=r"A Tensor is nothing .* genrev\.evaluate take"):
        load_images(torch.rand(3, 1, 8, 8))


@pytest.mark.parametrize("channels", [1, 3])
def test_all_ways_to_give_the_same_images_give_the_same(channels):
    images, labels = pixels(channels=channels), [number % 3 for number in range(12)]
    tensor = torch.from_numpy(images)
    items = [(image, label) for image, label in zip(tensor, labels, strict=True)]
    ways = {
        "bytes": (images, np.array(labels)),
        "tensor": (tensor, torch.tensor(labels)),
        "floats": (tensor.float() / 255, labels),
        "doubles": (images / 255, labels),
        "last": (images.transpose(0, 2, 3, 1), labels),
        "list": items,
        "data set": TensorDataset(tensor, torch.tensor(labels)),
        "subset": Subset(items, range(12)),
        "texts": (images, list(map(str, labels))),
    }
    if channels == 1:
        ways |= {"grey": (images[:, 0], labels), "pictures": Pictures(images, labels)}
    found = {name: image_data(way) for name, way in ways.items()}
    assert {data.fingerprint for data in found.values()} == {found["bytes"].fingerprint}
    assert {data.class_names for data in found.values()} == {("0", "1", "2")}
    assert (found["bytes"].images == images).all()
    assert found["bytes"].labels.tolist() == labels


def test_a_data_set_is_that_of_its_images(cache_folder):
    digits = load_images("digits")
    again = image_data((digits.tensor(range(len(digits))), digits.labels))
    assert again.fingerprint == image_data(digits).fingerprint == digits.fingerprint
    assert not cache_folder.exists()


def test_images_without_labels_are_of_no_class():
    assert image_data(pixels()).class_names == ("all",)
    assert image_data(list(pixels())).class_names == ("all",)
    assert image_data(TensorDataset(torch.from_numpy(pixels()))).class_names == ("all",)


def test_names_of_classes_stay():
    names = ["cat", "ape"] * 6
    data = image_data((pixels(), names))
    assert data.class_names == ("ape", "cat")
    assert [data.class_names[label] for label in data.labels] == names


@given(st.sampled_from(["float16", "bfloat16", "float32", "float64"]))
def test_floats_are_rounded_to_bytes(kind):
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    floats = (levels.double() / 255).to(getattr(torch, kind))
    error = as_pixels(floats, "images").astype(int) - levels[:, 0].numpy()
    assert abs(error).max() <= (1 if kind == "bfloat16" else 0)


@given(st.integers(1, 40), st.integers(1, 4))
def test_a_tenth_of_every_class_is_held_out(n, classes):
    images = np.arange(n * classes, dtype=np.uint8).reshape(-1, 1, 1, 1)
    labels = np.arange(n * classes) % classes  # in turn, where every tenth would be one class
    parts = splits_of((images, labels))
    train, test = parts["train"], parts["test"]
    if n < 10:
        assert train is test
        return
    assert np.bincount(test.labels).tolist() == [n // 10] * classes
    assert sorted([*train.images.flat, *test.images.flat]) == list(range(n * classes))
    again = splits_of((torch.from_numpy(images), labels))
    assert again["test"].fingerprint == test.fingerprint
    assert f"train {len(train)}, test {len(test)}" in summary(train)


def test_splits_that_are_given_are_kept():
    parts = splits_of({"train": pixels(), "val": pixels(5), "test": pixels(3)})
    assert {name: len(data) for name, data in parts.items()} == {
        "train": 12,
        "validation": 5,
        "test": 3,
    }
    assert "held out" not in summary(parts["train"])


def test_all_splits_together_fit_as_each_does(capsys):
    whole = as_image_data("digits", (1, 8, 8), "all")
    assert len(whole) == sum(len(load_images("digits", split)) for split in ("train", "test"))
    assert as_image_data("digits", (1, 6, 6), "all").image_shape == (1, 6, 6)
    assert "images of 1x8x8 (channels x height x width) become 1x6x6" in capsys.readouterr().err


def test_other_sizes_and_colours_are_brought_to_the_shape_as_files_are(tmp_path, capsys):
    images = pixels(channels=3, side=20)
    for number, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"{number:02}.png")
    files = load_images(DataConfig(source=str(tmp_path), image_size=8, channels=1))
    data = image_data(images, shape=(1, 8, 8))
    assert data.fingerprint == files.fingerprint
    told = capsys.readouterr().err
    assert told.startswith("data arrays: images of 3x20x20 (channels x height x width) become 1x8")
    assert as_image_data(tmp_path, (1, 8, 8)).fingerprint == files.fingerprint
    assert f"data {tmp_path}: images of 3x20x20" in capsys.readouterr().err
    assert resized(image_data(images), (1, 8, 8)).fingerprint == files.fingerprint


def test_images_of_the_shape_are_left_alone_without_a_word(capsys):
    assert (image_data(pixels(), shape=(1, 8, 8)).images == pixels()).all()
    assert capsys.readouterr().err == ""


def test_channels_last_is_told(capsys):
    image_data(pixels().transpose(0, 2, 3, 1))
    assert capsys.readouterr().err == "The images are read as (N, H, W, C), channels last.\n"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (torch.zeros(2, 4, 8, 8), "shape (2, 4, 8, 8)"),
        (torch.zeros(3, 8, 8), "images[None]"),
        (torch.zeros(8, 8), "shape (8, 8)"),
        (torch.zeros(0, 1, 8, 8), "no images in what was given"),
        (torch.full((2, 1, 8, 8), 255.0), "values from 255 to 255"),
        (torch.full((2, 1, 8, 8), -1.0), "values from -1 to -1"),
        (torch.full((2, 1, 8, 8), torch.nan), "values from nan"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int64), "Images are int64"),
        ((pixels(), [1, 2]), "12 images and 2 labels"),
        ((pixels(), np.eye(12)), "one_hot.argmax(1)"),
        ((pixels(), 3), "no list of classes"),
        (DataLoader(TensorDataset(torch.zeros(2, 1, 8, 8))), "its .dataset"),
        (iter([1]), "list_iterator"),
        (["a"], "Item 0 of the data is of str"),
        ([torch.zeros(2, 1, 8, 8)], "item 0 of the data have the shape"),
        ([torch.zeros(1, 8, 8), torch.zeros(1, 4, 4)], "The images differ"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_images_is_one_sentence(wrong, told):
    with pytest.raises(GenrevError) as caught:
        image_data(wrong)
    assert told.lower() in one_sentence(caught.value).lower()


def test_splits_without_training_images_are_one_sentence():
    with pytest.raises(GenrevError, match="must be called train"):
        splits_of({"test": pixels()})


def test_an_npz_file_is_a_data_set(tmp_path):
    images, labels = pixels(6, 3), np.array([2, 0, 1, 2, 0, 1])
    expected = image_data((images, labels)).fingerprint
    last = images.transpose(0, 2, 3, 1)
    np.savez(tmp_path / "diffusion.npz", last, labels)  # arr_0 and arr_1
    np.savez_compressed(tmp_path / "ours.npz", images=images, labels=labels)
    np.savez(tmp_path / "floats.npz", images=images / 255, label=labels)
    for name in ("diffusion", "ours", "floats"):
        assert load_images(str(tmp_path / f"{name}.npz")).fingerprint == expected, name
    without = DataConfig(source=str(tmp_path / "ours.npz"), label="none")
    assert load_images(without).class_names == ("all",)


def test_what_is_written_is_read_again(tmp_path):
    parts = splits_of((pixels(40), ["ape", "bee"] * 20))
    for name, data in parts.items():
        write_npz(data, tmp_path / f"{name}.npz")
    for name, data in parts.items():
        again = load_images(str(tmp_path), name)
        assert again.fingerprint == data.fingerprint
        assert again.class_names == ("ape", "bee")
        assert again.inventory.splits == {"train": 36, "test": 4}


def test_a_folder_of_pictures_with_an_npz_file_is_one_of_pictures(tmp_path):
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(3))
    Image.fromarray(pixels()[0, 0]).save(tmp_path / "one.png")
    assert len(load_images(str(tmp_path))) == 1


def write_other_arrays(path):
    np.savez(path, mu=np.zeros(3))


def write_pickles(path):
    np.savez(path, arr_0=np.array([None, {}], dtype=object))


def write_half(path):
    np.savez(path, images=pixels())
    path.write_bytes(path.read_bytes()[:500])


def write_too_many_labels(path):
    np.savez(path, images=pixels(), labels=np.zeros(13))


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (write_other_arrays, "no array called images or arr_0, only mu"),
        (write_pickles, "shape (2,)"),
        (write_half, "cannot be read as an npz file"),
        (write_too_many_labels, "12 images and 13 labels"),
    ],
)
def test_other_npz_files_are_one_sentence(tmp_path, write, told):
    path = tmp_path / "file.npz"
    write(path)
    with pytest.raises(GenrevError) as caught:
        load_images(str(path))
    assert told in one_sentence(caught.value)
