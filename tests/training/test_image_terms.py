"""Losses on decoded images, and matching of whitened encodings."""

import copy

import pytest
import torch
from run_files import assert_same_weights, changed, config_of, cut_short, metrics, parts_of, weights
from test_methods import config_for

from genrev.errors import GenrevError
from genrev.objectives import random_filters, sliced_patch_distance
from genrev.options import OptionError
from genrev.priors import ActiveGaussian, GaussianMixturePrior
from genrev.training import Batch, Noise, build_method, resume, train
from genrev.training.methods.image_terms import ImageOptions, ImageTerms

WITH_IMAGES = "reconstruction with images"


class Samples:
    """A model whose decoder hands on what a test has prepared."""

    def __init__(self, images):
        self.images = images
        self.prior = ActiveGaussian(4)

    def decode(self, latents):
        return self.images[: len(latents)]


def l1(x, weight):
    return lambda image: weight * (image - x).abs().mean()


@pytest.fixture
def given():
    torch.manual_seed(0)
    x, decoded, sampled = torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8), torch.rand(3, 1, 8, 8)
    return x, decoded.requires_grad_(), sampled.requires_grad_()


def terms(given, loss, **shares):
    x, decoded, sampled = given
    part = ImageTerms(ImageOptions(image_width=4, **shares), (1, 8, 8))
    batch = Batch(x, torch.zeros(6).long(), phase=WITH_IMAGES)
    model = Samples(sampled)
    model.net = model
    judge = copy.deepcopy(part.discriminator)  # before its step of power iteration
    return judge, part.losses(model, batch, decoded, loss, Noise(0, 1))


@pytest.mark.parametrize("weight", [0.1, 10.0])
@pytest.mark.parametrize("name", ["image", "patches"])
@pytest.mark.parametrize(("share", "features"), [(0.5, 0.0), (2.0, 0.0), (1e-6, 0.7)])
def test_gradients_at_the_image_are_shares_of_that_of_the_reconstruction(
    given, weight, name, share, features
):
    x, decoded, _ = given
    loss = l1(x, weight)
    (reconstruction,) = torch.autograd.grad(loss(decoded), decoded)
    option = {"image": "image_adversary", "patches": "image_patches"}[name]
    parts = terms(given, loss, **{option: share, "image_features": features})[1]
    (found,) = torch.autograd.grad(parts[name], decoded)
    expected = max(share, features) if name == "image" else share
    assert found.norm().item() == pytest.approx(expected * reconstruction.norm().item(), rel=1e-4)


def test_patches_pull_as_their_distance_does_and_have_it_as_their_value(given):
    x, decoded, _ = given
    parts = terms(given, l1(x, 1.0), image_patches=1.0)[1]
    assert set(parts) == {"patches"}
    (found,) = torch.autograd.grad(parts["patches"], decoded)
    filters = Noise(0, 1).draw("filters", lambda generator: random_filters(16, 1, 5, generator))
    distance = sliced_patch_distance(decoded, x, filters)
    (expected,) = torch.autograd.grad(distance, decoded)
    assert parts["patches"].item() == pytest.approx(distance.item(), rel=1e-5)
    torch.testing.assert_close(found / found.norm(), expected / expected.norm())


def test_samples_are_pulled_in_the_same_units_and_the_value_is_the_score(given):
    x, decoded, sampled = given
    judge, parts = terms(given, l1(x, 1.0), image_adversary=0.5, image_features=0)
    ours, theirs = torch.autograd.grad(parts["image"], (decoded, sampled))
    judge.eval()
    assert parts["image"].item() == pytest.approx(-judge(decoded).mean().item())
    of_decoded, of_sampled = (
        torch.autograd.grad(-judge(image).mean(), image)[0] for image in (decoded, sampled)
    )
    scale = ours.norm() / of_decoded.norm()
    torch.testing.assert_close(ours, scale * of_decoded)
    torch.testing.assert_close(theirs, scale * of_sampled)


def test_the_discriminator_learns_by_the_hinge_and_the_decoder_does_not_see_it(given):
    x, decoded, sampled = given
    judge, parts = terms(given, l1(x, 1.0), image_adversary=0.5, image_features=1.0)
    loss = parts["image_discriminator"]
    scores = judge.train()(torch.cat((x, decoded, sampled)))
    expected = (1 - scores[:6]).relu().mean() + (1 + scores[6:]).relu().mean()
    assert loss.item() == pytest.approx(expected.item())
    grads = torch.autograd.grad(loss, (decoded, sampled), allow_unused=True)
    assert grads == (None, None)


def test_shares_of_no_reconstruction_are_refused():
    config = changed(config_for("matching"), method={**IMAGES, "reconstruction_weight": 0})
    with pytest.raises(OptionError, match="shares of the reconstruction's gradient"):
        build_method(config)


def test_images_that_have_no_patches_are_refused_by_name():
    with pytest.raises(GenrevError, match="image_patches is for images of 8x8"):
        ImageTerms(ImageOptions(image_patches=1), (1, 4, 8))


IMAGES = {"image_adversary": 0.5, "image_patches": 0.5, "image_start": 0.5, "image_width": 4}
METHODS = {
    "matching": {
        "prior": {"kind": "mixture", "active_dims": 6, "components": 1},
        "method": {"name": "matching", "criterion": "none", **IMAGES},
    },
    "baseline": {
        "network": {"kind": "conv-autoencoder"},
        "method": {"name": "baseline", "variant": "wae-mmd", **IMAGES},
    },
}


@pytest.mark.parametrize("name", METHODS)
def test_they_set_in_late_and_a_resumed_run_is_the_same(tmp_path, name):
    config = config_of(
        batch_size=40,
        engine={"drift_every": None},
        trainer={"max_steps": 8, "log_every": 1, "sample_every": 100, "checkpoint_every": 3},
        **METHODS[name],
    )
    train(config, tmp_path / "whole")
    rows = metrics(tmp_path / "whole")
    for loss in ("image", "patches"):
        assert [bool(row[loss]) for row in rows] == [False] * 4 + [True] * 4
    cut = cut_short(tmp_path / "whole", tmp_path / "cut", 6)
    resume(config, cut)
    assert_same_weights(weights(tmp_path / "whole"), weights(cut))


def test_whitened_encodings_have_mean_zero_and_unit_covariance():
    torch.manual_seed(0)
    mixing = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.3, 0.0], [-0.5, 0.2, 0.1]])
    active = torch.randn(500, 3) @ mixing.T + torch.tensor([1.0, -2.0, 3.0])
    prior = GaussianMixturePrior(1, 2, "full", 5, torch.arange(3))
    prior.follow_(active, 1.0)
    white = prior.whitened(active)
    torch.testing.assert_close(white.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(white.T.cov(correction=0), torch.eye(3), atol=1e-2, rtol=0)


@torch.no_grad()
def test_an_adversary_compares_whitened_encodings_with_a_normal_distribution():
    mixture = {"prior": {"kind": "mixture", "active_dims": 6, "components": 1}}
    data, model, method = parts_of(changed(config_for("matching"), **mixture))
    x = data.tensor(range(40))
    active = model.prior.restrict(model.encode(x))
    model.prior.follow_(active, 1.0)
    batch, noise = Batch(x, torch.zeros(40).long(), 4, "matching"), Noise(0, 4)
    found = method.losses(model, batch, noise)["matching"]
    judge = method.discriminator.eval()
    centred = active - active.mean(0)
    factor = torch.linalg.cholesky(centred.T @ centred / 40 + 1e-6 * torch.eye(6))
    white = torch.linalg.solve(factor, centred.T).T
    torch.testing.assert_close(found, -judge(white).mean(), rtol=1e-2, atol=1e-3)
    assert method._samples(model, 40, noise).std().item() == pytest.approx(1, abs=0.2)


def test_a_shared_reconstruction_phase_is_without_it_and_keeps_its_weights():
    """``--seeds`` trains that phase once; with images it would be another one."""
    options = {**IMAGES, "image_start": 0.9, "reconstruction_steps": 4}
    config = changed(config_for("matching"), method=options)
    method = parts_of(config)[2]
    shared, rest = method.shared(config, "runs/first")
    assert not ImageTerms.asked(shared.method.options)
    assert ImageTerms.asked(rest.method.options)
    weights = [method.weights(name) for name in ("reconstruction", "reconstruction with images")]
    assert weights[0] == weights[1] != method.weights("matching with images")
