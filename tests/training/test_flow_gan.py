"""Flow-GAN: who is trained when, on what loss; resumed, and on two ranks."""

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
from genrev.data import BatchLoader, DataConfig, load_images
from genrev.errors import GenrevError
from genrev.networks import ImageDiscriminator, RevNetConfig
from genrev.seeding import noise_generator
from genrev.training import EngineConfig, FlowGANConfig, RunConfig, TrainerConfig, resume, train
from genrev.training.flow_gan import FlowGANModule
from genrev.training.flows import build_flow, dequantised

NETWORK = RevNetConfig(
    image_size=8,
    channels=1,
    hidden_channels=(6, 8),
    blocks=(1, 1),
    kernel_sizes=(3, 3),
    scaling=True,
)
MODEL = FlowGANConfig(
    network=NETWORK, lr=1e-3, discriminator_width=4, schedule="linear", heldout_every=8
)
TRAINER = TrainerConfig(
    max_steps=16,
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
    method="flow-gan",
    model=MODEL,
    engine=EngineConfig(drift_every=None),
    trainer=TRAINER,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("flow-gan") / "whole"
    train(CONFIG, run)
    return run


def test_discriminator_and_network_take_turns(tmp_path, monkeypatch):
    turns = []
    step = FlowGANModule.training_step

    def training_step(self, batch, batch_idx):
        before = {name: t.clone() for name, t in self.state_dict().items()}
        step(self, batch, batch_idx)
        changed = {n for n, t in self.state_dict().items() if not torch.equal(t, before[n])}
        turns.append(tuple(any(n.startswith(p) for n in changed) for p in ("model", "discr")))

    monkeypatch.setattr(FlowGANModule, "training_step", training_step)
    train(replace(CONFIG, trainer=replace(TRAINER, max_steps=6)), tmp_path / "run")
    assert turns == [(False, True), (True, False)] * 3


def test_losses_of_the_first_two_steps_by_a_second_computation(whole):
    """From the untrained networks; the weights of the model change with step 1 first."""
    torch.manual_seed(0)
    data = load_images("digits")
    run = whole.parent / "two"
    module = {}

    class Spy(FlowGANModule):
        def on_train_start(self):
            module["model"] = {n: t.clone() for n, t in self.model.state_dict().items()}
            module["discriminator"] = {
                n: t.clone() for n, t in self.discriminator.state_dict().items()
            }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genrev.training.methods.flow_gan.FlowGANModule", Spy)
        train(replace(CONFIG, trainer=replace(TRAINER, max_steps=2)), run)
    model = build_flow(genrev.RevNet(NETWORK), "gaussian", data, measure=False)
    model.load_state_dict(module["model"])
    discriminator = ImageDiscriminator((1, 8, 8), 4)
    discriminator.load_state_dict(module["discriminator"])

    batch = BatchLoader(data, 36, 16, 0, balanced=False).batch(0)
    x = dequantised(batch["image"], 0, 0, 0, 1)
    with torch.no_grad():
        drawn = model.decode(model.prior.sample(36, generator=noise_generator(0, 0, "prior")))
        scores = discriminator(torch.cat((x, drawn)))  # training mode: one power iteration
    real, fake = scores[:36], scores[36:]
    hinge = torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()
    rows = metrics(run)
    assert float(rows[0]["discriminator"]) == pytest.approx(hinge.item(), rel=1e-5)
    x = dequantised(BatchLoader(data, 36, 16, 0, balanced=False).batch(1)["image"], 0, 1, 0, 1)
    with torch.no_grad():
        nats = -model.log_prob(x).mean() / 64
    bits = float(rows[1]["bits_per_dim"])
    assert bits == pytest.approx(8 + nats.item() / 0.6931471805599453, rel=1e-5)
    assert float(rows[1]["loss"]) == pytest.approx(float(rows[1]["adversary"]) + bits, rel=1e-5)


def test_without_a_likelihood_there_is_the_adversary_alone(tmp_path):
    affine = NETWORK.replace(coupling="affine")
    model = replace(MODEL, likelihood_weight=0.0, network=affine)
    engine = EngineConfig(memory="reversible", drift_every=None)  # no log-determinant is trained
    train(replace(CONFIG, model=model, engine=engine), tmp_path / "run")
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
    for name, tensor in weights(whole).items():
        assert torch.allclose(tensor.float(), weights(run)[name].float(), atol=1e-3), name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"likelihood_weight": -1.0}, "0 or more"),
        ({"discriminator_lr": 0.0}, "must be positive"),
        ({"discriminator_width": 0}, "1 or more"),
        ({"betas": (1.0, 0.9)}, "two numbers from 0"),
        ({"network": NETWORK.replace(coupling="affine")}, "set --engine.memory stored"),
        ({"network": NETWORK.replace(padding=4)}, "not a bijection"),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, fields, message):
    with pytest.raises(GenrevError, match=message):
        train(replace(CONFIG, model=replace(MODEL, **fields)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
