"""Maximum likelihood: what is reported, resumed, and trained on two ranks."""

import math
from dataclasses import replace

import pytest
import torch
from run_files import (
    assert_same_weights,
    cut_short,
    metrics,
    train_on_two_ranks,
    weights,
)

import genrev
from genrev.data import DataConfig, load_images
from genrev.errors import GenrevError
from genrev.evaluation import likelihood_report
from genrev.models import GenerativeModel
from genrev.networks import RevNetConfig
from genrev.objectives import bits_per_dim
from genrev.priors import ActiveGaussian, ActiveLogistic
from genrev.training import EngineConfig, LikelihoodConfig, RunConfig, TrainerConfig, resume, train
from genrev.training.flows import build_flow, dequantised

NETWORK = RevNetConfig(
    image_size=8,
    channels=1,
    hidden_channels=(6, 8),
    blocks=(1, 1),
    kernel_sizes=(3, 3),
    scaling=True,
)
AFFINE = NETWORK.replace(coupling="affine")
MODEL = LikelihoodConfig(network=NETWORK, lr=2e-3, schedule="linear", heldout_every=7)
TRAINER = TrainerConfig(
    max_steps=20,
    accelerator="cpu",
    threads=1,
    gradient_clip=5.0,
    log_every=1,
    checkpoint_every=5,
    sample_every=100,
    progress=False,
)
CONFIG = RunConfig(
    batch_size=36,
    data=DataConfig(source="digits"),
    method="likelihood",
    model=MODEL,
    engine=EngineConfig(memory="stored", drift_every=None),
    trainer=TRAINER,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run with affine couplings."""
    run = tmp_path_factory.mktemp("likelihood") / "whole"
    train(replace(CONFIG, model=replace(MODEL, network=AFFINE)), run)
    return run


def test_held_out_bits_are_those_of_the_weights_of_their_step(whole):
    rows = metrics(whole)
    assert [row["step"] for row in rows if row["heldout_bits_per_dim"]] == ["7", "14"]
    stopped = whole.parent / "fourteen"
    trained = train(
        replace(
            CONFIG,
            model=replace(MODEL, network=AFFINE, schedule="constant"),
            trainer=replace(TRAINER, max_steps=14),
        ),
        stopped,
    )
    again = likelihood_report(trained, load_images("digits", "test"))
    assert metrics(stopped)[-1]["heldout_bits_per_dim"] == repr(again["bits_per_dim"])


@pytest.mark.parametrize("network", [NETWORK, AFFINE], ids=["additive", "affine"])
@pytest.mark.parametrize("prior", ["logistic", "gaussian"])
def test_held_out_bits_fall_with_every_epoch(tmp_path, network, prior):
    model = replace(MODEL, network=network, prior=prior, heldout_every=None)
    trainer = replace(TRAINER, max_steps=60, checkpoint_every=1000)
    train(replace(CONFIG, batch_size=100, model=model, trainer=trainer), tmp_path / "run")
    curve = [row["heldout_bits_per_dim"] for row in metrics(tmp_path / "run")]
    bits = [float(b) for b in curve if b]
    assert len(bits) == 4  # 15 steps an epoch
    assert bits == sorted(bits, reverse=True)
    assert bits[-1] < 8  # a uniform density needs 8
    loaded = genrev.load(tmp_path / "run")
    assert type(loaded.prior).__name__ == f"Active{prior.title()}"
    assert likelihood_report(loaded, load_images("digits", "test"))["bits_per_dim"] == bits[-1]


def test_the_density_is_that_of_latents_times_the_numerical_jacobian(whole):
    model = genrev.load(whole).double()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    for image, density in zip(x, model.log_prob(x), strict=True):
        jacobian = torch.autograd.functional.jacobian(model.encode, image[None]).reshape(64, 64)
        z = model.encode(image[None])
        latent = torch.distributions.TransformedDistribution(
            torch.distributions.Uniform(torch.zeros(()).double(), torch.ones(()).double()),
            [torch.distributions.SigmoidTransform().inv],
        )
        expected = latent.log_prob(z).sum() + torch.linalg.slogdet(jacobian).logabsdet
        assert density.item() == pytest.approx(expected.item(), rel=1e-9)


def test_a_density_integrates_to_one():
    """E[p(x) / q(x)] over x from q is 1 for any density p that is narrower than q."""
    config = RevNetConfig(
        image_size=2,
        channels=1,
        hidden_channels=(4,),
        blocks=(2,),
        kernel_sizes=(1,),
        coupling="affine",
        scaling=True,
    )
    net = genrev.RevNet(config).double()
    model = GenerativeModel(net, ActiveLogistic(4))
    for p in net.parameters():
        p.data.add_(0.1 * torch.randn_like(p))
    with torch.no_grad():
        z = model.prior.sample(40_000, generator=torch.Generator().manual_seed(0))
        x = net.decode(z.double())
        narrow = torch.distributions.Normal(x.mean(0), 0.5 * x.std(0))
        ratios = (narrow.log_prob(x).sum((1, 2, 3)) - model.log_prob(x)).exp()
    error = 4 * ratios.std() / math.sqrt(len(ratios))
    assert abs(ratios.mean() - 1) < error < 0.1


def test_the_scaling_starts_where_every_dimension_fits_the_prior():
    data = load_images("digits")
    model = build_flow(genrev.RevNet(AFFINE), "logistic", data)
    x = dequantised(torch.from_numpy(data.images.copy()), 0, 0, 0, 1)
    with torch.no_grad():
        z = model.encode(x)
        bits = bits_per_dim(model.log_prob(x), 64).mean()
    assert z.mean(0).abs().max() < 0.15
    assert (z.std(0) / model.prior.scale()).sub(1).abs().max() < 0.1
    assert bits < 8


def test_ranks_share_the_noise_of_one_process():
    pixels = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
    one = dequantised(pixels, 3, 5, 0, 1)
    two = torch.cat([dequantised(pixels[:3], 3, 5, rank, 2) for rank in (0, 1)])
    assert torch.equal(one, two)
    assert not torch.equal(one, dequantised(pixels, 3, 6, 0, 1))


def test_a_resumed_run_is_the_same_bit_for_bit(whole, tmp_path):
    cut = cut_short(whole, tmp_path / "cut", checkpoint=10)
    resume(replace(CONFIG, model=replace(MODEL, network=AFFINE)), cut)
    assert_same_weights(weights(whole), weights(cut))
    assert metrics(whole) == metrics(cut)


@pytest.mark.slow
def test_two_ranks_train_as_one_with_the_same_global_batch(whole, tmp_path):
    config = replace(CONFIG, model=replace(MODEL, network=AFFINE))
    run = train_on_two_ranks(config, tmp_path, timeout=150)
    for name, tensor in weights(whole).items():
        assert torch.allclose(tensor.float(), weights(run)[name].float(), atol=1e-3), name
    for a, b in zip(metrics(whole), metrics(run), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert bool(a[name]) == bool(b[name])
            if a[name]:
                assert float(a[name]) == pytest.approx(float(b[name]), abs=1e-3), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": replace(MODEL, lr=0.0)}, "lr must be positive"),
        ({"model": replace(MODEL, heldout_every=0)}, "heldout_every must be 1 or more"),
        ({"model": replace(MODEL, betas=(0.9, 1.0))}, "two numbers from 0"),
        ({"model": replace(MODEL, network=NETWORK.replace(padding=4))}, "not a bijection"),
        ({"engine": EngineConfig(exact=True)}, "exact needs additive couplings without scaling"),
        (
            {"engine": EngineConfig(), "model": replace(MODEL, network=AFFINE)},
            "set --engine.memory stored",
        ),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train(replace(CONFIG, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_models_without_a_density_are_told_so():
    data = load_images("digits")
    padded = GenerativeModel(
        genrev.RevNet(NETWORK.replace(image_size=4, padding=2)), ActiveGaussian(64)
    )
    pinned = GenerativeModel(genrev.RevNet(NETWORK), ActiveGaussian(64, torch.arange(5)))
    for model, message in ((padded, "not a bijection"), (pinned, "no density in all latent")):
        with pytest.raises(GenrevError, match=message):
            likelihood_report(model, data)
