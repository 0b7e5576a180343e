import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from genrev.errors import GenrevError
from genrev.figures import image_grid, tile_pictures


def naive_grid(images: np.ndarray, columns: int, padding: int, scale: int) -> np.ndarray:
    """Pixel by pixel: which image does this pixel of the picture belong to, if any?"""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    step_y, step_x = height * scale + padding, width * scale + padding
    picture = np.empty((padding + rows * step_y, padding + columns * step_x, channels), np.uint8)
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            row, dy = divmod(y - padding, step_y)
            column, dx = divmod(x - padding, step_x)
            inside = row >= 0 and column >= 0 and dy < height * scale and dx < width * scale
            index = row * columns + column
            if inside and index < n:
                picture[y, x] = np.rint(images[index, :, dy // scale, dx // scale] * 255)
            else:
                picture[y, x] = 255
    return picture


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 7),
    channels=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    columns=st.integers(1, 4),
    padding=st.integers(0, 3),
    scale=st.integers(1, 3),
)
def test_every_pixel_is_where_a_second_computation_puts_it(
    n, channels, size, columns, padding, scale
):
    images = torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(n))
    picture = image_grid(images, columns, padding, scale)
    expected = naive_grid(images.numpy(), columns, padding, scale)
    assert picture.mode == ("L" if channels == 1 else "RGB")
    assert np.array_equal(np.asarray(picture).reshape(expected.shape), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_labels_move_the_images_and_leave_them_whole(channels):
    images = torch.rand(6, channels, 8, 8)
    plain = np.asarray(image_grid(images, 3, padding=4, scale=6))
    labelled = np.asarray(
        image_grid(
            images,
            3,
            padding=4,
            scale=6,
            row_labels=["a", "b"],
            column_labels=["x", "y", "z"],
            title="t",
        )
    )
    # Without its outer padding the plain grid is a window at the lower right of the labelled one.
    window = plain[4:-4, 4:-4]
    height, width = window.shape[:2]
    assert np.array_equal(labelled[-8 - height : -8, -8 - width : -8], window)


@pytest.mark.parametrize("label", ["Wg", "a considerably longer label", "two\nlines"])
@pytest.mark.parametrize("where", ["row_labels", "column_labels", "title"])
def test_no_text_touches_the_border(where, label):
    """Tiny white images, so that everything dark is text; a cut text reaches the border."""
    labels = label if where == "title" else [label, label]
    picture = image_grid(torch.ones(4, 1, 4, 4), 2, padding=0, scale=1, **{where: labels})
    pixels = np.asarray(picture)
    assert pixels.min() < 100
    for border in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
        assert border.min() == 255


def test_neighbouring_labels_do_not_run_into_each_other():
    """Between two labels that are wider than their images there are columns without ink."""
    labels = ["WWWWWWWW", "WWWWWWWW"]
    pixels = np.asarray(image_grid(torch.ones(2, 1, 4, 4), 2, 4, 1, column_labels=labels))
    middle = pixels.shape[1] // 2
    assert pixels[:, middle - 1 : middle + 1].min() == 255
    assert (pixels[:, :middle].min(), pixels[:, middle:].min()) < (100, 100)


@pytest.mark.parametrize("side", [8, 28, 32])
@pytest.mark.parametrize("columns", [1, 8, 16])
def test_small_images_are_enlarged_to_a_pleasant_size(side, columns):
    picture = image_grid(torch.zeros(columns, 1, side, side), columns, padding=0)
    assert 80 <= picture.width / columns <= 110
    assert picture.height * columns == picture.width


def test_wide_pictures_are_not_enlarged_and_the_default_grid_is_nearly_square():
    assert image_grid(torch.zeros(60, 1, 28, 28), 60, padding=0).width == 60 * 28
    assert image_grid(torch.zeros(10, 1, 8, 8), padding=0, scale=1).size == (32, 24)


def test_values_outside_the_unit_interval_are_clipped_and_inputs_stay_as_they_are():
    images = torch.tensor([-1.0, 0.5, 2.0, float("inf")]).view(1, 1, 2, 2)
    before = images.clone()
    assert np.asarray(image_grid(images, padding=0, scale=1)).tolist() == [[0, 128], [255, 255]]
    assert torch.equal(images, before)


def test_nan_is_told_in_a_sentence():
    with pytest.raises(GenrevError, match=r"NaN.*checkpoint"):
        image_grid(torch.full((1, 1, 2, 2), float("nan")))


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(0, 1, 8, 8),
        torch.zeros(8, 8),
        torch.zeros(1, 2, 8, 8),
        torch.zeros(1, 1, 0, 8),
        torch.zeros(1, 1, 8, 8, dtype=torch.uint8),
    ],
)
def test_bad_images_are_refused(images):
    with pytest.raises(ValueError, match="grid needs"):
        image_grid(images)


@pytest.mark.parametrize(
    "options",
    [
        {"columns": 0},
        {"scale": 0},
        {"padding": -1},
        {"columns": 2, "row_labels": ["one row too few"]},
        {"columns": 2, "column_labels": ["a", "b", "c"]},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=r"at least|labels"):
        image_grid(torch.zeros(4, 1, 8, 8), **options)


def test_tiles_are_placed_row_by_row():
    greys = [Image.new("L", (3, 2), 10 * i) for i in range(3)]
    pixels = np.asarray(tile_pictures(greys, columns=2, padding=1))
    assert pixels.shape == (5, 7)
    assert (pixels[:2, :3] == 0).all()
    assert (pixels[:2, 4:] == 10).all()
    assert (pixels[3:, :3] == 20).all()
    assert (pixels[2] == 255).all()
    assert tile_pictures([Image.new("RGB", (3, 2)), greys[0]], 2).mode == "RGB"
    with pytest.raises(ValueError, match="0 pictures"):
        tile_pictures([], 2)
