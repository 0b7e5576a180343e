"""AGE: who minimises what by hand, a latent space on a sphere, and what cannot be."""

import pytest
import torch
from run_files import changed, metrics, parts_of, step_of, train_on_two_ranks
from test_methods import config_for

import genrev
from genrev.data import load_images
from genrev.errors import GenrevError
from genrev.training import Batch, Noise, train
from genrev.training.methods.age import divergence

CONFIG = config_for("age")


def parts():
    data, model, method = parts_of(CONFIG)
    return model, method, Batch(data.tensor(range(40)), torch.zeros(40).long(), 3)


def on_sphere(z):
    return 2 * z / z.norm(dim=1, keepdim=True)  # four dimensions


def test_the_divergence_is_that_of_the_fitted_gaussian():
    z = 3 * torch.randn(50, 4) + torch.arange(4)
    fitted = torch.distributions.Normal(z.mean(0), z.std(0, correction=0))
    normal = torch.distributions.Normal(torch.zeros(4), torch.ones(4))
    expected = torch.distributions.kl_divergence(fitted, normal).mean()
    torch.testing.assert_close(divergence(z), expected)
    sphere = on_sphere(z)
    expected = -sphere.std(0, correction=0).log().mean()  # the moments cancel there
    torch.testing.assert_close(divergence(sphere), expected)


def test_encodings_and_samples_lie_on_a_sphere():
    model, _, batch = parts()
    net = model.net.eval()
    z = net.encode(batch.images)
    torch.testing.assert_close(z.norm(dim=1), torch.full((40,), 2.0))
    s = torch.randn(7, 4)
    torch.testing.assert_close(net.decode(s), net.decode(on_sphere(s)))
    features = net.encoder(2 * batch.images - 1)
    torch.testing.assert_close(z, on_sphere(net.mean(features)))
    torch.testing.assert_close(net.posterior(batch.images)[0], z)


def by_hand(model, batch):
    """Losses of encoder and generator of untrained networks, and where both have gradients."""
    net, x = model.net, batch.images
    s = Noise(0, 3).latents(model.prior, 40)
    generated = net.decode(s)
    z, told = net.encode(torch.cat((x, generated.detach()))).chunk(2)
    _, returned = net.encode(torch.cat((x, generated))).chunk(2)
    spreads = [-points.std(0, correction=0).log().mean() for points in (z, told, returned)]
    error = (net.decode(z) - x).abs().mean()
    cosines = (returned * on_sphere(s)).sum(1) / 4
    encoder = spreads[0] - spreads[1] + 5 * error
    return encoder, {"divergence": spreads[2], "latent": 1 - cosines.mean()}


def test_losses_by_hand():
    model, method, batch = parts()
    encoder, generator = by_hand(model, batch)
    torch.testing.assert_close(method.discriminator_loss(model, batch, Noise(0, 3)), encoder)
    found = method.losses(model, batch, Noise(0, 3))
    assert found.keys() == generator.keys()
    for name, value in generator.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("half", ["encoder", "generator"])
def test_either_half_has_the_gradient_of_its_own_loss(half):
    model, method, batch = parts()
    own = {n: p for n, p in model.named_parameters() if ("decoder" in n) == (half == "generator")}
    encoder, generator = by_hand(model, batch)
    if half == "encoder":
        loss, expected = method.discriminator_loss(model, batch, Noise(0, 3)), encoder
    else:
        parts_of_loss = method.losses(model, batch, Noise(0, 3))
        loss, expected = (p["divergence"] + 8 * p["latent"] for p in (parts_of_loss, generator))
    loss.backward()
    gradients = torch.autograd.grad(expected, list(own.values()))
    for (name, p), gradient in zip(own.items(), gradients, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-3, atol=1e-5, msg=name)
    assert all(p.grad is None for name, p in model.named_parameters() if name not in own)
    assert all(p.requires_grad for p in model.parameters())


def test_the_encoder_has_the_first_of_three_steps():
    step = step_of(CONFIG)
    for number in range(6):
        before = {name: p.clone() for name, p in step.model.named_parameters()}
        step(step.data.tensor(range(40)), number=number)
        moved = {n for n, p in step.model.named_parameters() if not torch.equal(p, before[n])}
        assert {"decoder" in name for name in moved} == {number % 3 != 0}


def test_images_come_back_and_encodings_spread(tmp_path):
    x = load_images("digits").tensor(range(500))
    errors, spread = [], []
    for steps in (1, 200):
        trainer = {"max_steps": steps, "log_every": 100, "checkpoint_every": 1000}
        optimizer, rate = {"lr": 3e-3, "betas": [0.5, 0.9]}, {"discriminator_lr": 3e-3}
        config = changed(CONFIG, trainer=trainer, optimizer=optimizer, method=rate)
        model = train(config, tmp_path / str(steps))
        with torch.no_grad():
            z = model.encode(x)
            errors.append(float((model.decode(z) - x).abs().mean()))
            spread.append(float(divergence(z)))
    assert errors[1] < (0.75 if torch.__version__ < (2, 8) else 0.7) * errors[0]
    assert spread[1] < 0.3 < spread[0]
    loaded = genrev.load(tmp_path / "200")
    assert loaded.net.config.spherical
    assert torch.equal(loaded.encode(x), z)


@pytest.mark.slow
def test_two_ranks_train_nearly_as_one(tmp_path):
    train(CONFIG, tmp_path / "one")
    run = train_on_two_ranks(CONFIG, tmp_path, timeout=300)
    for a, b in zip(metrics(tmp_path / "one"), metrics(run), strict=True):
        assert float(a["discriminator"] or a["loss"]) == pytest.approx(
            float(b["discriminator"] or b["loss"]), abs=0.3
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1}, "less than 2 images"),
        ({"network": "digits"}, "cannot train with --network.kind revnet; choose conv-autoencoder"),
        ({"prior": {"active_dims": 2}}, "--method age has a sphere in all latent dimensions"),
        ({"prior": "logistic"}, "cannot train with --prior logistic; choose gaussian"),
        ({"method": {"latent_weight": -1.0}}, "a number of 0 or more"),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train(changed(CONFIG, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_encoder_that_draws_is_not_on_a_sphere():
    with pytest.raises(GenrevError, match="set stochastic or spherical to false"):
        genrev.networks.ConvAutoencoderConfig(stochastic=True, spherical=True)
