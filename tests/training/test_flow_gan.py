"""Flow-GAN: who is trained when, on what loss; resumed, and on two ranks."""

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
from genrev.data import BatchLoader
from genrev.errors import GenrevError
from genrev.networks import ImageDiscriminator
from genrev.objectives import dequantise
from genrev.seeding import noise_generator
from genrev.training import TrainingModule, resume, train

CONFIG = config_of(
    batch_size=36,
    network={"scaling": True},
    method={"name": "flow-gan", "discriminator_width": 4, "heldout_every": 8},
    optimizer={"schedule": "linear", "clip": 5.0},
    engine={"drift_every": None},
    trainer={"max_steps": 16, "log_every": 1, "checkpoint_every": 5, "sample_every": 100},
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("flow-gan") / "whole"
    train(CONFIG, run)
    return run


def test_discriminator_and_network_take_turns(tmp_path, monkeypatch):
    turns = []
    step = TrainingModule.training_step

    def training_step(self, batch, batch_idx):
        before = {name: t.clone() for name, t in self.state_dict().items()}
        step(self, batch, batch_idx)
        changed = {n for n, t in self.state_dict().items() if not torch.equal(t, before[n])}
        parts = ("step.model", "step.method.discriminator")
        turns.append(tuple(any(n.startswith(p) for n in changed) for p in parts))

    monkeypatch.setattr(TrainingModule, "training_step", training_step)
    train(changed(CONFIG, trainer={"max_steps": 6}), tmp_path / "run")
    assert turns == [(False, True), (True, False)] * 3


def test_losses_of_the_first_two_steps_by_a_second_computation(tmp_path):
    """From the untrained networks; the weights of the model change with step 1 first."""
    run = tmp_path / "two"
    train(changed(CONFIG, trainer={"max_steps": 2}), run)
    data, model, method = parts_of(CONFIG)
    discriminator = method.discriminator

    batch = BatchLoader(data, 36, 16, 0, balanced=False).batch(0)
    x = dequantise(batch["image"], noise_generator(0, 0, "dequantisation"))
    with torch.no_grad():
        drawn = model.decode(model.prior.sample(36, generator=noise_generator(0, 0, "prior")))
        scores = discriminator(torch.cat((x, drawn)))  # training mode: one power iteration
    real, fake = scores[:36], scores[36:]
    hinge = torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()
    rows = metrics(run)
    assert float(rows[0]["discriminator"]) == pytest.approx(hinge.item(), rel=1e-5)
    second = BatchLoader(data, 36, 16, 0, balanced=False).batch(1)["image"]
    x = dequantise(second, noise_generator(0, 1, "dequantisation"))
    with torch.no_grad():
        nats = -model.log_prob(x).mean() / 64
    bits = float(rows[1]["bits_per_dim"])
    assert bits == pytest.approx(8 + nats.item() / 0.6931471805599453, rel=1e-5)
    assert float(rows[1]["loss"]) == pytest.approx(float(rows[1]["adversary"]) + bits, rel=1e-5)


def test_without_a_likelihood_there_is_the_adversary_alone(tmp_path):
    config = changed(
        CONFIG,
        network={"coupling": "affine"},
        method={"bits_per_dim_weight": 0.0},
        engine={"memory": "reversible"},  # no log-determinant is trained
    )
    train(config, tmp_path / "run")
    rows = metrics(tmp_path / "run")
    assert "bits_per_dim" not in rows[-1]
    assert rows[-1]["loss"] == rows[-1]["adversary"]
    assert [row["step"] for row in rows if row["heldout_bits_per_dim"]] == ["8", "16"]


def test_the_discriminator_scores_images_one_by_one_and_is_normalised():
    torch.manual_seed(0)
    discriminator = ImageDiscriminator((3, 28, 28), 8)
    x = torch.rand(6, 3, 28, 28)
    for _ in range(30):
        discriminator(x)
    discriminator.eval()
    alone = torch.cat([discriminator(image[None]) for image in x])
    assert torch.allclose(discriminator(x), alone, atol=1e-6)
    for layer in [*discriminator.layers[::2], discriminator.score]:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        assert largest.item() == pytest.approx(1.0, abs=0.02)


def test_only_the_model_is_saved(whole):
    assert not any("discriminator" in name for name in weights(whole))
    assert genrev.load(whole).sample(3).shape == (3, 1, 8, 8)


def test_a_resumed_run_is_the_same_bit_for_bit(whole, tmp_path):
    cut = cut_short(whole, tmp_path / "cut", checkpoint=10)
    resume(CONFIG, cut)
    assert_same_weights(weights(whole), weights(cut))
    assert metrics(whole) == metrics(cut)


@pytest.mark.slow
def test_two_ranks_train_as_one_with_the_same_global_batch(whole, tmp_path):
    run = train_on_two_ranks(CONFIG, tmp_path, timeout=250)
    assert_close_weights(weights(whole), weights(run))


def test_a_network_that_pads_leaves_no_folder(tmp_path):
    with pytest.raises(GenrevError, match="not a bijection"):
        train(changed(CONFIG, network={"padding": 4}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"bits_per_dim_weight": -1.0}, "a number of 0 or more"),
        ({"discriminator_lr": 0.0}, "a number above 0"),
        ({"discriminator_width": 0}, "a whole number of 1 or more"),
    ],
)
def test_values_out_of_range_make_no_configuration(method, message):
    with pytest.raises(GenrevError, match=message):
        changed(CONFIG, method=method)
