"""Baselines: what is trained by what, and that nothing but seed, step and batch matters."""

import math

import pytest
import torch
from run_files import (
    assert_same_weights,
    changed,
    config_of,
    cut_short,
    metrics,
    parts_of,
    rate_factors,
    step_of,
    train_on_two_ranks,
    weights,
)

import genrev
from genrev.data import load_images
from genrev.errors import GenrevError
from genrev.networks import ConvAutoencoder
from genrev.objectives import kl_divergence, sliced_wasserstein, squared_error
from genrev.training import Batch, Noise, build_method, resume, train

CONFIG = config_of(
    batch_size=36,
    network={
        "kind": "conv-autoencoder",
        "image_size": 8,
        "channels": 1,
        "latent_dim": 4,
        "encoder_channels": [6, 8],
        "decoder_channels": [10, 8, 6],
        "kernel_size": 3,
    },
    method={
        "name": "baseline",
        "variant": "wae-gan",
        "reconstruction_weight": 1.0,
        "latent_weight": 1.0,
        "discriminator_hidden": 16,
        "discriminator_prior": False,
    },
    optimizer={"schedule": "linear"},
    trainer={"max_steps": 12, "log_every": 1, "checkpoint_every": 5, "sample_every": 100},
)
VARIANTS = ["vae", "wae-mmd", "wae-gan"]


def of_variant(variant, optimizer=None, **options):
    method = {"variant": variant, **options}
    return changed(CONFIG, method=method, optimizer=optimizer or {})


def batch_of(number=0, n=20, **ranks):
    images = load_images("digits").tensor(range(n))
    return Batch(images, torch.zeros(n, dtype=torch.int64), number, **ranks)


# What is minimised


@pytest.mark.parametrize("variant", VARIANTS)
def test_reports_name_the_parts_and_the_loss_is_their_weighted_sum(tmp_path, variant):
    train(of_variant(variant, reconstruction_weight=0.5, latent_weight=3.0), tmp_path / "run")
    rows = metrics(tmp_path / "run")
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    for row in rows:
        parts = 0.5 * float(row["reconstruction"]) + 3 * float(row["latent"])
        assert float(row["loss"]) == pytest.approx(parts, rel=1e-5)
        assert ("discriminator" in row) == (variant == "wae-gan")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_encoder_is_stochastic_where_it_is_variational(variant):
    _, model, _ = parts_of(of_variant(variant))
    assert model.net.config.stochastic == (variant == "vae")


def test_the_variational_bound_by_hand():
    step = step_of(of_variant("vae", reconstruction_weight=2.0))
    batch, model, method = batch_of(7), step.model, step.method
    mean, log_variance = model.net.posterior(batch.images)
    noise = method._drawn("posterior", mean, batch, Noise(0, 7))
    z = mean + log_variance.exp().sqrt() * noise
    bound = 2 * squared_error(batch.images, model.decode(z)) + kl_divergence(mean, log_variance)
    torch.testing.assert_close(step.losses(batch)[1], bound)
    assert not torch.equal(method._drawn("posterior", mean, batch, Noise(0, 8)), noise)


def test_the_adversary_and_the_encoder_do_not_train_each_other():
    """Gradients of the sum are those of either loss for its own weights."""
    step, batch = step_of(CONFIG), batch_of()
    model, method, x = step.model, step.method, batch.images
    step.losses(batch)[1].backward()
    together = {name: p.grad.clone() for name, p in step.named_parameters()}

    step.zero_grad()
    z = model.encode(x)
    samples = method._drawn("prior", z, batch, Noise(0, 0))
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    fake, real = method.discriminator(z.detach()), method.discriminator(samples)
    (loss(real, torch.ones(20)) + loss(fake, torch.zeros(20))).backward()
    for name, p in method.named_parameters():
        torch.testing.assert_close(together[f"method.{name}"], p.grad, msg=name)

    step.zero_grad()
    z = model.encode(x)
    encoder = loss(method.discriminator(z), torch.ones(20))
    (squared_error(x, model.decode(z)) + encoder).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(together[f"model.{name}"], p.grad, msg=name)


def test_either_network_has_its_rate_and_only_the_model_is_clipped():
    step = step_of(of_variant("wae-gan", {"lr": 1e-3, "clip": 1e-3}, discriminator_lr=5e-3))
    (optimizer,) = step.optimizers
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 5e-3]
    step.losses(batch_of())[1].backward()
    before = [p.grad.clone() for p in step.method.parameters()]
    step.clip(optimizer)
    after = [p.grad for p in step.method.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    norm = torch.cat([p.grad.flatten() for p in step.model.parameters()]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_weight_decay_takes_a_part_of_every_weight_of_the_network():
    """Beside the step of Adam, not within its moments."""
    found = []
    for decay in (0.0, 0.5):
        step = step_of(changed(CONFIG, optimizer={"lr": 1e-2, "weight_decay": decay}))
        before = [p.detach().clone() for p in step.model.net.parameters()]
        step(torch.linspace(0, 1, 40 * 64).reshape(40, 1, 8, 8), None, 0)
        found.append([p.detach() for p in step.model.net.parameters()])
    for w, plain, decayed in zip(before, *found, strict=True):
        torch.testing.assert_close(decayed, plain - 1e-2 * 0.5 * w, rtol=1e-4, atol=1e-7)
    _, adversary = step.optimizers[0].param_groups
    assert adversary["weight_decay"] == 0


def test_schedules():
    steps = (0, 59, 60, 99, 100, 109)  # of 110, ten elevenths of 55 epochs each
    for schedule, factors in {
        "constant": [1, 1, 1, 1, 1, 1],
        "linear": [1 - step / 110 for step in steps],
        "steps": [1, 1, 0.5, 0.5, 0.1, 0.1],
        "cosine": [1 / 11, *((1 + math.cos(math.pi * (s - 11) / 99)) / 2 for s in steps[1:])],
    }.items():
        config = changed(CONFIG, optimizer={"schedule": schedule}, trainer={"max_steps": 110})
        found = rate_factors(config)
        assert [found[step] for step in steps] == pytest.approx(factors)


@pytest.mark.parametrize(
    ("variant", "weight"), [("vae", 1.0), ("wae-mmd", 100.0), ("wae-gan", 10.0)]
)
def test_images_come_back_and_encodings_follow_the_prior(tmp_path, variant, weight):
    optimizer = {"lr": 5e-3, "betas": [0.5, 0.9]}
    config = of_variant(variant, optimizer, latent_weight=weight, discriminator_hidden=64)
    x = load_images("digits").tensor(range(500))
    distances, errors = [], []
    for steps in (1, 300):
        trainer = {"max_steps": steps, "log_every": 100, "checkpoint_every": 1000}
        model = train(changed(config, trainer=trainer), tmp_path / str(steps))
        with torch.no_grad():
            z, log_variance = model.net.posterior(x)
            errors.append(float(squared_error(x, model.decode(z))))
            if log_variance is not None:  # its samples follow the prior, its means need not
                z = z + (log_variance / 2).exp() * torch.randn_like(z)
        samples = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        distances.append(float(sliced_wasserstein(z, samples, num_projections=500)))
    assert errors[1] < 0.5 * errors[0]
    assert distances[1] < 0.15
    if variant != "vae":  # which begins at the prior
        assert distances[0] > 0.5


# Interrupted, averaged, on two ranks


def test_the_adversary_depends_on_the_seed_alone():
    data, model, method = parts_of(CONFIG)

    def built(seed):
        torch.rand(3)
        method.prepare(model, data, seed)
        return method.discriminator.state_dict()

    first, again, other = built(0), built(0), built(1)
    assert_same_weights(first, again)
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])


@pytest.mark.parametrize(("variant", "ema"), [("vae", None), ("wae-mmd", None), ("wae-gan", 0.9)])
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, variant, ema):
    config = of_variant(variant, {"ema": ema})
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
    measured = {"frechet_every": 6, "frechet_samples": 50}
    train(changed(CONFIG, trainer=measured), tmp_path / "run")
    assert [bool(row["frechet"]) for row in metrics(tmp_path / "run")] == ([False] * 5 + [True]) * 2


def test_bf16_trains_nearly_the_same(tmp_path):
    losses = []
    for precision in ("float32", "bf16"):
        config = changed(of_variant("vae"), engine={"precision": precision})
        train(config, tmp_path / precision)
        losses.append(float(metrics(tmp_path / precision)[-1]["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_ranks_share_the_noise_of_the_global_batch():
    _, _, method = parts_of(of_variant("vae"))
    whole = method._drawn("posterior", torch.empty(20, 4), batch_of(), Noise(0, 3))
    for rank in range(2):
        half = batch_of(n=10, rank=rank, ranks=2)
        drawn = method._drawn("posterior", torch.empty(10, 4), half, Noise(0, 3))
        assert torch.equal(drawn, whole[10 * rank : 10 * rank + 10])


@pytest.mark.parametrize(
    "variant", ["wae-gan", *(pytest.param(k, marks=pytest.mark.slow) for k in ("vae", "wae-mmd"))]
)
def test_two_ranks_train_nearly_as_one(tmp_path, variant):
    """Nearly, since each rank normalises by the statistics of its own share of the batch."""
    config = of_variant(variant)
    train(config, tmp_path / "one")
    run = train_on_two_ranks(config, tmp_path, timeout=300)
    for a, b in zip(metrics(tmp_path / "one"), metrics(run), strict=True):
        assert a.keys() == b.keys()
        assert float(a["reconstruction"]) == pytest.approx(float(b["reconstruction"]), rel=0.1)


def test_how_a_step_runs_on_a_card_is_free_for_every_network():
    engine = {"graph": False, "tf32": False, "precision": "bf16", "drift_every": None}
    build_method(changed(CONFIG, engine=engine))


# What cannot be


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1}, "less than 2 images"),
        ({"network": "digits"}, "cannot train with --network.kind revnet; choose conv-autoencoder"),
        ({"prior": {"active_dims": 2}}, "standard normal in all latent dimensions"),
        ({"prior": "logistic"}, "cannot train with --prior logistic; choose gaussian"),
        ({"engine": {"exact": True}}, "is for reversible networks and conv-autoencoder is none"),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train(changed(CONFIG, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "vae99"}, "got 'vae99'"),
        ({"method": {"latent_weight": -1.0}}, "a number of 0 or more"),
        ({"method": {"reconstruction_weight": 0}}, "a number above 0"),
        ({"method": {"discriminator_hidden": 0}}, "a whole number of 1 or more"),
        ({"method": {"variant": "gan"}}, "one of vae, wae-mmd, wae-gan and got 'gan'"),
    ],
)
def test_values_out_of_range_make_no_configuration(change, message):
    with pytest.raises(GenrevError, match=message):
        changed(CONFIG, **change)


def test_numbers_that_are_not_finite_stop_the_training(tmp_path):
    config = of_variant("vae", {"lr": 1e12, "schedule": "constant"})
    with pytest.raises(GenrevError, match="stopped being finite"):
        train(config, tmp_path / "run")


def test_statistics_of_batch_normalisation_are_averaged_as_the_weights_are(tmp_path):
    config = changed(of_variant("vae", {}), optimizer={"schedule": "constant"})

    def run(folder, max_steps, ema=None):
        changes = {"trainer": {"max_steps": max_steps}, "optimizer": {"ema": ema}}
        train(changed(config, **changes), tmp_path / folder)
        found = weights(tmp_path / folder)
        return {n: t for n, t in found.items() if n.endswith(("running_mean", "running_var"))}

    first, second, averaged = run("first", 1), run("second", 2), run("averaged", 2, ema=0.75)
    assert averaged
    for name, found in averaged.items():
        expected = 0.75 * first[name] + 0.25 * second[name]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert not torch.allclose(first[name], second[name], atol=1e-5)
