"""A prior that is fitted when the training is over: what is trained, fitted, resumed, refused."""

from dataclasses import replace

import pytest
import torch
from genrev.training.encodings import build_model
from genrev.training.matching import MatchingModule
from run_files import assert_same_weights, cut_short, metrics, train_on_two_ranks, weights

import genrev
from genrev.cli.main import main
from genrev.data import DataConfig, load_images
from genrev.errors import GenrevError
from genrev.networks import RevNetConfig
from genrev.priors import GaussianMixturePrior
from genrev.training import (
    EngineConfig,
    MatchingConfig,
    PhasesConfig,
    RunConfig,
    TrainerConfig,
    resume,
    train,
)

NETWORK = RevNetConfig(
    image_size=8, channels=1, hidden_channels=(6, 8), blocks=(1, 1), kernel_sizes=(3, 3)
)
MODEL = MatchingConfig(
    network=NETWORK,
    active_dims=8,
    prior="mixture",
    mixture_components=3,
    matching="none",
    lr=1e-3,
    schedule="linear",
)
TRAINER = TrainerConfig(
    max_steps=20,
    accelerator="cpu",
    threads=1,
    log_every=1,
    checkpoint_every=5,
    sample_every=100,
    progress=False,
)
CONFIG = RunConfig(
    batch_size=36,
    data=DataConfig(source="digits"),
    method="matching",
    model=MODEL,
    engine=EngineConfig(drift_every=None),
    trainer=TRAINER,
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
    net = build_model(MODEL, EngineConfig(), load_images("digits"))
    lightning = MatchingModule(net, MODEL, PhasesConfig(5), seed=0, max_steps=20)
    factors = [lightning._learning_rate_factor(step) for step in range(20)]
    assert factors == pytest.approx([1 - n / 20 for n in range(20)])


def test_the_prior_is_the_one_that_fit_prior_fits(whole, tmp_path):
    assert main(["fit-prior", str(whole), "--components", "3", "--out", str(tmp_path / "m")]) == 0
    assert_same_weights(weights(whole), weights(tmp_path / "m"))


def test_encodings_are_likelier_than_under_one_gaussian(whole):
    model = genrev.load(whole)
    data = load_images("digits")
    with torch.no_grad():
        z = model.prior.restrict(model.encode(data.tensor(range(len(data)))))
    one = torch.distributions.MultivariateNormal(z.mean(0), z.T.cov())
    assert model.prior.active_log_prob(z, None).mean() > one.log_prob(z).mean() + 0.1
    assert model.sample(5).shape == (5, 1, 8, 8)


def test_until_then_one_gaussian_follows_the_batches(tmp_path, monkeypatch):
    seen = []
    step = MatchingModule.training_step

    def training_step(self, batch, batch_idx):
        step(self, batch, batch_idx)
        assert isinstance(self.model.prior, GaussianMixturePrior)
        seen.append((self.model.prior.means.clone(), self.model.prior.factors.clone()))

    monkeypatch.setattr(MatchingModule, "training_step", training_step)
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
    config = replace(CONFIG, trainer=replace(TRAINER, ema=ema))
    train(config, tmp_path / "whole")
    cut_short(tmp_path / "whole", tmp_path / "cut", 10)
    resume(config, tmp_path / "cut")
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_a_reconstruction_phase_can_be_gone_on_with(whole, tmp_path):
    phases = PhasesConfig(10, reconstruction=str(whole))
    train(replace(CONFIG, phases=phases), tmp_path / "run")
    assert len(metrics(tmp_path / "run")) == 10
    after = genrev.load(tmp_path / "run")
    assert torch.equal(after.prior.active_dims, genrev.load(whole).prior.active_dims)


def test_a_mixture_that_does_not_fit_costs_no_training(whole, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise GenrevError("none fits.")

    monkeypatch.setattr("genrev.training.methods.matching.fit_to_encodings", fails)
    run = tmp_path / "run"
    with pytest.raises(GenrevError, match=r"\(none fits\)\. The prior stays one .* is in .*run"):
        train(CONFIG, run)
    net = {name: t for name, t in weights(run).items() if name.startswith("net")}
    assert net
    assert_same_weights(net, {name: weights(whole)[name] for name in net})
    assert genrev.load(run).sample(3).isfinite().all()


@pytest.mark.slow
def test_two_ranks_train_as_one_with_the_same_global_batch(whole, tmp_path):
    run = train_on_two_ranks(CONFIG, tmp_path, timeout=150)
    one, two = weights(whole), weights(run)
    for name in one:
        if name.startswith("net"):
            assert torch.allclose(one[name].float(), two[name].float(), atol=1e-3), name


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"matching": "adversarial"}, "--model.matching adversarial has nothing to match"),
        ({"prior": "gaussian"}, "far from --model.prior gaussian"),
        ({"mixture_components": 0}, "mixture_components must be 1 or more"),
        (
            {"network": NETWORK.replace(padding=4), "active_dims": None, "mixture_components": 6},
            "6 of 256 active dimensions need 1,542 images and digits has 1,500",
        ),
        ({"mixture_components": 200}, "need 1,800 images and digits has 1,500"),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, model, message):
    with pytest.raises(GenrevError, match=message):
        train(replace(CONFIG, model=replace(MODEL, **model)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
