"""Maximum likelihood: what is reported, resumed, and trained on two ranks."""

import math

import pytest
import torch
from run_files import (
    assert_close_weights,
    assert_same_weights,
    changed,
    config_of,
    cut_short,
    metrics,
    parts_of,
    train_on_two_ranks,
    weights,
)

import genrev
from genrev.data import load_images
from genrev.errors import GenrevError
from genrev.evaluation import likelihood_report
from genrev.models import GenerativeModel
from genrev.objectives import bits_per_dim, dequantise
from genrev.priors import ActiveGaussian, ActiveLogistic
from genrev.seeding import noise_generator
from genrev.training import METHODS, Batch, Noise, resume, train

CONFIG = config_of(
    batch_size=36,
    network={"scaling": True},
    prior="logistic",
    method={"name": "likelihood", "heldout_every": 7},
    optimizer={"lr": 2e-3, "schedule": "linear", "clip": 5.0},
    engine={"memory": "stored", "drift_every": None},
    trainer={"max_steps": 20, "log_every": 1, "checkpoint_every": 5, "sample_every": 100},
)
AFFINE = changed(CONFIG, network={"coupling": "affine"})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run with affine couplings."""
    run = tmp_path_factory.mktemp("likelihood") / "whole"
    train(AFFINE, run)
    return run


def test_held_out_bits_are_those_of_the_weights_of_their_step(whole):
    rows = metrics(whole)
    assert [row["step"] for row in rows if row["heldout_bits_per_dim"]] == ["7", "14"]
    stopped = whole.parent / "fourteen"
    fourteen = {"optimizer": {"schedule": "constant"}, "trainer": {"max_steps": 14}}
    trained = train(changed(AFFINE, **fourteen), stopped)
    again = likelihood_report(trained, load_images("digits", "test"))
    assert metrics(stopped)[-1]["heldout_bits_per_dim"] == repr(again["bits_per_dim"])


@pytest.mark.parametrize("coupling", ["additive", "affine"])
@pytest.mark.parametrize("prior", ["logistic", "gaussian"])
def test_held_out_bits_fall_with_every_epoch(tmp_path, coupling, prior):
    config = changed(
        CONFIG,
        batch_size=100,
        network={"coupling": coupling},
        prior=prior,
        method={"heldout_every": None},
        trainer={"max_steps": 60, "checkpoint_every": 1000},
    )
    train(config, tmp_path / "run")
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
    config = genrev.RevNet.Options(
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


def batch_of(pixels, rank=0, ranks=1):
    images = pixels.float() / 255
    return Batch(images, torch.zeros(len(images)).long(), rank=rank, ranks=ranks)


def test_the_scaling_starts_where_every_dimension_fits_the_prior():
    data, model, method = parts_of(AFFINE)
    x = method.dequantised(batch_of(torch.from_numpy(data.images.copy())), Noise(0, 0))
    with torch.no_grad():
        z = model.encode(x)
        bits = bits_per_dim(model.log_prob(x), 64).mean()
    assert z.mean(0).abs().max() < 0.15
    assert (z.std(0) / model.prior.scale()).sub(1).abs().max() < 0.1
    assert bits < 8


def test_ranks_share_the_noise_of_one_process():
    pixels = torch.randint(256, (6, 1, 2, 2), dtype=torch.uint8)
    dequantised = METHODS["likelihood"]().dequantised
    one = dequantised(batch_of(pixels), Noise(3, 5))
    halves = [batch_of(half, rank, 2) for rank, half in enumerate(pixels.split(3))]
    assert torch.equal(one, torch.cat([dequantised(half, Noise(3, 5)) for half in halves]))
    assert not torch.equal(one, dequantised(batch_of(pixels), Noise(3, 6)))
    assert torch.equal((one * 256).floor().to(torch.uint8), pixels)


def test_a_resumed_run_is_the_same_bit_for_bit(whole, tmp_path):
    cut = cut_short(whole, tmp_path / "cut", checkpoint=10)
    resume(AFFINE, cut)
    assert_same_weights(weights(whole), weights(cut))
    assert metrics(whole) == metrics(cut)


@pytest.mark.slow
def test_two_ranks_train_as_one_with_the_same_global_batch(whole, tmp_path):
    run = train_on_two_ranks(AFFINE, tmp_path, timeout=150)
    assert_close_weights(weights(whole), weights(run))
    for a, b in zip(metrics(whole), metrics(run), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert bool(a[name]) == bool(b[name])
            if a[name]:
                assert float(a[name]) == pytest.approx(float(b[name]), abs=1e-3), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": {"padding": 4}}, "not a bijection"),
        ({"prior": {"active_dims": 5}}, "leave --prior.active_dims and --prior.bound out"),
        ({"prior": {"bound": 2}}, "needs a density of all latent dimensions"),
        ({"prior": "uniform"}, "cannot train with --prior uniform; choose gaussian or logistic"),
        ({"network": "wae8"}, "cannot train with --network.kind conv-autoencoder; choose revnet"),
        ({"engine": {"exact": True}}, "needs additive couplings without scaling"),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train(changed(CONFIG, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_how_often_the_likelihood_is_measured_is_a_count():
    with pytest.raises(GenrevError, match=r"--method\.heldout_every in test takes a whole number"):
        changed(CONFIG, method={"heldout_every": 0})


def test_models_without_a_density_are_told_so():
    data, shape = load_images("digits"), CONFIG.network.options
    padded = GenerativeModel(
        genrev.RevNet(shape.replace(image_size=4, padding=2)), ActiveGaussian(64)
    )
    pinned = GenerativeModel(genrev.RevNet(shape), ActiveGaussian(64, torch.arange(5)))
    for model, message in ((padded, "not a bijection"), (pinned, "no density in all latent")):
        with pytest.raises(GenrevError, match=message):
            likelihood_report(model, data)


# Noise on the images, and a step that takes it off the samples

NOISY = changed(AFFINE, method={"noise_std": 0.1, "heldout_every": None})


def test_the_training_sees_noisy_images_and_the_report_does_not(tmp_path):
    data, model, method = parts_of(NOISY)
    pixels = torch.from_numpy(data.images[:36].copy())
    x = dequantise(pixels, noise_generator(0, 3, "dequantisation"))
    noisy = x + 0.1 * torch.randn(x.shape, generator=noise_generator(0, 3, "image noise"))
    found = method.losses(model, batch_of(pixels), Noise(0, 3))["bits_per_dim"]
    with torch.no_grad():
        expected = 8 - model.log_prob(noisy).mean() / (64 * math.log(2))
    torch.testing.assert_close(found.detach(), expected)
    halves = [
        method.dequantised(batch_of(pixels.chunk(2)[rank], rank, 2), Noise(0, 3)) for rank in (0, 1)
    ]
    torch.testing.assert_close(torch.cat(halves), noisy, rtol=0, atol=0)
    before = likelihood_report(model, data)
    model.noise_std = 0.0
    assert likelihood_report(model, data) == before


def test_the_scaling_starts_as_wide_as_the_noise():
    """In black images, for pixels that are black in all images of the data."""
    _, model, _ = parts_of(changed(NOISY, network={"init": "identity"}))
    _, plain, _ = parts_of(changed(CONFIG, network={"init": "identity"}))
    widths = []
    for one in (model, plain):
        x = torch.rand(1000, 1, 8, 8) / 256 + one.noise_std * torch.randn(1000, 1, 8, 8)
        with torch.no_grad():
            widths.append(one.encode(x).std(0).max() / one.prior.scale().max())
    assert all(0.9 < width < 1.2 for width in widths)


def test_a_run_with_noise_keeps_it_and_resumes(tmp_path):
    model = train(NOISY, tmp_path / "whole")
    assert model.noise_std == 0.1
    loaded = genrev.load(tmp_path / "whole")
    assert loaded.noise_std == 0.1
    first, again = (
        one.eval().sample(4, generator=torch.Generator().manual_seed(0)) for one in (model, loaded)
    )
    torch.testing.assert_close(first, again)  # the engines round differently
    cut_short(tmp_path / "whole", tmp_path / "cut", checkpoint=15)
    resumed = resume(NOISY, tmp_path / "cut")
    assert resumed.noise_std == 0.1
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_noise_is_less_than_the_range_of_pixels(value):
    with pytest.raises(GenrevError, match=r"noise_std in test takes a number from 0 to below 1"):
        changed(CONFIG, method={"noise_std": value})


# Recipes of Jet at toy size

TOY = {
    "digits-jet": {"width": 4},
    "mnist-jet": {"width": 4},
    "imagenet64-jet": {"patch_size": [16, 16], "width": 6, "heads": 2, "depth": 1},
}


@pytest.mark.parametrize("recipe", TOY)
def test_recipes_of_jet_train_at_toy_size(recipe):
    config = genrev.recipes.load_recipe(recipe)
    shape = config.network.options.image_shape
    images = torch.rand(12, *shape, generator=torch.Generator().manual_seed(0))
    changes = {
        "network": {"couplings": 6, **TOY[recipe]},
        "trainer": {"max_steps": 3, "threads": 1},
        "batch_size": 4,
    }
    model = genrev.train(recipe, data=images, **changes)
    z = model.encode(images)
    torch.testing.assert_close(model.decode(z), images, rtol=0, atol=1e-4)
    if model.net.scaling is not None:  # it started from the data
        assert float(z.detach().std(0).mean()) == pytest.approx(1, abs=0.3)
    assert model.log_prob(images).isfinite().all()
    assert isinstance(model.prior, ActiveGaussian)


def test_the_recipe_of_imagenet_is_as_published():
    config = genrev.recipes.load_recipe("imagenet64-jet")
    assert config.network.options == genrev.networks.JetConfig()
    optimizer = config.optimizer
    assert optimizer.weight_decay * optimizer.lr == pytest.approx(1e-5, rel=2e-3)
    epochs = config.trainer.max_steps * config.batch_size / 1_281_167
    assert epochs == pytest.approx(200, rel=2e-3)


def test_a_scaling_that_is_trained_stays_as_it_is():
    data, model, method = parts_of(AFFINE)
    before = [p.detach().clone() for p in model.net.scaling.parameters()]
    method.initialise(model, data)
    assert all(map(torch.equal, before, model.net.scaling.parameters()))
