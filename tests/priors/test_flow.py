"""Flows as priors: the fit, its inverse, through a file and back, and what is refused."""

import argparse
import json
import math
import re
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from genrev.cli import parsers
from genrev.errors import GenrevError
from genrev.models import GenerativeModel, load, save
from genrev.networks import revnet
from genrev.priors import FlowMatchingPrior, FlowPrior, GaussianMixturePrior, flow_matching

ACTIVE = torch.tensor([9, 4])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def two_modes(n, generator):
    """Equally often in two narrow places, on correlated axes; and its entropy, nearly."""
    place = torch.randint(2, (n, 1), generator=generator) * 8.0 - 4
    normal = torch.randn(n, 2, generator=generator)
    points = normal @ torch.tensor([[1.0, 0.8], [0.0, 0.3]]) + place
    entropy = math.log(2) + 1 + math.log(2 * math.pi) + math.log(0.3)
    return points, entropy


def splines(classes=1, layers=3, hidden=24, steps=600):
    return FlowPrior(classes, 64, ACTIVE, 2.0, layers=layers, hidden=hidden, steps=steps)


def matching(classes=1, layers=3, hidden=64, steps=1500):
    return FlowMatchingPrior(classes, 64, ACTIVE, 2.0, layers=layers, hidden=hidden, steps=steps)


@pytest.fixture(scope="module", params=[splines, matching], ids=["splines", "matching"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def fitted(kind):
    points, _ = two_modes(3000, seeded())
    labels = torch.arange(3000) % 2
    points[labels == 1] = 5 + points[labels == 1] / 3  # another class, elsewhere and narrower
    prior = kind(classes=2)
    return prior, prior.fit_(points, labels, seed=0)


def test_a_new_flow_is_standard_normal(kind):
    prior, z = kind(classes=2), torch.randn(5, 64)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z[:, ACTIVE]).sum(1)
    for label in (None, 0, 1):
        torch.testing.assert_close(prior.log_prob(z, label), expected)
    noise = torch.randn(5, 2)
    made = prior.restrict(prior.from_noise(noise, torch.zeros(5).long()))
    torch.testing.assert_close(made, noise)


def test_a_flow_beats_a_gaussian_on_what_it_has_not_seen(fitted):
    prior, told = fitted
    points, entropy = two_modes(5_000, seeded(9))
    with torch.no_grad():
        found = float(prior.distribution(0).log_prob(points).mean())
        narrow = float(prior.distribution(1).log_prob(5 + points / 3).mean())
    gaussian = torch.distributions.MultivariateNormal(points.mean(0), points.T.cov())
    assert found > float(gaussian.log_prob(points).mean()) + 0.5
    assert -entropy - 0.15 < found < -entropy + 0.02
    assert -entropy - 0.15 < narrow - 2 * math.log(3) < -entropy + 0.02
    middle = (found + narrow) / 2
    assert told["held_out_log_prob"] == pytest.approx(middle, abs=0.15)
    assert told["held_out_gaussian"] < told["held_out_log_prob"] - 0.5


def test_samples_of_a_flow_lie_where_it_was_fitted(fitted):
    prior, _ = fitted
    points, _ = two_modes(20_000, seeded(9))
    for label, expected in ((0, points), (1, 5 + points / 3)):
        z = prior.sample(20_000, label, seeded())
        drawn = prior.restrict(z)
        torch.testing.assert_close(drawn.mean(0), expected.mean(0), atol=0.25, rtol=0)
        torch.testing.assert_close(drawn.T.cov(), expected.T.cov(), atol=1.0, rtol=0.05)
        std = drawn.std(0)
        error = (prior.center(label)[ACTIVE] - drawn.mean(0)) / std
        assert error.abs().max() < 4 / prior.samples_for_moments**0.5 + 0.03
        torch.testing.assert_close(prior.scale(label)[ACTIVE], std, atol=0, rtol=0.05)


def test_the_flow_is_undone_by_its_inverse(fitted):
    prior, _ = fitted
    noise, labels = torch.randn(200, 2, generator=seeded()), torch.arange(200) % 2
    active = prior.restrict(prior.from_noise(noise, labels))
    for label in (0, 1):
        mine = labels == label
        flow = prior.distribution(label)
        torch.testing.assert_close(flow.transform(active[mine]), noise[mine], atol=1e-3, rtol=1e-3)
        back = flow.transform.inv(noise[mine])
        torch.testing.assert_close(back, active[mine], atol=1e-3, rtol=1e-3)


def test_the_density_has_the_determinant_of_autograd(fitted):
    prior, _ = fitted
    flow = prior.distribution(1)
    for point in prior.restrict(prior.sample(4, 1, seeded())):
        jacobian = torch.autograd.functional.jacobian(flow.transform, point)
        normal = flow.transform(point)
        expected = jacobian.slogdet()[1] - (normal.square() + math.log(2 * math.pi)).sum() / 2
        torch.testing.assert_close(flow.log_prob(point), expected, atol=1e-4, rtol=1e-4)


def test_a_fit_depends_on_its_seed_alone(kind):
    points, _ = two_modes(400, seeded())
    labels, found = torch.zeros(400, dtype=torch.int64), []
    for noise, seed in ((1, 0), (2, 0), (3, 1)):
        torch.manual_seed(noise)
        prior = kind(layers=2, steps=20)
        found.append((prior.fit_(points, labels, seed), prior.sample(3, generator=seeded())))
    assert found[0][0] == found[1][0] != found[2][0]
    assert torch.equal(found[0][1], found[1][1])


def test_the_best_weights_are_kept_where_more_steps_would_overfit():
    points = torch.randn(60, 2, generator=seeded())
    prior = FlowPrior(1, 64, ACTIVE, layers=1, hidden=64, steps=200)
    told = prior.fit_(points, torch.zeros(60, dtype=torch.int64))
    assert told["held_out_log_prob"] >= told["held_out_gaussian"] - 1e-5


def test_few_images_of_many_dimensions_have_a_density():
    points = torch.randn(25, 40, generator=seeded())
    prior = FlowPrior(1, 64, torch.arange(40), layers=1, hidden=4, steps=1)
    told = prior.fit_(points, torch.zeros(25, dtype=torch.int64))
    assert math.isfinite(told["held_out_log_prob"])


def test_a_model_with_a_flow_comes_back_bit_for_bit(tmp_path, fitted):
    model = GenerativeModel(revnet("digits"), fitted[0], ("a", "b")).eval()
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.prior.describe() == model.prior.describe()
    one, two = (m.sample(6, generator=seeded()) for m in (model, again))
    assert torch.equal(one, two)
    z = model.prior.sample(6, generator=seeded())
    assert torch.equal(model.prior.log_prob(z), again.prior.log_prob(z))


def test_a_damaged_flow_is_refused(tmp_path):
    save(GenerativeModel(revnet("digits"), splines(2), ("a", "b")), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["prior.couplings.0.order"][:] = 0
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(GenrevError, match="every dimension once"):
        load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["prior"]["hidden"] = 10**6
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(GenrevError, match="does not describe"):
        load(tmp_path)


def test_the_cures_of_too_few_encodings_are_options_of_fit_prior():
    parser = argparse.ArgumentParser()
    parsers.configure_fit_prior(parser)
    for prior in (
        splines(),
        matching(),
        GaussianMixturePrior(1, 5, "full", 2, torch.arange(2), None),
    ):
        for have in (1, 2, 14):
            with pytest.raises(GenrevError, match=f"and there are {have};") as caught:
                prior.fit_(torch.randn(have, 2), torch.zeros(have, dtype=torch.int64))
            cure = str(caught.value).partition(";")[2]
            named = re.findall(r"--[a-z]+", cure)
            assert set(named) <= parser._option_string_actions.keys()
            assert named or "data with more images" in cure


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.full((30, 2), torch.nan), "encodings are not finite"),
        (torch.randn(19, 2), "needs 20 images and there are 19;"),
    ],
)
def test_what_no_flow_fits_is_one_sentence(points, message, kind):
    with pytest.raises(GenrevError, match=message) as caught:
        kind().fit_(points, torch.zeros(len(points), dtype=torch.int64))
    assert "\n" not in str(caught.value)


def test_without_zuko_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(GenrevError, match=r'package zuko, .*`pip install "genrev\[flows\]"`'):
        splines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 64, torch.tensor([3])), "2 active dimensions or more"),
        ((0, 64, ACTIVE), "1 or more classes"),
    ],
)
def test_sizes_that_make_no_flow(arguments, message):
    with pytest.raises(ValueError, match=message):
        FlowPrior(*arguments)


def test_until_it_is_fitted_one_gaussian_follows_the_batches(kind):
    prior = kind(classes=1)
    batch = torch.randn(500, 2, generator=seeded()) @ torch.tensor([[1.0, 0.8], [0.0, 0.3]]) + 3
    prior.follow_(batch, 1.0)
    expected = torch.distributions.MultivariateNormal(batch.mean(0), batch.T.cov(correction=0))
    z = prior.embed(batch)
    torch.testing.assert_close(prior.log_prob(z), expected.log_prob(batch), atol=1e-2, rtol=0)
    white = prior.whitened(batch)
    torch.testing.assert_close(white.T.cov(correction=0), torch.eye(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(prior.scale()[ACTIVE], batch.std(0, correction=0))


@pytest.mark.gpu
def test_a_recorded_fit_is_that_of_single_steps_on_cuda(monkeypatch):
    def fitted():
        prior = FlowMatchingPrior(2, 64, ACTIVE, 2.0, layers=1, hidden=32, steps=300).to("cuda")
        encodings = torch.randn(400, len(ACTIVE), generator=torch.Generator().manual_seed(0))
        prior.fit_(encodings.cuda(), torch.arange(400).cuda() % 2)
        return prior.state_dict()

    recorded = fitted()
    monkeypatch.setattr(flow_matching, "_recorded", lambda step: step)
    torch.testing.assert_close(recorded, fitted(), rtol=0, atol=0)
