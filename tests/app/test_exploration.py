"""Moves, comparisons and lines, against the model's own methods and closed forms."""

import pytest
import torch

from genrev.app.exhibit import (
    Exhibit,
    between,
    encoded,
    from_sample,
    moved,
    reconstructions,
    shown_class,
    told,
)
from genrev.app.pictures import data_uri, enlarged, figure
from genrev.models import GenerativeModel
from genrev.models.conditions import likely_labels
from genrev.networks import RevNet
from genrev.networks.revnet import PRESETS
from genrev.priors import ActiveGaussian


@pytest.fixture
def x():
    return torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_moving_one_dimension_is_the_traversal(classes):
    dims = [20, 3]
    for label in (None, 1):
        rows = classes.traverse(dims, label, steps=3, extent=2.0)  # -2, 0, 2
        start = classes.prior.center(label).detach()
        for row, offsets in ((0, (2.0, 0.0)), (1, (0.0, 2.0))):
            picture = moved(classes, start, dims, offsets, label)
            assert torch.allclose(picture, rows[row, 2], atol=1e-5)
        assert torch.allclose(moved(classes, start, dims, (0, 0), label), rows[0, 1], atol=1e-5)


def test_moving_leaves_the_start_alone(gaussian):
    start = gaussian.prior.center().detach()
    moved(gaussian, start, [3], [1.0])
    assert torch.equal(start, gaussian.prior.center().detach())


def test_a_start_from_an_image_is_its_encoding(gaussian, x):
    full = encoded(gaussian, x[:1], restricted=False)[0]
    assert torch.allclose(moved(gaussian, full, [], []), x[0], atol=1e-5)
    restricted = encoded(gaussian, x[:1], restricted=True)[0]
    assert torch.allclose(restricted, gaussian.prior.clamp(full[None])[0])


def test_samples_repeat_with_their_seed_and_know_their_class(classes):
    assert torch.equal(from_sample(classes, 2, 5), from_sample(classes, 2, 5))
    assert not torch.equal(from_sample(classes, 2, 5), from_sample(classes, 2, 6))
    draws = torch.stack([from_sample(classes, 1, seed) for seed in range(200)])
    error = (draws.mean(0) - classes.prior.center(1)).abs()
    assert torch.all(error <= 5 * classes.prior.scale(1) / 200**0.5 + 1e-6)
    of_all = torch.stack([from_sample(classes, None, seed) for seed in range(60)])
    assert of_all[:, 3].std() > 0.4  # the classes' means are further apart than that


def test_reconstructions_are_those_of_the_model(gaussian, x):
    result = reconstructions(gaussian, x[:1])
    for restricted, (shown, error) in ((True, result["Restricted"]), (False, result["Full"])):
        expected = gaussian.reconstruct(x[:1], restricted)[0].clamp(0, 1)
        assert torch.allclose(shown, expected, atol=1e-6)
        assert error == pytest.approx(float((expected - x[0]).abs().mean()), abs=1e-6)
    assert result["Full"][1] < 1e-5 < result["Restricted"][1]


def test_without_a_rest_restricted_and_full_are_the_same(everything, x):
    result = reconstructions(everything, x[:1])
    assert torch.equal(result["Restricted"][0], result["Full"][0])
    assert not Exhibit("e", everything, ["all"]).has_rest


@pytest.mark.parametrize("restricted", [True, False])
def test_points_of_the_line_are_those_of_the_interpolation(gaussian, x, restricted):
    z = encoded(gaussian, x, restricted)
    steps = gaussian.interpolate(x[:1], x[1:], 5, restricted)[0]
    for i, t in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        assert torch.allclose(between(gaussian, z, t), steps[i], atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_enlarged_by_whole_numbers(channels):
    x = torch.rand(channels, 28, 28)
    picture = enlarged(x, 300)
    assert picture.size == (280, 280)
    assert picture.mode == ("L" if channels == 1 else "RGB")
    assert enlarged(torch.rand(channels, 500, 500)).size == (500, 500)
    if channels == 1:
        first = picture.crop((0, 0, 10, 10))
        assert first.getextrema()[0] == first.getextrema()[1]


def test_texts_of_a_figure_cannot_become_html():
    html = figure(enlarged(torch.rand(1, 8, 8)), '<b onload="x">', '"><script>', "<i>")
    assert "<script" not in html
    assert "<b onload" not in html
    assert "<i>" not in html
    assert data_uri(enlarged(torch.rand(1, 8, 8))).startswith("data:image/png;base64,")


def test_a_network_that_is_told_the_class_is_told_the_one_chosen_or_the_likely_one():
    net = RevNet(PRESETS["digits"].replace(context=3))
    model = GenerativeModel(net, ActiveGaussian(64, torch.arange(6)), "abc").eval()
    exhibit = Exhibit("c", model, "abc")
    assert exhibit.has_classes
    assert exhibit.examples().shape == (12, 1, 8, 8)
    x = torch.rand(2, 1, 8, 8)
    likely = likely_labels(model, x)
    assert [shown_class(model, None, 0, image[None]) for image in x] == likely.tolist()
    assert [shown_class(model, None, seed) for seed in (4, 5)] == [1, 2]
    assert shown_class(model, 2, 4, x[:1]) == 2
    z = encoded(model, x, restricted=False)
    assert torch.equal(z, model.encode(x, likely))
    assert torch.allclose(moved(model, z[0], [], [], int(likely[0])), x[0], atol=1e-5)
    other = model.decode(z[:1], torch.tensor([2]))[0]  # in the same style
    assert torch.allclose(moved(model, z[0], [], [], 2), other, atol=1e-5)
    features = told(model, x)
    assert torch.equal(features.argmax(1), likely)
    for t in (0.0, 1.0):
        assert torch.allclose(between(model, z, t, features), x[int(t)], atol=1e-5)
    assert reconstructions(model, x[:1])["Full"][1] < 1e-5
