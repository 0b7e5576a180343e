"""Samples, reconstructions, interpolations and traversals against closed forms of a linear model.

``cells`` reads the images back out of a finished picture, so what is compared is what a reader
of the picture sees.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from genrev import figures
from genrev.errors import GenrevError
from genrev.figures import (
    class_traversals,
    image_grid,
    interpolation_rows,
    reconstruction_rows,
    sample_sheet,
    traversal_plane,
    traversal_planes,
    traversal_rows,
)
from genrev.models.walks import (
    interpolate,
    largest_dims,
    random_dims,
    shared_dims,
    traverse,
    traverse_plane,
)

SCALE = 12  # 8x8 images are drawn with 96 pixels


def cells(
    picture: Image.Image, rows: int, columns: int, padding: int = 4, margin: int = 8
) -> np.ndarray:
    """Images (rows, columns, 8, 8) of a picture, counted from its lower right corner."""
    pixels = np.asarray(picture)
    step = 8 * SCALE + padding
    top = pixels.shape[0] - margin - rows * step + padding
    left = pixels.shape[1] - margin - columns * step + padding
    cut = [
        [
            pixels[top + r * step :, left + c * step :][: 8 * SCALE, : 8 * SCALE][::SCALE, ::SCALE]
            for c in range(columns)
        ]
        for r in range(rows)
    ]
    return np.asarray(cut)


def pixels_of(images: Tensor) -> np.ndarray:
    """Grey images (..., 1, 8, 8) as bytes (..., 8, 8)."""
    return np.rint(images.squeeze(-3).clamp(0, 1).numpy() * 255).astype(np.uint8)


def assert_same_pixels(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape
    assert np.abs(a.astype(int) - b.astype(int)).max() <= 1  # rounding of x * 255 at .5


@pytest.fixture
def x() -> Tensor:
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_row_of_the_sample_sheet_is_a_class(model):
    model.prior.stds.zero_()  # every sample is its class mean
    seen = cells(sample_sheet(model, 8), rows=3, columns=3)
    for label in range(3):
        mean = pixels_of(model.decode(model.prior.center(label)[None]))[0]
        for column in range(2):
            assert_same_pixels(seen[label, column], mean)
    assert (seen[2, 2] == 255).all()  # 8 = 3 + 3 + 2
    assert not (seen[1, 2] == 255).all()


def test_the_sample_sheet_shows_what_sample_returns(model):
    generator = torch.Generator().manual_seed(5)
    expected = pixels_of(model.sample(6, generator=generator)).reshape(2, 3, 8, 8)
    seen = cells(sample_sheet(model, 6, seed=5), rows=3, columns=2)
    assert_same_pixels(seen, expected.swapaxes(0, 1))


def test_a_sheet_of_fewer_samples_than_classes_has_fewer_rows(model):
    assert cells(sample_sheet(model, 2), rows=2, columns=1).shape == (2, 1, 8, 8)
    assert sample_sheet(model, 2).height == 2 * 100 - 4 + 16


@pytest.mark.parametrize("label", [None, 2])
def test_samples_depend_on_the_seed_alone(model, label):
    state = torch.random.get_rng_state()
    first, again, other = (sample_sheet(model, 9, label, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert torch.equal(torch.random.get_rng_state(), state)


def test_one_class_fills_a_square(model, make_model):
    only = make_model(classes=1)
    assert sample_sheet(only, 9).size == (304, 304)
    assert sample_sheet(only, 9, label=0) == sample_sheet(only, 9)  # nothing to tell apart
    labelled = sample_sheet(model, 9, label=1)
    expected = pixels_of(model.sample(9, 1, torch.Generator().manual_seed(0)))
    assert_same_pixels(cells(labelled, 3, 3).reshape(9, 8, 8), expected)


def test_samples_that_do_not_exist_are_told(model, make_model):
    with pytest.raises(GenrevError, match="at least 1"):
        sample_sheet(model, 0)
    with pytest.raises(GenrevError, match="no class 3: this model knows the classes 0 to 2"):
        sample_sheet(model, 4, label=3)
    with pytest.raises(GenrevError, match="no class 7: this model knows no classes"):
        sample_sheet(make_model(classes=1), 4, label=7)


def test_reconstruction_rows_are_original_restricted_and_full(model, x):
    seen = cells(reconstruction_rows(model, x), rows=3, columns=5)
    flat = x.flatten(1) - model.shift
    active = model.basis[:, model.prior.active_dims]
    projected = flat @ active @ active.T + model.shift  # onto the span of the active dimensions
    assert_same_pixels(seen[0], pixels_of(x))
    assert_same_pixels(seen[1], pixels_of(projected.view_as(x)))
    assert_same_pixels(seen[2], pixels_of(x))


def test_all_dimensions_active_makes_restricted_and_full_equal(make_model, x):
    seen = cells(reconstruction_rows(make_model(active=64), x), rows=3, columns=5)
    assert np.array_equal(seen[1], seen[2])
    seen = cells(reconstruction_rows(make_model(active=5), x), rows=3, columns=5)
    assert not np.array_equal(seen[1], seen[2])


def test_many_reconstructions_go_into_bands(model):
    x = torch.rand(20, 1, 8, 8)
    picture = reconstruction_rows(model, x)
    one = reconstruction_rows(model, x[:16])
    assert picture.width == one.width
    assert picture.height == 2 * one.height + 12
    assert picture.crop((0, 0, *one.size)) == one


def test_bands_of_large_images_are_half_as_long(make_model):
    """64x64 images in rows of 16 would be drawn without enlargement."""
    model = make_model((3, 49, 1), classes=1)
    assert reconstruction_rows(model, torch.rand(16, 3, 49, 1)).height < 2 * 3 * 102 + 20
    model = make_model((3, 1, 49), classes=1)
    picture = reconstruction_rows(model, torch.rand(16, 3, 1, 49))
    one = reconstruction_rows(model, torch.rand(8, 3, 1, 49))
    assert picture.size == (one.width, 2 * one.height + 12)


@pytest.mark.parametrize("restricted", [True, False])
def test_interpolations_end_in_reconstructions_and_are_straight(model, x, restricted):
    images = interpolate(model, x[:2], x[2:4], steps=5, restricted=restricted)
    ends = []
    for end in (x[:2], x[2:4]):
        z = model.encode(end)
        ends.append(model.decode(model.prior.clamp(z) if restricted else z))
    torch.testing.assert_close(images[:, 0], ends[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(images[:, -1], ends[1], atol=1e-6, rtol=0)
    # The decoder is affine, so the line is straight in the space of images too.
    torch.testing.assert_close(images[:, 1], 0.75 * ends[0] + 0.25 * ends[1], atol=1e-6, rtol=0)


def test_interpolation_rows_show_both_images_and_what_lies_between(model, x):
    seen = cells(interpolation_rows(model, x[:2], x[2:4], steps=3), rows=2, columns=5)
    assert_same_pixels(seen[:, 0], pixels_of(x[:2]))
    assert_same_pixels(seen[:, 1:4], pixels_of(interpolate(model, x[:2], x[2:4], steps=3)))
    assert_same_pixels(seen[:, 4], pixels_of(x[2:4]))


def test_ends_that_do_not_fit_are_refused(model, x):
    with pytest.raises(ValueError, match="2 and 3 images"):
        interpolate(model, x[:2], x[2:])
    with pytest.raises(ValueError, match="1 steps"):
        interpolate(model, x[:1], x[1:2], steps=1)
    with pytest.raises(ValueError, match=r"x_b must be of shape \(N, 1, 8, 8\)"):
        interpolate(model, x[:1], torch.rand(1, 1, 9, 9))
    with pytest.raises(ValueError, match=r"one image or more"):
        reconstruction_rows(model, x[:0])
    with pytest.raises(TypeError, match="floats"):
        reconstruction_rows(model, x.to(torch.uint8))


def test_the_largest_dimensions_come_first_and_ties_keep_their_order(model):
    scale = model.prior.scale(1)
    dims = largest_dims(model, 3, label=1)
    assert [float(scale[d]) for d in dims] == sorted(model.prior.stds[1].tolist())[:-4:-1]
    model.prior.stds.fill_(1)
    assert largest_dims(model, 99) == model.prior.active_dims.tolist()


def test_shared_dimensions_have_the_largest_mean_of_the_classes_standard_deviations(model):
    stds = model.prior.stds
    stds.copy_(torch.tensor([[9.0, 1, 4, 0, 3], [0, 1, 4, 5, 3], [0, 1, 4, 5, 3]]))
    model.prior.means[0] = 1000  # a spread of the means between classes does not count
    active = model.prior.active_dims
    assert shared_dims(model) == [int(active[2]), int(active[3]), int(active[0])]  # 4, 10/3, 3
    assert shared_dims(model, 99)[3:] == [int(active[4]), int(active[1])]  # a tie keeps its order
    by_hand = sorted(range(5), key=lambda i: -sum(float(row[i]) for row in stds))
    assert shared_dims(model, 5) == [int(active[i]) for i in by_hand]


def test_random_dimensions_are_different_active_ones_and_depend_on_the_seed(model):
    drawn = [random_dims(model, 3, seed) for seed in range(20)]
    active = set(model.prior.active_dims.tolist())
    assert all(len(set(dims)) == 3 and set(dims) <= active for dims in drawn)
    assert random_dims(model, 3, 7) == drawn[7]
    assert {dim for dims in drawn for dim in dims} == active  # each comes up
    assert sorted(random_dims(model, 99)) == sorted(active)


def test_every_class_shows_the_same_dimensions_around_its_own_mean(model):
    """Figure 12, read back from the picture: two panels side by side, the third below."""
    dims = shared_dims(model, 3)
    picture = np.asarray(class_traversals(model))
    one = image_grid(
        traverse(model, dims, 0, 9, 2.0).flatten(0, 1),
        9,
        padding=2,
        scale=1400 // (2 * 9 * 8),
        row_labels=[f"dim {dim}" for dim in dims],
        column_labels=["-2.0", "-1.5", "-1.0", "-0.5", "0", "+0.5", "+1.0", "+1.5", "+2.0"],
        title="class 0",
    )
    side, step = 8 * (1400 // (2 * 9 * 8)), 8 * (1400 // (2 * 9 * 8)) + 2
    for label, (top, left) in enumerate(((0, 0), (0, 1), (1, 0))):
        y, x = top * (one.height + 12), left * (one.width + 12)
        panel = picture[y : y + one.height, x : x + one.width]
        first_y, first_x = one.height - 8 - 3 * step + 2, one.width - 8 - 9 * step + 2
        for row, dim in enumerate(dims):
            for column, offset in enumerate(np.linspace(-2, 2, 9)):
                z = model.prior.center(label).clone()
                z[dim] += offset * model.prior.scale(label)[dim]
                top_y, left_x = first_y + row * step, first_x + column * step
                seen = panel[top_y : top_y + side, left_x : left_x + side]
                scale = side // 8
                assert_same_pixels(seen[::scale, ::scale], pixels_of(model.decode(z[None]))[0])


@pytest.mark.parametrize("label", [None, 0, 2])
def test_a_traversal_moves_one_dimension_and_passes_through_the_mean(model, label):
    dims = largest_dims(model, 8, label)
    images = traverse(model, label=label, steps=9, extent=3.0)
    assert images.shape == (5, 9, 1, 8, 8)  # five active dimensions, not eight
    mean = model.decode(model.prior.center(label)[None])[0]
    for row, dim in enumerate(dims):
        torch.testing.assert_close(images[row, 4], mean)
        z = model.encode(images[row]) - model.prior.center(label)
        along = 3 * model.prior.scale(label)[dim] * torch.linspace(-1, 1, 9)
        torch.testing.assert_close(z[:, dim], along, atol=1e-5, rtol=0)
        z[:, dim] = 0
        assert z.abs().max() < 1e-5


def test_a_traversal_around_an_image_passes_through_its_restricted_reconstruction(model, x):
    images = traverse(model, dims=[int(model.prior.active_dims[0]), 1], steps=3, x=x[:1])
    middle = model.decode(model.prior.clamp(model.encode(x[:1])))
    torch.testing.assert_close(images[:, 1], middle.expand(2, -1, -1, -1))


def test_traversal_rows_show_the_traversals(model):
    seen = cells(traversal_rows(model, label=1, steps=5), rows=5, columns=5)
    assert_same_pixels(seen, pixels_of(traverse(model, label=1, steps=5)))


def test_a_plane_grows_to_the_right_and_downwards(model):
    across, down = largest_dims(model, 2, 1)
    offsets = torch.linspace(-2, 2, 8)
    z = model.encode(traverse_plane(model, 1).flatten(0, 1)).view(8, 8, -1) - model.prior.center(1)
    scale = model.prior.scale(1)
    expected = torch.zeros_like(z)
    expected[..., across] = offsets * scale[across]
    expected[..., down] = (offsets * scale[down])[:, None]
    torch.testing.assert_close(z, expected, atol=1e-5, rtol=0)
    swapped = traverse_plane(model, 1, dims=(down, across))
    torch.testing.assert_close(swapped.transpose(0, 1), traverse_plane(model, 1))
    seen = cells(traversal_plane(model, 1), rows=8, columns=8, padding=3)
    assert_same_pixels(seen, pixels_of(traverse_plane(model, 1)))


def test_all_planes_are_in_one_picture(model, make_model):
    one, three = (traversal_planes(m) for m in (make_model(classes=1), model))
    assert one.size == (8 * 99 + 3, 8 * 99 + 3)  # no title, so no margin but the padding
    cell = 8 * (1400 // (3 * 8 * 8)) + 3
    assert three.width == 3 * (8 * cell - 3 + 16) + 2 * 12


def test_every_plane_names_its_dimensions(model, monkeypatch):
    titles = []
    draw = figures.traversals.image_grid
    monkeypatch.setattr(
        figures.traversals,
        "image_grid",
        lambda *given, title, **more: titles.append(title) or draw(*given, title=title, **more),
    )
    traversal_planes(model)
    widest = [largest_dims(model, 2, label) for label in range(3)]
    assert titles == [
        f"class {label}\ndim {across} across, {down} down"
        for label, (across, down) in enumerate(widest)
    ]


def test_places_that_do_not_exist_are_told(model, make_model, x):
    with pytest.raises(GenrevError, match=r"no latent dimension 64: .* 0 to 63"):
        traversal_rows(model, dims=[3, 64])
    with pytest.raises(GenrevError, match="no latent dimension -1"):
        traversal_plane(model, 0, dims=(0, -1))
    with pytest.raises(GenrevError, match="name at least one"):
        traversal_rows(model, dims=[])
    with pytest.raises(GenrevError, match="no class 3"):
        traversal_plane(model, 3)
    for dims in ([4], [4, 4], [1, 2, 3]):
        with pytest.raises(GenrevError, match="two different"):
            traversal_plane(model, 0, dims=dims)
    with pytest.raises(GenrevError, match="two active dimensions"):
        traversal_planes(make_model(active=1))
    with pytest.raises(ValueError, match="2 steps"):
        traverse(model, steps=1)
    with pytest.raises(ValueError, match="one image; got 5"):
        traverse(model, x=x)


class TrainedModule(nn.Module):
    """The linear model as a module with a parameter, dropout and batch statistics."""

    def __init__(self, model) -> None:
        super().__init__()
        self.linear, self.prior, self.image_shape = model, model.prior, model.image_shape
        self.weight = nn.Parameter(torch.ones(()))
        self.norm = nn.BatchNorm1d(64, affine=False)
        self.dropout = nn.Dropout(0.5)
        self.norm.eval()

    def encode(self, x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return self.dropout(self.norm(self.linear.encode(x))) * self.weight

    def decode(self, z: Tensor) -> Tensor:
        return self.dropout(self.linear.decode(z)) * self.weight

    def sample(self, n, label=None, generator=None) -> Tensor:
        return self.decode(self.prior.sample(n, label, generator)).clamp(0, 1)


def test_figures_leave_no_trace_in_a_model_that_is_being_trained(model, x):
    module = TrainedModule(model).train()
    module.norm.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    pictures = []
    for _ in range(2):
        pictures.append(
            [
                sample_sheet(module, 4),
                reconstruction_rows(module, x),
                interpolation_rows(module, x[:1], x[1:2]),
                traversal_rows(module, x=x[:1]),
                traversal_plane(module, 0),
            ]
        )
    assert pictures[0] == pictures[1]  # so dropout was off
    assert module.training
    assert module.dropout.training
    assert not module.norm.training
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    assert torch.is_grad_enabled()


def test_figures_do_not_change_their_inputs(model, x):
    kept = [x, model.prior.means, model.prior.stds, model.prior.active_dims]
    before = [tensor.clone() for tensor in kept]
    reconstruction_rows(model, x)
    interpolation_rows(model, x[:2], x[2:4])
    traversal_rows(model, label=0, x=x[:1])
    traversal_rows(model)
    traversal_plane(model, 0)
    for tensor, old in zip(kept, before, strict=True):
        assert torch.equal(tensor, old)


def test_rows_have_the_names_of_their_classes(model):
    names = ("cat", "an animal with a name of many words", "\u732b")
    model.class_names = names
    by_class = torch.stack([model.sample(6, generator=torch.Generator().manual_seed(0))])
    rows = by_class[0].unflatten(0, (2, 3)).transpose(0, 1).flatten(0, 1)
    # Shortened, and the number where the font lacks the letters.
    labels = ["cat", "an animal with a name...", "2"]
    expected = image_grid(rows, 2, row_labels=labels)
    assert np.array_equal(np.asarray(sample_sheet(model, 6)), np.asarray(expected))
    titled = np.asarray(sample_sheet(model, 4, label=0))
    images = model.sample(4, 0, torch.Generator().manual_seed(0))
    assert np.array_equal(titled, np.asarray(image_grid(images, title="class cat")))
