"""A prior that is fitted when the training is over: what is trained, fitted, resumed, refused."""

import re

import pytest
import torch
from run_files import (
    assert_close_weights,
    assert_same_weights,
    changed,
    config_of,
    cut_short,
    metrics,
    rate_factors,
    train_on_two_ranks,
    weights,
    write_images,
)

import genrev
from genrev import progress
from genrev.cli.main import main
from genrev.data import load_images
from genrev.errors import GenrevError
from genrev.priors import FITTED, PRIORS, GaussianMixturePrior
from genrev.training import TrainingModule, fit_prior, resume, train
from genrev.training.ex_post import require_enough

CONFIG = config_of(
    batch_size=36,
    prior={"kind": "mixture", "components": 3, "active_dims": 8, "bound": 2.0},
    method={"name": "matching", "criterion": "none"},
    optimizer={"betas": [0.0, 0.9], "schedule": "linear"},
    engine={"drift_every": None},
    trainer={"max_steps": 20, "log_every": 1, "checkpoint_every": 5, "sample_every": 100},
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("ex_post") / "whole"
    train(CONFIG, run)
    return run


def test_all_steps_reconstruct(whole):
    rows = metrics(whole)
    assert len(rows) == 20
    assert not {"matching", "discriminator"} & set(rows[0])
    for row in rows:
        parts = 10 * float(row["reconstruction"]) + 10 * float(row["clamp"])
        assert float(row["loss"]) == pytest.approx(parts, rel=1e-5)


def test_rates_fall_over_the_whole_run_whatever_the_phases():
    factors = rate_factors(changed(CONFIG, method={"reconstruction_steps": 5}))
    assert factors == pytest.approx([1 - n / 20 for n in range(20)])


def test_the_prior_is_the_one_that_fit_prior_fits(whole, tmp_path):
    assert main(["fit-prior", str(whole), "--components", "3", "--out", str(tmp_path / "m")]) == 0
    assert_same_weights(weights(whole), weights(tmp_path / "m"))


@pytest.mark.parametrize("kind", FITTED)
def test_every_class_has_its_own(whole, tmp_path, kind):
    prior = {"components": 2} if kind == "mixture" else {**FLOW, "kind": kind}
    model = train(changed(CONFIG, prior={**prior, "by_class": True}), tmp_path / "run")
    assert model.prior.num_classes == 10
    assert model.class_names == tuple("0123456789")
    net = {name: t for name, t in weights(tmp_path / "run").items() if name.startswith("net")}
    assert_same_weights(net, {name: weights(whole)[name] for name in net})
    data = load_images("digits")
    with torch.no_grad():
        active = model.prior.restrict(model.encode(data.tensor(range(len(data)))))
        found = [model.prior.distribution(c).log_prob(active) for c in range(10)]
    own = torch.stack(found).gather(0, torch.tensor(data.labels)[None])[0]
    assert own.mean() > torch.stack(found).mean() + 1  # nats


def test_images_without_labels_are_one_class(tmp_path):
    images = {"source": write_images(tmp_path / "x", 40)}
    model = train(changed(CONFIG, prior={"by_class": True}, data=images), tmp_path / "run")
    assert model.prior.num_classes == 1


def test_encodings_are_likelier_than_under_one_gaussian(whole):
    model = genrev.load(whole)
    data = load_images("digits")
    with torch.no_grad():
        z = model.prior.restrict(model.encode(data.tensor(range(len(data)))))
    one = torch.distributions.MultivariateNormal(z.mean(0), z.T.cov())
    assert model.prior.distribution().log_prob(z).mean() > one.log_prob(z).mean() + 0.1
    assert model.sample(5).shape == (5, 1, 8, 8)


def test_until_then_one_gaussian_follows_the_batches(tmp_path, monkeypatch):
    seen = []
    step = TrainingModule.training_step

    def training_step(self, batch, batch_idx):
        step(self, batch, batch_idx)
        assert isinstance(self.model.prior, GaussianMixturePrior)
        seen.append((self.model.prior.means.clone(), self.model.prior.factors.clone()))

    monkeypatch.setattr(TrainingModule, "training_step", training_step)
    model = train(CONFIG, tmp_path / "run")
    means, factors = seen[-1]
    assert all(torch.equal(means[0, 0], mean) for mean in means[0])
    with torch.no_grad():
        z = model.prior.restrict(model.encode(load_images("digits").tensor(range(1500))))
    # From 0, by a hundredth of what is left in each of 20 steps, while the encodings still move.
    left = 0.99**20
    assert torch.allclose(means[0, 0], (1 - left) * z.mean(0), atol=0.1 * float(z.std()))
    between = torch.lerp(z.T.cov(), torch.eye(8), left)
    assert torch.allclose(factors[0, 0] @ factors[0, 0].T, between, atol=0.1)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, ema):
    config = changed(CONFIG, optimizer={"ema": ema})
    train(config, tmp_path / "whole")
    cut_short(tmp_path / "whole", tmp_path / "cut", 10)
    resume(config, tmp_path / "cut")
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_a_reconstruction_phase_can_be_gone_on_with(whole, tmp_path):
    before = {"reconstruction_steps": 10, "reconstruction_run": str(whole)}
    train(changed(CONFIG, method=before), tmp_path / "run")
    assert len(metrics(tmp_path / "run")) == 10
    after = genrev.load(tmp_path / "run")
    assert torch.equal(after.prior.active_dims, genrev.load(whole).prior.active_dims)


def test_a_mixture_that_does_not_fit_costs_no_training(whole, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise GenrevError("none fits.")

    monkeypatch.setattr(GaussianMixturePrior, "fit_", fails)
    run = tmp_path / "run"
    with pytest.raises(
        GenrevError, match=r"\(none fits\)\. It stays as it followed .* is in .*run"
    ):
        train(CONFIG, run)
    net = {name: t for name, t in weights(run).items() if name.startswith("net")}
    assert net
    assert_same_weights(net, {name: weights(whole)[name] for name in net})
    assert genrev.load(run).sample(3).isfinite().all()


@pytest.mark.slow
def test_two_ranks_train_as_one_with_the_same_global_batch(whole, tmp_path):
    run = train_on_two_ranks(CONFIG, tmp_path, timeout=150)
    one, two = (
        {name: tensor for name, tensor in weights(r).items() if name.startswith("net")}
        for r in (whole, run)
    )
    assert_close_weights(one, two)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": "gaussian"}, "far from --prior gaussian"),
        (
            {"network": {"padding": 4}, "prior": {"active_dims": None, "components": 6}},
            "6 of 256 active dimensions need 1,542 images and digits has 1,500",
        ),
        ({"prior": {"components": 200}}, "need 1,800 images and digits has 1,500"),
        (
            {"prior": {"components": 20, "by_class": True}},
            "need 180 images of every class and digits has 145 of class 8 among "
            "1,500; set --prior.components to 16 or fewer, "
            "or fit all classes together with --prior.by_class false.",
        ),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train(changed(CONFIG, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("prior", "images", "message"),
    [
        ({"kind": "flow"}, 19, "--prior flow needs 20 images and x has 19; take data with more"),
        ({}, 1, "need 27 images and x has 1; take data with more images."),
        ({}, 5, "x has 5; set --prior.components to 1 and --prior.active_dims to 4 or fewer."),
        ({}, 9, "x has 9; set --prior.components to 1."),
    ],
)
def test_too_few_images_are_told_before_the_training(tmp_path, prior, images, message):
    config = changed(
        CONFIG, prior=FLOW if prior else {}, data={"source": write_images(tmp_path / "x", images)}
    )
    with pytest.raises(GenrevError, match=re.escape(message)):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_prior_of_ones_own_with_too_few_images_has_its_name(monkeypatch):
    class Picky(genrev.priors.ActiveGaussian):
        fewest_images = 1501

    monkeypatch.setitem(PRIORS._others, "picky", Picky)
    model = genrev.GenerativeModel(genrev.revnet("digits"), Picky(64))
    with pytest.raises(GenrevError, match="--prior picky needs 1,501 images and digits has 1,500"):
        require_enough(model, load_images("digits"))


FLOW = {"kind": "flow", "active_dims": 8, "bound": 2.0, "layers": 2, "hidden": 8, "steps": 30}


@pytest.mark.parametrize("kind", ["flow", "flow-matching"])
def test_a_flow_is_fitted_when_the_training_is_over(whole, tmp_path, kind):
    config = changed(CONFIG, prior={**FLOW, "kind": kind})
    model = train(config, tmp_path / "run")
    assert PRIORS.name_of(type(model.prior)) == kind
    net = {name: t for name, t in weights(tmp_path / "run").items() if name.startswith("net")}
    assert_same_weights(net, {name: weights(whole)[name] for name in net})
    size = ["--kind", kind, "--layers", "2", "--hidden", "8", "--steps", "30"]
    assert main(["fit-prior", str(whole), *size, "--out", str(tmp_path / "m")]) == 0
    assert_same_weights(weights(tmp_path / "run"), weights(tmp_path / "m"))


def test_what_is_not_fitted_and_what_has_no_classes_is_refused(whole):
    model = genrev.load(whole)
    data = load_images("digits")
    with pytest.raises(ValueError, match="gaussian prior is not fitted"):
        fit_prior(model, data, "gaussian")
    with pytest.raises(GenrevError, match="layers takes a whole number"):
        fit_prior(model, data, "flow", layers=0)
    with pytest.raises(GenrevError, match="takes components and covariance, and not steps"):
        fit_prior(model, data, "mixture", steps=20)
    with pytest.raises(GenrevError, match=r"A path is no model; give genrev\.load"):
        fit_prior(str(whole), data)


def test_a_mixture_has_components():
    with pytest.raises(GenrevError, match=r"--prior\.components in test takes a whole number of 1"):
        changed(CONFIG, prior={"components": 0})


def test_no_pass_of_a_fit_is_silent(whole, monkeypatch, capsys):
    monkeypatch.setattr(progress, "FIRST", 0.0)
    model, data = genrev.load(whole), load_images("digits")
    fit_prior(model, data, "flow", layers=2, hidden=8, steps=5)
    told = capsys.readouterr().err
    for what in ("encodings of digits", "flow", "moments of the flow"):
        assert f"\n{what}: " in f"\n{told}", what


def test_a_flow_of_one_dimension_and_a_batch_beyond_memory_are_told_before_training(tmp_path):
    for changes, cure in (
        ({"prior": {"kind": "flow", "active_dims": 1}}, "--prior mixture"),
        ({"batch_size": 10**12}, "--batch_size"),
    ):
        with pytest.raises(GenrevError, match=cure):
            genrev.train("digits", out=tmp_path / "run", **changes)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", FITTED)
def test_classes_can_come_with_the_fit(whole, tmp_path, kind):
    model, data = genrev.load(whole), load_images("digits")
    size = {"components": 2} if kind == "mixture" else {"layers": 2, "hidden": 8, "steps": 30}
    pairs = data.tensor(range(len(data))), data.labels  # as anybody has them
    fit_prior(model, pairs, kind, by_class=True, **size)
    assert model.class_names == data.class_names
    with torch.no_grad():
        active = model.prior.restrict(model.encode(data.tensor(range(len(data)))))
        found = torch.stack([model.prior.distribution(c).log_prob(active) for c in range(10)])
    own = found.gather(0, torch.tensor(data.labels)[None])[0]
    assert own.mean() > found.mean() + 1  # nats
    model.save_pretrained(tmp_path / "m")
    assert genrev.load(tmp_path / "m").sample(3, "7").shape == (3, 1, 8, 8)


def test_classes_that_the_data_lacks_are_told(whole, tmp_path, capsys):
    images = write_images(tmp_path / "x", 40)
    line = ["fit-prior", str(whole), "--data", str(images), "--components", "1", "--by-class"]
    assert main([*line, "--out", str(tmp_path / "m")]) == 2
    assert "x has no classes; leave --by-class" in capsys.readouterr().err


def test_a_density_of_noisy_images_is_fitted_to_noisy_images():
    data, noise = load_images("digits"), 0.3
    # Its latents are the pixels in another order.
    net = genrev.RevNet(genrev.revnet("digits").config.replace(init="identity"))
    prior = genrev.priors.ActiveGaussian(64)
    model = genrev.GenerativeModel(net, prior, noise_std=noise).eval()
    fit_prior(model, data, components=1)
    with torch.no_grad():
        z = model.encode(data.tensor(range(len(data))))
    expected = z.T.cov() + noise**2 * torch.eye(64)
    factor = model.prior.factors[0, 0]
    torch.testing.assert_close(factor @ factor.T, expected, atol=0.015, rtol=0.1)
