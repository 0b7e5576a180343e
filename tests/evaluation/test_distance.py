"""The distance between two sets of images, whatever they are given as."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import genrev
from genrev.cli.main import main
from genrev.data import load_images
from genrev.data.arrays import image_data, resized
from genrev.errors import GenrevError
from genrev.evaluation import DISTANCES, format_distance, shipped_classifiers
from genrev.evaluation.features.classifier import ClassifierFeatures
from genrev.figures import write_samples


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model of digits that is not trained for long."""
    folder = tmp_path_factory.mktemp("run") / "run"
    trainer = {"max_steps": 2, "accelerator": "cpu", "threads": 1, "progress": False}
    genrev.train("digits", folder, trainer=trainer)
    return folder


@pytest.fixture(scope="module")
def digits():
    return load_images("digits", "test")


def write_folder(folder, data, side=None):
    folder.mkdir()
    for number, image in enumerate(data.images):
        picture = Image.fromarray(image[0])
        if side:
            picture = picture.resize((side, side), Image.Resampling.NEAREST)
        picture.save(folder / f"{number:04}.png")
    return folder


class Pixels:
    """The pixels themselves, of images of one size."""

    name, sha256, dim, resize = "pixels", "0" * 64, 64, "none"

    def __call__(self, images):
        return images.flatten(1).float() / 255


class Mean(nn.Module):
    """Mean and greatest value of the channels, of images of any size."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.float() / 255
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], 1)


@pytest.fixture
def script(tmp_path):
    torch.jit.script(Mean()).save(str(tmp_path / "mean.pt"))
    return str(tmp_path / "mean.pt")


def test_a_set_is_at_no_distance_from_itself(digits):
    found = genrev.distance(digits, digits)
    assert found["frechet"]["distance"] == pytest.approx(0, abs=1e-6)
    assert [found["prdc"][name] for name in ("precision", "recall", "coverage")] == [1, 1, 1]
    assert found["prdc"]["density"] == pytest.approx(6 / 5)  # the balls are closed, k is 5
    assert abs(found["kid"]["estimate"]) < 3 * found["kid"]["standard_error"]


def test_a_shift_of_all_pixels_is_its_square(digits):
    dark = image_data(torch.from_numpy(np.array(digits.images)) // 2)
    light = image_data(torch.from_numpy(np.array(dark.images)) + 51)
    found = genrev.distance(light, dark, features=Pixels(), metrics=["frechet"])
    assert found["frechet"]["distance"] == pytest.approx(64 * 0.2**2, rel=1e-5)


def test_the_two_directions(digits):
    """Few of the images lie among all of them, and leave most uncovered."""
    some = image_data(np.array(digits.images[digits.labels == 3]))
    forth = genrev.distance(some, digits, metrics="prdc")["prdc"]
    back = genrev.distance(digits, some, metrics="prdc", features="digits")["prdc"]
    assert forth["precision"] == 1 > forth["recall"]
    assert back["recall"] == 1 > back["precision"]


def test_a_run_is_measured_as_evaluate_does(run, digits):
    model = genrev.load(run)
    expected = genrev.evaluate(model, digits, DISTANCES, n=200, seed=3, split="test")
    found = genrev.distance(run, "digits", n=200, seed=3)
    for name in DISTANCES:
        assert {key: expected[name][key] for key in found[name]} == found[name]
    assert found["a"]["samples"]
    assert found["a"]["images"] == 200
    assert found["b"]["split"] == "test"
    assert genrev.distance(model, digits, n=200, seed=3)["frechet"] == found["frechet"]


def test_single_images_of_a_run_are_what_evaluate_measures(run, tmp_path, digits, capsys):
    folder, array = tmp_path / "samples", tmp_path / "samples.npz"
    words = ["sample", str(run), "-n", "200", "--seed", "3", "--folder", str(folder)]
    assert main(words) == 0
    assert "wrote 200 images" in capsys.readouterr().out
    assert main(["distance", str(folder), "digits", "--json", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = genrev.evaluate(genrev.load(run), digits, DISTANCES, n=200, seed=3)
    assert found["frechet"]["distance"] == expected["frechet"]["distance"]
    assert found["prdc"]["recall"] == expected["prdc"]["recall"]
    files = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]
    np.savez(array, np.stack(files)[..., None])  # arr_0, channels last
    assert genrev.distance(array, "digits")["frechet"] == found["frechet"]


def test_all_kinds_of_sets_are_the_same_images(digits, tmp_path):
    from datasets import Dataset
    from datasets import Image as ImageColumn

    folder = write_folder(tmp_path / "folder", digits)
    np.savez(tmp_path / "array.npz", images=digits.images)
    table = Dataset.from_dict({"image": [str(path) for path in sorted(folder.iterdir())]})
    table.cast_column("image", ImageColumn()).to_parquet(tmp_path / "table.parquet")
    tensor = torch.from_numpy(np.array(digits.images))
    ways = (folder, tmp_path / "array.npz", tmp_path / "table.parquet", tensor, digits)
    other = load_images("digits")
    found = [genrev.distance(way, other, features="digits", metrics="frechet") for way in ways]
    assert len({one["frechet"]["distance"] for one in found}) == 1


def test_splits_of_one_data_set():
    found = genrev.distance("digits", "digits", split=("train", "test"), metrics="frechet")
    assert (found["a"]["images"], found["b"]["images"]) == (1500, 297)


def test_a_classifier_sees_all_images_in_its_size_and_says_so(digits, tmp_path, capsys):
    large = resized(digits, (3, 20, 20))
    capsys.readouterr()
    found = genrev.distance(large, digits, metrics="frechet", features="digits")
    assert "data digits: images of 3x20x20 (channels" in capsys.readouterr().err
    small = resized(large, (1, 8, 8))
    features = ClassifierFeatures(shipped_classifiers()["digits"])
    again = genrev.distance(small, digits, metrics="frechet", features=features)
    assert again["frechet"] == found["frechet"]


def test_an_extractor_of_any_size_resizes_by_itself_and_says_so(digits, tmp_path, script, capsys):
    folder = write_folder(tmp_path / "large", digits, side=16)
    line = ["distance", str(folder), "digits", "--features", script, "--device", "cpu"]
    assert main(line) == 0
    told = capsys.readouterr()
    assert "16x16 grey and those of digits 8x8 grey; the features mean resize both" in told.err
    assert "  297 images of large against" in told.out
    assert "against 297 images of digits (test), features mean" in told.out


def test_lines_name_every_number(digits):
    found = genrev.distance(digits, digits, metrics=["prdc", "frechet"])
    text = format_distance(found)
    assert text.splitlines()[0].startswith("Fréchet distance, digits-classifier64")
    assert "recall (k = 5)" in text
    assert "kernel" not in text


def few(tmp_path, digits):
    return write_folder(tmp_path / "few", image_data(np.array(digits.images[:9])))


def nowhere(tmp_path, digits):
    return tmp_path / "nowhere"


def several_sizes(tmp_path, digits):
    folder = write_folder(tmp_path / "sizes", image_data(np.array(digits.images[:20])))
    Image.new("L", (9, 9)).save(folder / "other.png")
    return folder


def damaged(tmp_path, digits):
    folder = write_folder(tmp_path / "damaged", image_data(np.array(digits.images[:20])))
    (folder / "0003.png").write_bytes(b"hello")
    return folder


def empty(tmp_path, digits):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("make", "words", "told"),
    [
        (few, [], "take at least 10 of both"),
        (several_sizes, [], "set image_size to bring them to one shape"),
        (damaged, [], "0003.png cannot be read as an image"),
        (empty, [], "has no images in it"),
        (nowhere, [], "There is no data set, file, folder or run called"),
        (damaged, ["--on_error", "no"], "argument --on_error: invalid choice: 'no'"),
        (damaged, ["--split", "a", "b", "c"], "--split takes one name or two"),
        (damaged, ["--metrics", "accuracy"], "and not by accuracy"),
        (damaged, ["-n", "0"], "-n must be 1 or more"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_cannot_be_compared_is_one_sentence(
    tmp_path, digits, capsys, make, words, told, first
):
    folder = str(make(tmp_path, digits))
    pair = [folder, "digits"] if first else ["digits", folder]
    assert main(["distance", *pair, "--device", "cpu", *words]) == 2
    (line,) = [s for s in capsys.readouterr().err.splitlines() if s.startswith("genrev: ")]
    assert told in line


@pytest.mark.parametrize(
    ("make", "words"),
    [(several_sizes, ["--image_size", "8"]), (damaged, ["--on_error", "skip"])],
)
def test_the_options_that_are_named_are_there(tmp_path, digits, make, words):
    line = ["distance", str(make(tmp_path, digits)), "digits", "--metrics", "frechet", *words]
    with pytest.warns(UserWarning, match="unreadable") if make is damaged else nullcontext():
        assert main([*line, "--device", "cpu"]) == 0


def test_images_without_labels_need_features():
    plain = np.zeros((20, 1, 8, 8), np.uint8)
    with pytest.raises(GenrevError, match=r"give --features fid, digits, mnist or a TorchScript"):
        genrev.distance(plain, plain)


def test_few_samples_are_one_sentence(run):
    with pytest.raises(GenrevError, match="draw at least 10 with -n"):
        genrev.distance(run, "digits", n=5)


def test_a_model_of_a_shared_name_is_named_so(digits):
    found = genrev.distance("model:mnist", digits, n=10, features="mnist", metrics="frechet")
    assert found["a"]["samples"]
    assert found["a"]["shape"] == [1, 28, 28]


# Single images.


def test_files_are_numbered_and_their_classes_listed(run, tmp_path):
    folder = tmp_path / "samples"
    write_samples(genrev.load(run), 13, folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [*(f"{number:04}.png" for number in range(13)), "labels.csv"]
    rows = (folder / "labels.csv").read_text().splitlines()
    assert rows[:4] == ["file,label", "0000.png,0", "0001.png,0", "0002.png,1"]
    assert len(rows) == 14


def test_one_class_only(run, tmp_path):
    write_samples(genrev.load(run), 3, tmp_path / "sevens", label=7)
    rows = (tmp_path / "sevens/labels.csv").read_text().splitlines()
    assert rows[1:] == ["0000.png,7", "0001.png,7", "0002.png,7"]


def test_a_folder_with_files_is_kept_unless_they_are_to_be_replaced(run, tmp_path, capsys):
    folder = tmp_path / "samples"
    line = ["sample", str(run), "--folder", str(folder), "--device", "cpu"]
    assert main([*line, "-n", "5"]) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main([*line, "-n", "3"]) == 2
    assert "--replace" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert main([*line, "-n", "3", "--seed", "1", "--replace"]) == 0
    assert len(list(folder.iterdir())) == 4
    (folder / "mine.txt").touch()
    assert main([*line, "-n", "3", "--replace"]) == 2
    assert "'mine.txt'" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 5


def test_a_file_is_whole_or_not_there(run, tmp_path, monkeypatch):
    folder, save = tmp_path / "samples", Image.Image.save
    written = []

    def fail(self, path, *rest):
        written.append(path)
        save(self, path, *rest)
        if len(written) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(GenrevError, match="No space left on device"):
        write_samples(genrev.load(run), 5, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["0000.png", "0001.png"]
