"""Models whose network is told the class: sampling, densities, walks, files and guesses."""

import pytest
import torch

from genrev.errors import GenrevError
from genrev.evaluation import likelihood_report
from genrev.evaluation.metric import samples_as_stored
from genrev.export import export
from genrev.figures import interpolation_rows, reconstruction_rows, sample_sheet, traversal_rows
from genrev.models import GenerativeModel, load, save
from genrev.models.conditions import contexts_of, likely_labels
from genrev.models.walks import interpolate, traverse, traverse_plane
from genrev.networks import RevNet
from genrev.networks.revnet import PRESETS
from genrev.priors import ActiveGaussian, ClassConditionalGaussian, GaussianMixturePrior

CLASSES = ("a", "b", "c")


def network():
    torch.manual_seed(0)
    net = RevNet(PRESETS["digits"].replace(context=3))
    for name, parameter in net.named_parameters():  # classes that make a difference
        if name.endswith("context.weight"):
            torch.nn.init.normal_(parameter, std=3.0)
    return net


PRIORS = {
    "shared": lambda: ActiveGaussian(64, torch.arange(6)),
    "dense": lambda: ActiveGaussian(64, bound=None),
    "by class": lambda: ClassConditionalGaussian(3, 64, torch.arange(6)),
    "mixtures": lambda: GaussianMixturePrior(3, 2, "full", 64, torch.arange(6)),
}


@pytest.fixture(params=PRIORS)
def model(request):
    return GenerativeModel(network(), PRIORS[request.param](), CLASSES).eval()


def shared():
    return GenerativeModel(network(), PRIORS["shared"](), CLASSES).eval()


def generator():
    return torch.Generator().manual_seed(1)


def test_samples_are_decoded_with_their_class(model):
    z = model.prior.sample(6, None, generator())
    decoded = model.decode(z, torch.arange(6) % 3).clamp(0, 1)
    torch.testing.assert_close(model.sample(6, generator=generator()), decoded)
    one = model.sample(4, "b", generator())
    label = 1 if model.prior.num_classes > 1 else None
    z = model.prior.sample(4, label, generator())
    torch.testing.assert_close(one, model.decode(z, torch.ones(4).long()).clamp(0, 1))
    mixed = torch.eye(3)[[0, 1, 2, 0]] / 2 + 1 / 6  # classes can be mixed
    assert model.sample(4, context=mixed).shape == (4, 1, 8, 8)
    with pytest.raises(GenrevError, match="this model knows the classes a, b, c"):
        model.sample(2, label="d")


def test_reconstructions_take_the_context(model):
    x, labels = torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 2, 2, 0])
    torch.testing.assert_close(model.reconstruct(x, False, labels), x, rtol=0, atol=1e-4)
    expected = model.decode(model.prior.clamp(model.encode(x, labels)), labels)
    torch.testing.assert_close(model.reconstruct(x, context=labels), expected)


def test_a_saved_model_knows_its_classes(model, tmp_path):
    save(model, tmp_path)
    loaded = load(tmp_path)
    assert loaded.net.context == 3
    assert loaded.class_names == CLASSES
    assert torch.equal(*(m.sample(5, generator=generator()) for m in (model, loaded)))


def test_densities_of_a_class_and_denoising():
    model = GenerativeModel(network(), PRIORS["dense"](), CLASSES, noise_std=0.1).double()
    x, labels = torch.rand(3, 1, 8, 8).double(), torch.tensor([0, 1, 2])
    z, log_det = model.net.encode_with_log_det(x, labels)
    torch.testing.assert_close(model.log_prob(x, context=labels), model.prior.log_prob(z) + log_det)
    by_class = torch.stack([model.log_prob(x, context=torch.tensor(c)) for c in range(3)])
    assert torch.equal(likely_labels(model, x), by_class.argmax(0))
    assert model.sample(3, label=1).isfinite().all()


def test_the_likely_class_is_that_of_the_nearest_restricted_reconstruction():
    model, x = shared(), torch.rand(8, 1, 8, 8)
    errors = torch.stack(
        [
            (model.reconstruct(x, context=torch.full((8,), c)) - x).abs().flatten(1).mean(1)
            for c in range(3)
        ]
    )
    assert torch.equal(likely_labels(model, x), errors.argmin(0))


def test_walks_keep_or_mix_the_class(model, monkeypatch):
    rows = traverse(model, [0, 3], "c", steps=3)
    label = 2 if model.prior.num_classes > 1 else None
    center = model.decode(model.prior.center(label)[None], torch.tensor([2]))
    torch.testing.assert_close(rows[:, 1], center.expand(2, 1, 8, 8))
    assert traverse_plane(model, 2, steps=3).shape == (3, 3, 1, 8, 8)
    x, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 2])
    guesses = iter(labels.chunk(2))
    monkeypatch.setattr("genrev.models.conditions.likely_labels", lambda *_: next(guesses))
    way = interpolate(model, x[:2], x[2:], 3, restricted=False)
    torch.testing.assert_close(way[:, [0, 2]], torch.stack((x[:2], x[2:]), 1), atol=1e-4, rtol=0)
    z = model.encode(x, labels)
    mixed = torch.eye(3)[labels]
    middle = model.decode((z[:2] + z[2:]) / 2, (mixed[:2] + mixed[2:]) / 2)
    torch.testing.assert_close(way[:, 1], middle, atol=1e-4, rtol=0)


def test_a_walk_needs_a_class_or_an_image():
    model = shared()
    with pytest.raises(GenrevError, match=r"is class-conditional; choose a class with --label"):
        traverse(model, [0])
    assert traverse(model, [0], x=torch.rand(1, 1, 8, 8)).shape == (1, 9, 1, 8, 8)


def test_pictures_and_samples_for_evaluation_are_sorted_by_class(model):
    samples, labels = samples_as_stored(model, 7, seed=0)
    assert labels.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert samples.shape == (7, 1, 8, 8)
    x = torch.rand(6, 1, 8, 8)
    for picture in (
        sample_sheet(model, 6),
        reconstruction_rows(model, x),
        interpolation_rows(model, x[::2], x[1::2]),
        traversal_rows(model, [0, 1], 1),
    ):
        assert picture.width > 0


def test_features_that_are_no_classes_are_given_in_python():
    model = GenerativeModel(network(), PRIORS["dense"]())
    assert model.num_classes == 1
    context = torch.randn(4, 3)
    assert model.sample(4, context=context).shape == (4, 1, 8, 8)
    assert model.log_prob(torch.rand(4, 1, 8, 8), context=context).shape == (4,)
    x = torch.rand(2, 1, 8, 8)
    asked = [
        lambda: model.sample(2),
        lambda: reconstruction_rows(model, x),
        lambda: interpolate(model, x, x),
        lambda: traverse(model),
        lambda: contexts_of(model, 1, 2),
    ]
    for ask in asked:
        with pytest.raises(
            GenrevError, match=r"takes a context of 3 features, which are no classes"
        ):
            ask()


def test_names_are_those_of_the_prior_or_of_the_context():
    with pytest.raises(ValueError, match="2 class names for 1 classes"):
        GenerativeModel(network(), PRIORS["shared"](), ("a", "b"))
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        GenerativeModel(network(), PRIORS["by class"](), ("a", "b"))


@pytest.mark.parametrize("direction", ["encode", "decode", "sample"])
def test_exported_programs_take_the_labels(model, direction, tmp_path):
    written = export(model, tmp_path / "m.pt2", direction)[0]
    first = {"encode": "images", "decode": "latents", "sample": "noise"}[direction]
    assert written.inputs == (first, "labels")
    program = torch.export.load(written.path).module()
    x, labels = torch.rand(3, 1, 8, 8), torch.tensor([2, 2, 0])
    if direction == "encode":
        torch.testing.assert_close(program(x, labels), model.encode(x, labels))
    if direction == "sample":
        noise = model.prior.noise(3, generator())
        own = labels if model.prior.num_classes > 1 else None
        drawn = model.decode(model.prior.from_noise(noise, own), labels).clamp(0, 1)
        torch.testing.assert_close(program(noise, labels), drawn)


def test_likelihood_is_that_of_the_images_own_class(digits_by_name):
    model = GenerativeModel(network_of(10), PRIORS["dense"](), digits_by_name.class_names)
    found = likelihood_report(model, digits_by_name, batch_size=7)
    again = likelihood_report(model, digits_by_name, batch_size=50)
    assert found["bits_per_dim"] == pytest.approx(again["bits_per_dim"], rel=1e-6)


def network_of(classes):
    return RevNet(PRESETS["digits"].replace(context=classes))


@pytest.fixture
def digits_by_name():
    from genrev.data import load_images

    return load_images("digits", "test")


def test_the_density_of_a_class_by_its_label():
    model = GenerativeModel(network(), PRIORS["dense"](), CLASSES).double()
    x, labels = torch.rand(3, 1, 8, 8).double(), torch.tensor([0, 1, 1])
    for label in (labels, ["a", "b", "b"]):
        assert torch.equal(model.log_prob(x, label), model.log_prob(x, context=labels))
    assert torch.equal(model.log_prob(x, 2), model.log_prob(x, context=torch.tensor([2, 2, 2])))
    assert torch.equal(model.log_prob(x, 2, labels), model.log_prob(x, context=labels))


def test_the_density_of_a_class_that_prior_and_network_know():
    prior = ClassConditionalGaussian(3, 64)
    prior.initialise_(torch.randn(3, 64), torch.rand(3, 64) + 0.5)
    model, x = GenerativeModel(network(), prior, CLASSES), torch.rand(3, 1, 8, 8)
    z, log_det = model.net.encode_with_log_det(x, torch.tensor([1, 1, 1]))
    torch.testing.assert_close(model.log_prob(x, "b"), prior.log_prob(z, 1) + log_det)


def test_reconstructions_without_a_class_take_the_likely_one(model):
    x = torch.rand(5, 1, 8, 8)
    expected = model.reconstruct(x, context=likely_labels(model, x))
    torch.testing.assert_close(model.reconstruct(x), expected)
