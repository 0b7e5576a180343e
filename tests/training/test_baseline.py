"""Baselines: what is trained by what, and that nothing but seed, step and batch matters."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from genrev.training.baseline import BaselineModule
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
from genrev.networks import ConvAutoencoder, ConvAutoencoderConfig
from genrev.objectives import kl_divergence, sliced_wasserstein, squared_error
from genrev.training import (
    BaselineConfig,
    EngineConfig,
    PhasesConfig,
    RunConfig,
    TrainerConfig,
    resume,
    train,
)
from genrev.training.methods import PROCEDURES

NETWORK = ConvAutoencoderConfig(
    image_size=8,
    channels=1,
    latent_dim=4,
    encoder_channels=(6, 8),
    decoder_channels=(10, 8, 6),
    kernel_size=3,
)
MODEL = BaselineConfig(
    kind="wae-gan",
    network=NETWORK,
    reconstruction_weight=1.0,
    latent_weight=1.0,
    discriminator_hidden=16,
    discriminator_prior=False,
    lr=1e-3,
    schedule="linear",
)
TRAINER = TrainerConfig(
    max_steps=12,
    accelerator="cpu",
    threads=1,
    log_every=1,
    checkpoint_every=5,
    sample_every=100,
    progress=False,
)
CONFIG = RunConfig(
    batch_size=36, data=DataConfig(source="digits"), method="baseline", model=MODEL, trainer=TRAINER
)
KINDS = ["vae", "wae-mmd", "wae-gan"]


def of_kind(kind, **fields):
    return replace(CONFIG, model=replace(MODEL, kind=kind, **fields))


def module(kind="wae-gan", seed=0, max_steps=110, **fields):
    """A module outside of a training."""
    config = of_kind(kind, **fields)
    torch.manual_seed(0)
    data = load_images("digits")
    model = PROCEDURES["baseline"].build_model(config, data, torch.device("cpu"), True)
    lightning = BaselineModule(model, config.model, seed, max_steps)
    lightning.trainer = SimpleNamespace(world_size=1, global_rank=0)
    lightning.report = lambda values: lightning._reported.update(values)
    return lightning


def batch(step=0):
    return {"image": torch.from_numpy(load_images("digits").images[:20].copy()), "step": step}


# What is minimised


@pytest.mark.parametrize("kind", KINDS)
def test_reports_name_the_parts_and_the_loss_is_their_weighted_sum(tmp_path, kind):
    train(of_kind(kind, reconstruction_weight=0.5, latent_weight=3.0), tmp_path / "run")
    rows = metrics(tmp_path / "run")
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    for row in rows:
        parts = 0.5 * float(row["reconstruction"]) + 3 * float(row["latent"])
        assert float(row["loss"]) == pytest.approx(parts, rel=1e-5)
        assert ("discriminator" in row) == (kind == "wae-gan")


def test_the_encoder_is_stochastic_where_it_is_variational(tmp_path):
    for kind in KINDS:
        assert module(kind).model.net.config.stochastic == (kind == "vae")


def test_the_variational_bound_by_hand():
    lightning = module("vae", reconstruction_weight=2.0)
    x = batch()["image"].float() / 255
    mean, log_variance = lightning.model.net.posterior(x)
    noise = lightning._share("posterior", mean, 7)
    z = mean + log_variance.exp().sqrt() * noise
    expected = 2 * squared_error(x, lightning.model.decode(z)) + kl_divergence(mean, log_variance)
    torch.testing.assert_close(lightning.training_step(batch(7), 0), expected)
    assert not torch.equal(lightning._share("posterior", mean, 8), noise)


def test_the_adversary_and_the_encoder_do_not_train_each_other():
    """Gradients of the sum are those of either loss for its own weights."""
    lightning = module()
    model, discriminator = lightning.model, lightning.discriminator
    lightning.training_step(batch(), 0).backward()
    together = {name: p.grad.clone() for name, p in lightning.named_parameters()}

    lightning.zero_grad()
    x = batch()["image"].float() / 255
    z = model.encode(x)
    samples = lightning._share("prior", z, 0)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    fake, real = discriminator(z.detach()), discriminator(samples)
    (loss(real, torch.ones(20)) + loss(fake, torch.zeros(20))).backward()
    for name, p in discriminator.named_parameters():
        torch.testing.assert_close(together[f"discriminator.{name}"], p.grad, msg=name)

    lightning.zero_grad()
    z = model.encode(x)
    (squared_error(x, model.decode(z)) + loss(discriminator(z), torch.ones(20))).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(together[f"model.{name}"], p.grad, msg=name)


def test_either_network_has_its_rate_and_only_the_model_is_clipped():
    lightning = module(lr=1e-3, discriminator_lr=5e-3)
    lightning.gradient_clip = 1e-3
    optimizer = lightning.configure_optimizers()["optimizer"]
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 5e-3]
    lightning.training_step(batch(), 0).backward()
    before = [p.grad.clone() for p in lightning.discriminator.parameters()]
    lightning.configure_gradient_clipping(optimizer)
    after = [p.grad for p in lightning.discriminator.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    norm = torch.cat([p.grad.flatten() for p in lightning.model.parameters()]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_schedules():
    steps = (0, 59, 60, 99, 100, 109)  # of 110, ten elevenths of 55 epochs each
    for schedule, factors in {
        "constant": [1, 1, 1, 1, 1, 1],
        "linear": [1 - step / 110 for step in steps],
        "steps": [1, 1, 0.5, 0.5, 0.1, 0.1],
    }.items():
        lightning = module(schedule=schedule)
        assert [lightning._learning_rate_factor(s) for s in steps] == pytest.approx(factors)


@pytest.mark.parametrize(("kind", "weight"), [("vae", 1.0), ("wae-mmd", 100.0), ("wae-gan", 10.0)])
def test_images_come_back_and_encodings_follow_the_prior(tmp_path, kind, weight):
    config = of_kind(kind, latent_weight=weight, lr=5e-3, betas=(0.5, 0.9), discriminator_hidden=64)
    x = load_images("digits").tensor(range(500))
    distances, errors = [], []
    for steps in (1, 300):
        trainer = replace(TRAINER, max_steps=steps, log_every=100, checkpoint_every=1000)
        model = train(replace(config, trainer=trainer), tmp_path / str(steps))
        with torch.no_grad():
            z, log_variance = model.net.posterior(x)
            errors.append(float(squared_error(x, model.decode(z))))
            if log_variance is not None:  # its samples follow the prior, its means need not
                z = z + (log_variance / 2).exp() * torch.randn_like(z)
        samples = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        distances.append(float(sliced_wasserstein(z, samples, num_projections=500)))
    assert errors[1] < 0.5 * errors[0]
    assert distances[1] < 0.15
    if kind != "vae":  # which begins at the prior
        assert distances[0] > 0.5


# Interrupted, averaged, on two ranks


def test_model_and_adversary_depend_on_the_seed_alone():
    first, again, other = (module(seed=seed).discriminator.state_dict() for seed in (0, 0, 1))
    assert_same_weights(first, again)
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])


@pytest.mark.parametrize(("kind", "ema"), [("vae", None), ("wae-mmd", None), ("wae-gan", 0.9)])
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, kind, ema):
    config = replace(of_kind(kind), trainer=replace(TRAINER, ema=ema))
    train(config, tmp_path / "whole")
    cut_short(tmp_path / "whole", tmp_path / "cut", checkpoint=5)
    resume(config, tmp_path / "cut")
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_the_saved_model_has_neither_adversary_nor_noise(tmp_path):
    train(CONFIG, tmp_path / "run")
    assert not any("discriminator" in name for name in weights(tmp_path / "run"))
    loaded = genrev.load(tmp_path / "run")
    assert isinstance(loaded.net, ConvAutoencoder)
    assert loaded.class_names == ("all",)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(loaded.encode(x), loaded.encode(x))


def test_the_frechet_distance_is_measured_through_training(tmp_path):
    trainer = replace(TRAINER, frechet_every=6, frechet_samples=50)
    train(replace(CONFIG, trainer=trainer), tmp_path / "run")
    assert [bool(row["frechet"]) for row in metrics(tmp_path / "run")] == ([False] * 5 + [True]) * 2


def test_bf16_trains_nearly_the_same(tmp_path):
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        trainer = replace(TRAINER, precision=precision)
        train(replace(of_kind("vae"), trainer=trainer), tmp_path / precision)
        losses.append(float(metrics(tmp_path / precision)[-1]["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_ranks_share_the_noise_of_the_global_batch():
    lightning, z = module("vae"), torch.empty(10, 4)
    whole = lightning._share("posterior", torch.empty(20, 4), 3)
    for rank in range(2):
        lightning.trainer = SimpleNamespace(world_size=2, global_rank=rank)
        assert torch.equal(lightning._share("posterior", z, 3), whole[10 * rank : 10 * rank + 10])


@pytest.mark.parametrize(
    "kind", ["wae-gan", *(pytest.param(k, marks=pytest.mark.slow) for k in ("vae", "wae-mmd"))]
)
def test_two_ranks_train_nearly_as_one(tmp_path, kind):
    """Nearly, since each rank normalises by the statistics of its own share of the batch."""
    config = of_kind(kind)
    train(config, tmp_path / "one")
    run = train_on_two_ranks(config, tmp_path, timeout=300)
    for a, b in zip(metrics(tmp_path / "one"), metrics(run), strict=True):
        assert a.keys() == b.keys()
        assert float(a["reconstruction"]) == pytest.approx(float(b["reconstruction"]), rel=0.1)


# What cannot be


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1}, "less than 2 images"),
        ({"model": replace(MODEL, network="wae28")}, "network takes 1x28x28"),
        ({"model": replace(MODEL, network="vae99")}, "called 'vae99'"),
        ({"model": replace(MODEL, lr=0.0)}, "lr must be positive"),
        ({"model": replace(MODEL, latent_weight=-1.0)}, "latent_weight must be 0 or more"),
        ({"model": replace(MODEL, discriminator_hidden=0)}, "1 or more"),
        ({"model": replace(MODEL, betas=(1.0, 0.9))}, "two numbers from 0"),
        ({"engine": EngineConfig(exact=True)}, "is for RevNets"),
        ({"phases": PhasesConfig(5)}, "is for --method matching"),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train(replace(CONFIG, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_numbers_that_are_not_finite_stop_the_training(tmp_path):
    config = of_kind("vae", lr=1e12, schedule="constant")
    with pytest.raises(GenrevError, match="stopped being finite"):
        train(config, tmp_path / "run")
