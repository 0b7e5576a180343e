"""Sheets, strip and animation of samples through training.

The expected pixels are those of ``model.sample`` or are cut out of the PNG of a sheet by hand.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from genrev.errors import GenrevError
from genrev.figures import image_grid, progress_gif, progress_strip, stored_sheets, write_sheet


def write_steps(model, folder, steps, n=6) -> None:
    """Sheets of a model that gets brighter from step to step."""
    for index, step in enumerate(steps):
        model.shift = torch.full_like(model.shift, 0.2 + 0.6 * index / len(steps))
        write_sheet(model, folder, step, n)


def sheet_images(path, rows: int, columns: int) -> np.ndarray:
    """Images (rows * columns, 8, 8, ...) of a sheet: 8x8 pixels, 2 between and around them."""
    pixels = np.asarray(Image.open(path))
    assert pixels.shape[:2] == (rows * 10 + 2, columns * 10 + 2)
    return np.stack(
        [
            pixels[2 + 10 * r : 10 + 10 * r, 2 + 10 * c : 10 + 10 * c]
            for r in range(rows)
            for c in range(columns)
        ]
    )


def drawn_images(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Images (rows, columns, 8, 8, ...) at the lower right of a picture, 96 pixels each: means."""
    top, left = (pixels.shape[i] - 8 - count * 100 + 4 for i, count in enumerate((rows, columns)))
    cells = [
        [pixels[top + 100 * r :, left + 100 * c :][:96, :96] for c in range(columns)]
        for r in range(rows)
    ]
    blocks = np.asarray(cells, dtype=float).reshape(rows, columns, 8, 12, 8, 12, -1)
    return blocks.mean(axis=(3, 5)).squeeze()


def gif_frames(path) -> list[np.ndarray]:
    with Image.open(path) as gif:
        mode = "L" if gif.mode == "L" else "RGB"
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append(np.asarray(gif.convert(mode)))
        return frames


@pytest.mark.parametrize(
    ("classes", "n", "rows", "columns"), [(1, 9, 3, 3), (1, 6, 2, 3), (3, 12, 4, 3), (3, 2, 1, 2)]
)
def test_a_sheet_shows_the_samples_in_their_own_size(
    make_model, tmp_path, classes, n, rows, columns
):
    model = make_model((3, 8, 8), classes=classes)
    path = write_sheet(model, tmp_path / "samples", 500, n, seed=3)
    assert path == tmp_path / "samples" / "step0000500.png"
    samples = model.sample(n, generator=torch.Generator().manual_seed(3))
    expected = np.rint(samples.permute(0, 2, 3, 1).numpy() * 255)
    images = sheet_images(path, rows, columns)
    np.testing.assert_allclose(images, expected, atol=1)  # rounding of x * 255 at .5
    assert list(path.parent.iterdir()) == [path]


def test_classes_stand_in_columns(model, tmp_path):
    model.prior.stds.zero_()  # every sample is its class mean
    images = sheet_images(write_sheet(model, tmp_path, 0, 12), 4, 3)
    assert all(np.array_equal(images[i], images[i % 3]) for i in range(12))
    assert not np.array_equal(images[0], images[1])


def test_a_sheet_is_the_same_whenever_it_is_written_and_leaves_no_trace(model, tmp_path):
    module = nn.Module()
    module.prior, module.image_shape = model.prior, model.image_shape
    module.drop = nn.Dropout(0.5)
    module.sample = lambda n, label=None, generator=None: module.drop(
        model.sample(n, label, generator)
    )
    module.train()
    state = torch.random.get_rng_state()
    first, again = (write_sheet(module, tmp_path, 1).read_bytes() for _ in range(2))
    assert first == again  # so dropout was off
    assert module.training
    assert module.drop.training
    assert torch.equal(torch.random.get_rng_state(), state)


@given(
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9)),
    n=st.integers(1, 12),
    classes=st.integers(1, 5),
    columns=st.integers(1, 12),
)
def test_what_a_sheet_stores_can_be_cut_out_again(
    make_model, tmp_path_factory, shape, n, classes, columns
):
    folder = tmp_path_factory.mktemp("sheets")
    model = make_model(shape, classes=classes, active=1)
    write_sheet(model, folder, 1200, n)
    samples = model.sample(n, generator=torch.Generator().manual_seed(0))[:columns]
    expected = image_grid(samples, len(samples), row_labels=["step 1,200"])
    assert progress_strip(folder, columns=columns) == expected


def test_the_rows_of_the_strip_are_the_sheets(make_model, tmp_path):
    model, steps = make_model((3, 8, 8), classes=1), [0, 10, 500, 12_000]
    write_steps(model, tmp_path, steps)
    drawn = drawn_images(np.asarray(progress_strip(tmp_path, columns=4)), 4, 4)
    for row, step in zip(drawn, steps, strict=True):
        sheet = sheet_images(tmp_path / f"step{step:07d}.png", 2, 3)
        assert np.array_equal(row, sheet[:4])


@pytest.mark.parametrize("count", [8, 9, 13, 20])
def test_of_many_steps_the_strip_shows_eight_at_even_distances(model, tmp_path, count):
    write_steps(model, tmp_path, [100 * i for i in range(count)], n=1)
    sheets = [sheet_images(tmp_path / f"step{100 * i:07d}.png", 1, 1)[0] for i in range(count)]
    drawn = drawn_images(np.asarray(progress_strip(tmp_path)), 8, 1)
    shown = [next(i for i, s in enumerate(sheets) if np.array_equal(row, s)) for row in drawn]
    assert (shown[0], shown[-1]) == (0, count - 1)
    gaps = np.diff(shown)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_a_row_of_one_sheet_shows_the_last_step(model, tmp_path):
    write_steps(model, tmp_path, [0, 1, 2])
    last = sheet_images(tmp_path / "step0000002.png", 2, 3)
    assert np.array_equal(drawn_images(np.asarray(progress_strip(tmp_path, rows=1)), 1, 6), last)


def test_every_step_is_a_frame_of_the_gif(make_model, tmp_path):
    model, steps = make_model((3, 8, 8), classes=1), [0, 7, 30, 100, 1_000_000]
    write_steps(model, tmp_path / "samples", steps)
    path = progress_gif(tmp_path / "samples", tmp_path / "deep" / "a.gif", duration=120)
    assert list(path.parent.iterdir()) == [path]
    frames = gif_frames(path)
    assert len(frames) == 5
    for frame, step in zip(frames, steps, strict=True):
        sheet = sheet_images(tmp_path / f"samples/step{step:07d}.png", 2, 3)
        # 384 colours a sheet at most, of which a palette has 256, and errors are diffused.
        error = drawn_images(frame, 2, 3).reshape(6, 8, 8, 3) - sheet
        assert np.abs(error).mean() < 4
        assert np.abs(error.mean(axis=(1, 2))).max() < 3
    with Image.open(path) as gif:
        durations = []
        for index in range(5):
            gif.seek(index)
            durations.append(gif.info["duration"])
        assert durations == [120, 120, 120, 120, 2000]
        assert gif.info["loop"] == 0


def test_grey_frames_are_exact(model, tmp_path):
    steps = [5, 10, 15]
    write_steps(model, tmp_path, steps)
    for frame, step in zip(gif_frames(progress_gif(tmp_path, tmp_path / "a.gif")), steps,
                           strict=True):  # fmt: skip
        sheet = sheet_images(tmp_path / f"step{step:07d}.png", 2, 3)
        assert np.array_equal(drawn_images(frame[..., 0], 2, 3).reshape(6, 8, 8), sheet)


def test_photographs_keep_their_colours_in_the_gif(make_model, tmp_path):
    """Smooth gradients of all colours: what a palette is bad at, and error diffusion is for."""
    model = make_model((3, 32, 32), classes=1)
    y, x = torch.meshgrid(torch.arange(32) / 5, torch.arange(32) / 5, indexing="ij")
    waves = (torch.sin(y + 2 * x), torch.sin(2 * y - x + 2), torch.sin(3 * x + 4))
    photo = (torch.stack(waves) + 1) / 2
    model.sample = lambda n, label=None, generator=None: photo[None]
    write_sheet(model, tmp_path, 0, 1)
    frame = gif_frames(progress_gif(tmp_path, tmp_path / "a.gif"))[0]
    blocks = frame[-104:-8, 8:104].reshape(8, 12, 8, 12, 3).mean(axis=(1, 3))
    expected = photo.permute(1, 2, 0).reshape(8, 4, 8, 4, 3).mean(dim=(1, 3)).numpy() * 255
    assert np.abs(blocks - expected).max() < 7
    assert np.abs(blocks - expected).mean() < 1.5


def test_a_gif_of_many_steps_has_as_many_frames_as_asked_for(model, tmp_path):
    write_steps(model, tmp_path, range(12), n=1)
    frames = gif_frames(progress_gif(tmp_path, tmp_path / "a.gif", frames=5))
    assert len(frames) == 5
    last = sheet_images(tmp_path / "step0000011.png", 1, 1)[0]
    left = frames[-1][:, :112, 0]  # the title is wider than the one image
    assert np.array_equal(drawn_images(left, 1, 1), last)


def test_frames_have_one_size_though_titles_differ(model, tmp_path):
    write_steps(model, tmp_path, [0, 10_000_000], n=1)
    first, last = gif_frames(progress_gif(tmp_path, tmp_path / "a.gif"))
    assert first.shape == last.shape
    assert (first[:, 150:] == 255).all()  # "step 0" ends before, the ground goes on
    assert not (last[:, 150:] == 255).all()


def test_sheets_are_found_by_step_and_nothing_else_is(model, tmp_path):
    assert stored_sheets(tmp_path / "none") == {}
    for step in (20_000_000, 5, 300):
        write_sheet(model, tmp_path, step, 1)
    for name in ("step.png", "stepx.png", "mystep0000001.png", ".step0000001.png", "step1.jpg"):
        (tmp_path / name).touch()
    assert list(stored_sheets(tmp_path)) == [5, 300, 20_000_000]


def test_what_is_no_sheet_is_told(model, make_model, tmp_path):
    with pytest.raises(GenrevError, match=r"no sample sheets .*none.*folder samples of a run"):
        progress_strip(tmp_path / "none")
    with pytest.raises(GenrevError, match="no sample sheets"):
        progress_gif(tmp_path, tmp_path / "a.gif")
    path = write_sheet(model, tmp_path, 1, 4)
    with pytest.raises(GenrevError, match=r"must end in \.gif"):
        progress_gif(tmp_path, tmp_path / "a.png")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GenrevError, match=r"step0000001\.png' is no sample sheet"):
        progress_strip(tmp_path)
    image_grid(torch.rand(4, 1, 8, 8)).save(path)
    with pytest.raises(GenrevError, match="is no sample sheet"):
        progress_strip(tmp_path)
    path.write_bytes(whole)
    write_sheet(make_model((3, 8, 8)), tmp_path, 2, 4)
    with pytest.raises(GenrevError, match="of different images"):
        progress_strip(tmp_path)
    assert not (tmp_path / "a.gif").exists()


def test_impossible_sizes_are_refused(model, tmp_path):
    write_sheet(model, tmp_path, 1, 4)
    for call in (
        lambda: write_sheet(model, tmp_path, 1, 0),
        lambda: write_sheet(model, tmp_path, -1),
        lambda: progress_strip(tmp_path, rows=0),
        lambda: progress_strip(tmp_path, columns=0),
        lambda: progress_gif(tmp_path, tmp_path / "a.gif", frames=0),
        lambda: progress_gif(tmp_path, tmp_path / "a.gif", duration=5),
    ):
        with pytest.raises(ValueError, match="got"):
            call()


def test_a_model_that_has_diverged_is_told(model, tmp_path):
    model.shift[0] = torch.nan
    with pytest.raises(GenrevError, match="NaN"):
        write_sheet(model, tmp_path, 1)
    assert list(tmp_path.iterdir()) == []
