"""Whatever a visitor uploads becomes an image of the model's shape, or one sentence."""

import io
import tracemalloc

import numpy as np
import pytest
import torch
from bad_files import png_header
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from genrev.app import read_upload
from genrev.app.uploads import MOST_BYTES
from genrev.errors import GenrevError

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(path, image, **options):
    image.save(path, **options)
    return path


def assert_read(upload, shape):
    assert tuple(upload.x.shape) == shape
    assert upload.x.dtype == torch.float32
    assert 0 <= upload.x.min() <= upload.x.max() <= 1


def refusal(path, shape=GREY):
    with pytest.raises(GenrevError) as error:
        read_upload(path, shape)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert path.name in text or "…" in text
    return text


def test_an_image_of_the_models_size_is_used_as_it_is(tmp_path):
    pixels = noise(28, 28)
    upload = read_upload(saved(tmp_path / "a.png", Image.fromarray(pixels)), GREY)
    assert torch.equal(upload.x, torch.from_numpy(pixels)[None].float() / 255)
    assert upload.note == "a.png, 28x28 pixels: used as it is."


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (8, 8), (1, 300), (1, 1)])
@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_other_sizes_are_cropped_to_the_centre_and_resized(tmp_path, size, shape):
    image = Image.fromarray(noise(size[1], size[0], 3))
    upload = read_upload(saved(tmp_path / "a.png", image), shape)
    assert_read(upload, shape)
    assert ("centre square" in upload.note) == (size[0] != size[1])
    assert f"resized to {shape[1]}x{shape[1]}" in upload.note


def test_the_square_is_that_of_the_centre(tmp_path):
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = noise(32, 32, 3)
    upload = read_upload(saved(tmp_path / "a.png", Image.fromarray(pixels)), COLOUR)
    expected = torch.from_numpy(pixels[:, 32:64]).permute(2, 0, 1).float() / 255
    assert torch.equal(upload.x, expected)


def test_unusual_but_whole_images_are_read(tmp_path):
    colour = Image.fromarray(noise(40, 50, 3))
    deep = Image.fromarray(noise(40, 50).astype(np.uint16) * 257)
    files = [
        saved(tmp_path / "cmyk.jpg", colour.convert("CMYK")),
        saved(tmp_path / "deep.png", deep),
        saved(tmp_path / "deep.tiff", deep),
        saved(tmp_path / "alpha.png", Image.fromarray(noise(40, 50, 4))),
        saved(tmp_path / "palette.gif", colour.convert("P")),
        saved(tmp_path / "bits.png", colour.convert("1")),
        saved(tmp_path / "photo.webp", colour),
        saved(tmp_path / "photo.bmp", colour),
        saved(tmp_path / "wrong.png", colour, format="JPEG"),
    ]
    for file in files:
        for shape in (GREY, COLOUR):
            assert_read(read_upload(file, shape), shape)


def test_what_is_transparent_is_white_and_16_bits_keep_their_range(tmp_path):
    clear = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    assert torch.all(read_upload(saved(tmp_path / "clear.png", clear), GREY).x == 1)
    half = Image.fromarray(np.full((28, 28), 0x8080, np.uint16))
    value = read_upload(saved(tmp_path / "half.png", half), GREY).x
    assert torch.allclose(value, torch.tensor(128 / 255))


def test_photographs_are_turned_upright(tmp_path):
    image = Image.fromarray(noise(30, 60, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned = read_upload(saved(tmp_path / "t.png", image, exif=exif), COLOUR)
    upright = image.transpose(Image.Transpose.ROTATE_270)
    assert torch.equal(turned.x, read_upload(saved(tmp_path / "u.png", upright), COLOUR).x)


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_of_an_animation_the_first_frame_is_used(tmp_path, ending):
    frames = [Image.new("RGB", (28, 28), c) for c in ("red", "lime", "blue")]
    options = {"save_all": True, "append_images": frames[1:], "lossless": True}
    if ending != "webp":
        del options["lossless"]
    upload = read_upload(saved(tmp_path / f"a.{ending}", frames[0], **options), (3, 28, 28))
    assert "first frame only" in upload.note
    assert torch.allclose(upload.x[:, 14, 14], torch.tensor([1.0, 0, 0]), atol=0.05)


@pytest.mark.parametrize("size", [(10_000, 10_000), (7072, 7072), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_refused_before_one_is_decoded(tmp_path, size):
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(*size))
    tracemalloc.start()
    assert "more than 50 megapixels" in refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    tracemalloc.stop()


def test_too_many_bytes_are_refused(tmp_path):
    path = tmp_path / "long.png"
    path.write_bytes(png_header(28, 28))
    with path.open("r+b") as file:
        file.truncate(MOST_BYTES + 1)
    assert "more than 20 MB" in refusal(path)


def test_what_is_no_image_gets_a_sentence(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(buffer, "JPEG")
    contents = {
        "text.png": b"not an image",
        "empty.png": b"",
        "header.png": png_header(28, 28),
        "truncated.jpg": buffer.getvalue()[: len(buffer.getvalue()) // 2],
        "page.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n",
        f"{'x' * 200}.png": b"not an image",
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert "choose a PNG" in refusal(path)


def test_pixels_without_an_agreed_range_get_a_sentence(tmp_path):
    path = saved(tmp_path / "f.tiff", Image.fromarray(np.ones((28, 28), np.float32)))
    assert "no agreed range" in refusal(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"]),
    damage=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=8),
    length=st.integers(0, 4000),
)
def test_damage_anywhere_gives_an_image_or_a_sentence(tmp_path, kind, damage, length):
    buffer = io.BytesIO()
    Image.fromarray(noise(20, 20, 3)).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for place, value in damage:
        content[place % len(content)] = value
    path = tmp_path / "damaged"
    path.write_bytes(content[:length])
    try:
        assert_read(read_upload(path, GREY), GREY)
    except GenrevError as error:
        assert str(error).endswith(".")  # noqa: PT017
