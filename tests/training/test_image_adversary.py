"""An adversary on decoded images, and matching of whitened encodings."""

import pytest
import torch
from run_files import assert_same_weights, changed, config_of, cut_short, metrics, parts_of, weights
from test_methods import config_for

from genrev.priors import GaussianMixturePrior
from genrev.training import Batch, Noise, resume, train
from genrev.training.methods.image_adversary import ImageAdversary


def l1(x, weight):
    return lambda image: weight * (image - x).abs().mean()


@pytest.fixture
def given():
    torch.manual_seed(0)
    x, decoded, sampled = torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8), torch.rand(3, 1, 8, 8)
    return x, decoded.requires_grad_(), sampled.requires_grad_()


@pytest.mark.parametrize("weight", [0.1, 10.0])
@pytest.mark.parametrize(("adversary", "features"), [(0.5, 0.0), (2.0, 0.0), (0.0, 0.7)])
def test_its_gradient_at_the_image_is_a_share_of_that_of_the_reconstruction(
    given, weight, adversary, features
):
    x, decoded, sampled = given
    loss = l1(x, weight)
    (reconstruction,) = torch.autograd.grad(loss(decoded), decoded)
    part = ImageAdversary((1, 8, 8), 4, adversary, features)
    (found,) = torch.autograd.grad(part.losses(x, decoded, sampled, loss)["image"], decoded)
    share = adversary or features
    assert found.norm().item() == pytest.approx(share * reconstruction.norm().item(), rel=1e-4)


def test_samples_are_pulled_in_the_same_units_and_the_value_is_the_score(given):
    x, decoded, sampled = given
    part = ImageAdversary((1, 8, 8), 4, 0.5, 0.0)
    loss = part.losses(x, decoded, sampled, l1(x, 1.0))["image"]
    ours, theirs = torch.autograd.grad(loss, (decoded, sampled))
    judge = part.discriminator.eval()
    # The discriminator has done a step of power iteration since.
    assert loss.item() == pytest.approx(-judge(decoded).mean().item(), rel=1e-2)
    of_decoded, of_sampled = (
        torch.autograd.grad(-judge(image).mean(), image)[0] for image in (decoded, sampled)
    )
    scale = ours.norm() / of_decoded.norm()
    torch.testing.assert_close(ours, scale * of_decoded, rtol=1e-2, atol=1e-5)
    torch.testing.assert_close(theirs, scale * of_sampled, rtol=1e-2, atol=1e-5)


def test_the_discriminator_learns_by_the_hinge_and_the_decoder_does_not_see_it(given):
    x, decoded, sampled = given
    part = ImageAdversary((1, 8, 8), 4, 0.5, 1.0)
    loss = part.losses(x, decoded, sampled, l1(x, 1.0))["image_discriminator"]
    scores = part.discriminator.eval()(torch.cat((x, decoded, sampled)))
    expected = (1 - scores[:6]).relu().mean() + (1 + scores[6:]).relu().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=0.2)  # one power iteration apart
    grads = torch.autograd.grad(loss, (decoded, sampled), allow_unused=True)
    assert grads == (None, None)


ADVERSARY = {
    "prior": {"kind": "mixture", "active_dims": 6, "components": 1},
    "method": {
        "name": "matching",
        "criterion": "none",
        "image_adversary": 0.5,
        "image_start": 0.5,
        "image_width": 4,
    },
}


def test_it_sets_in_late_and_a_resumed_run_is_the_same(tmp_path):
    config = config_of(
        batch_size=40,
        engine={"drift_every": None},
        trainer={"max_steps": 8, "log_every": 1, "sample_every": 100, "checkpoint_every": 3},
        **ADVERSARY,
    )
    train(config, tmp_path / "whole")
    rows = metrics(tmp_path / "whole")
    assert [bool(row["image"]) for row in rows] == [False] * 4 + [True] * 4
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
    options = {"image_adversary": 0.5, "image_start": 0.9, "reconstruction_steps": 4}
    config = changed(config_for("matching"), method=options)
    method = parts_of(config)[2]
    shared, rest = method.shared(config, "runs/first")
    assert (shared.method.options.image_adversary, rest.method.options.image_adversary) == (0, 0.5)
    weights = [method.weights(name) for name in ("reconstruction", "reconstruction with images")]
    assert weights[0] == weights[1] != method.weights("matching with images")
