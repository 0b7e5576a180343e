"""Data sources of somebody else's: one class in one file, registered under what names it."""

from pathlib import Path

import numpy as np
import pytest
from image_files import one_sentence

import genrev
from genrev.data import BatchLoader, DataConfig, load_images, local_path, open_stream, summary
from genrev.data.sources import SOURCES, Record, Source, spellings
from genrev.data.sources.folder import FileSource
from genrev.errors import GenrevError
from genrev.recipes.runs import run_data
from genrev.registry import load_plugin


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Sources that a test registers are gone after it."""
    monkeypatch.setattr(SOURCES, "_others", {})


@pytest.fixture
def stripes():
    load_plugin(Path(__file__).with_name("stripes_source.py"))


@pytest.mark.usefixtures("stripes")
def test_a_source_of_a_plugin_is_named_like_any_other(cache_folder):
    train, test = load_images("stripes"), load_images("stripes", "test")
    assert train.images.shape == (40, 1, 8, 8)
    assert train.class_names == test.class_names == ("across", "along")
    assert train.labels.tolist() == [0, 1] * 20
    assert train.images[0, 0, 1].max() == train.images[1, 0, :, 1].max() == 0
    assert summary(test) == "stripes: train 40, test 10, 2 classes (across, along)"
    assert len(load_images("stripes", "all")) == 50
    batch = BatchLoader(train, 10, 3, seed=0, balanced=True).batch(0)
    assert batch["label"].bincount().tolist() == [5, 5]
    assert local_path("stripes") is None
    assert not cache_folder.exists()  # made-up images are not kept


@pytest.mark.usefixtures("stripes")
def test_a_run_trains_on_a_source_of_a_plugin_and_is_measured_on_it(tmp_path):
    run = tmp_path / "run"
    trainer = {"max_steps": 2, "accelerator": "cpu", "progress": False}
    model = genrev.train("digits-transport", run, data="stripes", batch_size=20, trainer=trainer)
    assert model.image_shape == (1, 8, 8)
    assert model.class_names == ("across", "along")
    data = run_data(str(run), None)
    assert data.fingerprint == load_images("stripes", "test").fingerprint
    SOURCES._others.clear()  # a process without the plugin
    with pytest.raises(GenrevError, match="--plugin FILE"):
        run_data(str(run), None)


@pytest.mark.usefixtures("stripes")
def test_all_settings_hold_for_a_source_of_a_plugin():
    config = DataConfig(source="stripes", crop=4, image_size=16, channels=3, limit=7, label="none")
    data = load_images(config)
    assert data.images.shape == (7, 3, 16, 16)
    assert data.class_names == ("all",)
    assert "stripes" in spellings()


@pytest.mark.usefixtures("stripes")
@pytest.mark.parametrize(
    ("config", "split", "told"),
    [
        ({"source": "stripse"}, "train", 'did you mean "stripes"?'),
        ({"source": "stripes"}, "valid", 'no split "valid"; it has train, test'),
        ({"source": "stripes", "label": "kind"}, "train", 'no label column "kind"; leave label'),
        ({"source": "stripes", "streaming": True}, "train", "leave streaming out"),
    ],
)
def test_what_it_does_not_have_is_one_sentence(config, split, told):
    with pytest.raises(GenrevError) as caught:
        load_images(DataConfig(**config), split)
    assert told in one_sentence(caught.value)


def test_unreadable_images_of_a_plugin_are_skipped_or_named():
    @SOURCES.register("broken")
    class Broken(Source):
        def records(self):
            yield Record("image 0", np.zeros((4, 4, 3), np.uint8))
            yield Record("image 1", b"hello")

    with pytest.raises(GenrevError, match="image 1 cannot be read"):
        load_images("broken")
    with pytest.warns(UserWarning, match="1 unreadable of 2 images of broken was skipped"):
        data = load_images(DataConfig(source="broken", on_error="skip"))
    assert data.image_shape == (3, 4, 4)


def test_pixels_that_are_no_bytes_are_an_error_of_the_source():
    @SOURCES.register("floats")
    class Floats(Source):
        def records(self):
            yield Record("image 0", np.zeros((4, 4)))

    with pytest.raises(TypeError, match="uint8"):
        load_images("floats")


@pytest.mark.parametrize("kept", [True, False])
def test_identity_is_what_the_cache_goes_by(cache_folder, kept):
    @SOURCES.register("counted")
    class Counted(Source):
        calls = 0
        identity = {"version": 1} if kept else None

        def records(self):
            type(self).calls += 1
            yield Record("image", np.zeros((4, 4), np.uint8))

    for _ in range(3):
        load_images("counted")
    assert Counted.calls == (1 if kept else 3)
    assert cache_folder.exists() == kept


def test_an_address_and_defaults():
    @SOURCES.register("grey:LEVEL")
    class Grey(Source):
        defaults = {"image_size": 5, "crop": 3}  # noqa: RUF012

        def records(self):
            level = int(self.name.removeprefix("grey:"))
            yield Record("image", np.full((4, 4), level, np.uint8))

    assert load_images("grey:7").images.tolist() == [[[[7] * 5] * 5]]
    assert load_images(DataConfig(source="grey:7", image_size=2)).image_shape == (1, 2, 2)
    assert local_path("grey:7") is None
    assert "grey:LEVEL" in spellings()


def test_files_of_an_ending(tmp_path):
    @SOURCES.register(".npy")
    class Npy(FileSource):
        def __init__(self, config, split):
            super().__init__(config)
            self.find_by_ending(".npy", split)

        def records(self):
            for path in self.files:
                for number, pixels in enumerate(np.load(path)):
                    yield Record(f"image {number} of {path}", pixels)

    for number, split in enumerate(("train", "test")):
        images = np.full((number + 1, 4, 4), number, np.uint8)
        np.save(tmp_path / f"{split}.npy", images)
    (tmp_path / "notes.txt").touch()
    data = load_images(str(tmp_path), "test")
    assert data.images.tolist() == [[[[1] * 4] * 4]] * 2
    assert data.inventory.skipped == ("notes.txt",)
    assert len(load_images(str(tmp_path / "train.npy"), "test")) == 1
    assert spellings().endswith(".parquet or .tar or .npz or .npy")
    with pytest.raises(GenrevError, match="is never streamed"):
        open_stream(str(tmp_path))


@pytest.mark.parametrize("name", ["folder/", "folder", "parquet", "hub", ".parquet"])
def test_keys_that_are_no_words_are_paths(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert local_path(name) == tmp_path / name


def test_the_help_of_the_option_names_every_source():
    told = DataConfig.model_fields["source"].description
    assert all(key.strip("./") in told for key in SOURCES.names())
