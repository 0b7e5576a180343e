"""Images of other sizes come to the size that a network takes, and the user is told."""

import numpy as np
import pytest
from PIL import Image

from genrev.data import DataConfig, fitted, load_images
from genrev.errors import GenrevError


@pytest.fixture
def photos(tmp_path):
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 255, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.png")
    return tmp_path


def test_size_and_channels_are_filled_in_and_told(photos, capsys):
    config = fitted(DataConfig(source=str(photos)), (1, 8, 8))
    assert (config.image_size, config.channels) == (8, 1)
    assert load_images(config).image_shape == (1, 8, 8)
    assert "images of 3x9x12 (channels x height x width) become 1x8x8" in capsys.readouterr().err
    assert fitted(DataConfig(source=str(photos)), (1, 8, 8), told=True) == config
    assert capsys.readouterr().err == ""


def test_what_is_told_is_the_size_of_the_files(photos, capsys):
    config = DataConfig(source=str(photos), image_size=8)  # as a recipe has it
    assert fitted(config, (1, 8, 8)).channels == 1
    assert "images of 3x9x12 (channels x height x width) become 1x8x8" in capsys.readouterr().err


def test_what_fits_stays_as_it_is(photos, capsys):
    assert fitted(DataConfig(), (1, 8, 8)) == DataConfig()
    asked = DataConfig(source=str(photos), image_size=16).replace(channels=3)
    assert fitted(asked, (1, 8, 8)) == asked  # the network refuses it then
    asked = DataConfig(source=str(photos), image_size=16)
    assert fitted(asked, (1, 8, 8)) == asked
    assert capsys.readouterr().err == ""
    half = DataConfig(source=str(photos), image_size=8)
    assert fitted(half, (1, 8, 8)) == half.replace(channels=1)


def test_images_that_differ_among_each_other_come_to_one_size(photos):
    Image.new("L", (8, 8)).save(photos / "00.png")
    with pytest.raises(GenrevError, match="differ"):
        load_images(str(photos))
    assert load_images(fitted(DataConfig(source=str(photos)), (1, 8, 8))).image_shape == (1, 8, 8)


def test_unreadable_images_are_not_this_functions_business(photos):
    (photos / "00.png").write_bytes(b"\x89PNG")
    config = fitted(DataConfig(source=str(photos)), (1, 8, 8))
    assert (config.image_size, config.on_error) == (8, "raise")


def test_height_and_width_may_differ(photos, capsys):
    config = fitted(DataConfig(source=str(photos)), (3, 8, 16))
    assert config.image_size == (8, 16)
    assert load_images(config).image_shape == (3, 8, 16)
    assert "images of 3x9x12 (channels x height x width) become 3x8x16" in capsys.readouterr().err
    square = DataConfig(source=str(photos), image_size=(8, 8))
    assert square == DataConfig(source=str(photos), image_size=8)
    asked = DataConfig(source=str(photos), image_size=(16, 8))
    assert fitted(asked, (3, 8, 16)) == asked


def test_only_images_are_resized(photos):
    config = DataConfig(source=str(photos))
    for shape in ((7,), (3, 8, 8, 8)):
        assert fitted(config, shape) == config
    with pytest.raises(GenrevError, match="No data set"):
        fitted(DataConfig(source=str(photos / "none")), (1, 8, 8))
