"""ALI and BiGAN: pairs by hand, who has which gradient, RevNets, and what cannot be."""

import copy

import pytest
import torch
from run_files import assert_same_weights, changed, metrics, parts_of, train_on_two_ranks
from test_methods import config_for
from torch.nn import functional as F

from genrev.errors import GenrevError
from genrev.networks import PairDiscriminator
from genrev.training import Batch, Noise, train

ALI = config_for("bigan")
BIGAN = changed(ALI, method={"stochastic": False, "reconstruction_weight": 0.0})
REVNET = changed(
    ALI,
    network="digits",
    prior={"active_dims": 6},
    method={"stochastic": False},
)
CONFIGS = {"ali": ALI, "bigan": BIGAN, "revnet": REVNET}


def parts(name):
    data, model, method = parts_of(CONFIGS[name])
    return model, method, Batch(data.tensor(range(40)), torch.zeros(40).long(), 3)


def pairs(name, model, batch):
    """Images with encodings, and samples with what is decoded from them, by a second way."""
    prior = Noise(0, 3).generator("prior")
    samples = torch.randn(40, len(model.prior.active_dims), generator=prior)
    full = torch.zeros(40, model.prior.dim)
    full[:, model.prior.active_dims] = samples
    z = model.encode(batch.images)
    if name == "ali":
        mean, log_variance = model.net.posterior(batch.images)
        drawn = torch.randn(mean.shape, generator=Noise(0, 3).generator("posterior"))
        z = mean + log_variance.exp().sqrt() * drawn
    return z, z[:, model.prior.active_dims], model.decode(full), samples


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_by_hand(name):
    model, method, batch = parts(name)
    judge = copy.deepcopy(method.discriminator).eval()
    learner = copy.deepcopy(method.discriminator).train()
    found = method.losses(model, batch, Noise(0, 3))
    z, active, drawn, samples = pairs(name, model, batch)
    encoded, decoded = judge(batch.images, active), judge(drawn, samples)
    ones, zeros = torch.ones(40), torch.zeros(40)
    entropy = F.binary_cross_entropy_with_logits
    expected = {"adversary": entropy(encoded, zeros) + entropy(decoded, ones)}
    scores = learner(torch.cat((batch.images, drawn)), torch.cat((active, samples)))
    expected["discriminator"] = entropy(scores, torch.cat((ones, zeros))) * 2
    if name != "bigan":
        restricted = model.decode(model.prior.clamp(z))
        expected["reconstruction"] = (restricted - batch.images).abs().mean()
    assert found.keys() == expected.keys()
    for part, value in expected.items():
        torch.testing.assert_close(found[part], value, rtol=1e-4, atol=1e-5, msg=part)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_adversary_and_the_model_do_not_train_each_other(name):
    """Gradients of the sum are those of either loss for its own weights."""
    model, method, batch = parts(name)
    judge = copy.deepcopy(method.discriminator).eval()
    found = method.losses(model, batch, Noise(0, 3))
    (found["adversary"] + found["discriminator"]).backward()
    _, active, drawn, samples = pairs(name, model, batch)
    encoded, decoded = judge(batch.images, active), judge(drawn, samples)
    (F.softplus(encoded) + F.softplus(-decoded)).mean().backward()
    model_gradients = {name: p.grad for name, p in model.named_parameters()}
    again, method, batch = parts(name)
    loss = method.losses(again, batch, Noise(0, 3))["adversary"]
    assert not any(p.grad is not None for p in method.discriminator.parameters())
    loss.backward()
    assert not any(p.grad is not None for p in method.discriminator.parameters())
    for key, p in again.named_parameters():
        if p.grad is not None:  # twice: once of the method, once by hand
            torch.testing.assert_close(
                model_gradients[key], 2 * p.grad, rtol=1e-3, atol=1e-6, msg=key
            )
    method.losses(again, batch, Noise(0, 3))["discriminator"].backward()
    assert all(p.grad is not None for p in method.discriminator.parameters())


def test_the_discriminator_judges_pair_by_pair_and_looks_at_both():
    judge = PairDiscriminator((1, 8, 8), 6, 4, 8).eval()
    x, z = torch.rand(5, 1, 8, 8), torch.randn(5, 6)
    scores = judge(x, z)
    torch.testing.assert_close(judge(x[:2], z[:2]), scores[:2])
    assert not torch.allclose(judge(x, z.flip(0)), scores)
    assert not torch.allclose(judge(x.flip(0), z), scores)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_trains_the_model_and_keeps_the_adversary_out_of_it(tmp_path, name):
    config = changed(CONFIGS[name], trainer={"max_steps": 4})
    model = train(config, tmp_path / "run")
    rows = metrics(tmp_path / "run")
    assert len(rows) == 4
    assert all(float(row["discriminator"]) > 0 for row in rows)
    assert not any("discriminator" in key for key in model.state_dict())
    again = train(config, tmp_path / "again")
    assert_same_weights(model.state_dict(), again.state_dict())
    if name == "revnet":
        x = torch.rand(3, 1, 8, 8)
        assert model.reconstruct(x, restricted=False).sub(x).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ali", "revnet"])
def test_two_ranks_train_nearly_as_one(tmp_path, name):
    train(CONFIGS[name], tmp_path / "one")
    run = train_on_two_ranks(CONFIGS[name], tmp_path, timeout=300)
    for a, b in zip(metrics(tmp_path / "one"), metrics(run), strict=True):
        for part in ("adversary", "discriminator", "reconstruction"):
            assert float(a[part]) == pytest.approx(float(b[part]), rel=0.1), part


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1}, "less than 2 images"),
        ({"network": "digits"}, "--network.kind revnet draws nothing; leave --method.stochastic"),
        ({"prior": "mixture"}, "cannot train with --prior mixture; choose"),
        ({"method": {"discriminator_width": 0}}, "a whole number of 1 or more"),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train(changed(ALI, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()
