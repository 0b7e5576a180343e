"""Matching of a fixed prior in two phases: who is trained when, and that nothing else matters."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
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
from genrev.networks import RevNetConfig
from genrev.objectives import sliced_wasserstein
from genrev.training import (
    EngineConfig,
    MatchingConfig,
    PhasesConfig,
    RunConfig,
    TrainerConfig,
    TransportConfig,
    resume,
    train,
)
from genrev.training.encodings import build_model
from genrev.training.matching import MatchingModule

NETWORK = RevNetConfig(
    image_size=8, channels=1, hidden_channels=(6, 8), blocks=(1, 1), kernel_sizes=(3, 3)
)
MODEL = MatchingConfig(
    network=NETWORK,
    active_dims=8,
    discriminator_hidden=(10, 20),
    prior_samples=70,
    lr=1e-3,
    schedule="linear",
)
SWITCH = 12
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
    batch_size=36,  # no multiple of the number of classes
    data=DataConfig(source="digits"),
    method="matching",
    model=MODEL,
    phases=PhasesConfig(reconstruction_steps=SWITCH),
    engine=EngineConfig(drift_every=None),
    trainer=TRAINER,
)
VARIANTS = ["adversarial", "transport", "sliced", "mmd-rbf", "mmd-imq"]


def variant(matching, **fields):
    """The model with another distance, and as many samples as that needs."""
    samples = 70 if matching == "adversarial" else None
    return replace(MODEL, matching=matching, prior_samples=samples, **fields)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Both phases in one uninterrupted run."""
    run = tmp_path_factory.mktemp("matching") / "whole"
    train(CONFIG, run)
    return run


@pytest.fixture
def steps(monkeypatch):
    """What every training step left changed: (net, discriminator with its buffers)."""
    seen = []
    step = MatchingModule.training_step

    def state(module):
        return {name: t.clone() for name, t in module.state_dict().items()}

    def training_step(self, batch, batch_idx):
        before = state(self)
        step(self, batch, batch_idx)
        changed = {name for name, t in state(self).items() if not torch.equal(t, before[name])}
        adam = self._optimizers()[0].optimizer.state
        seen.append(
            SimpleNamespace(
                step=int(batch["step"]),
                net=any(name.startswith("model.net") for name in changed),
                discriminator=any(name.startswith("discriminator") for name in changed),
                prior=any(name.startswith("model.prior") for name in changed),
                adam={int(state["step"]) for state in adam.values()},
            )
        )

    monkeypatch.setattr(MatchingModule, "training_step", training_step)
    return seen


def module(model=MODEL, phases=CONFIG.phases, seed=0, max_steps=20):
    """A module outside of a training."""
    net = build_model(model, EngineConfig(), load_images("digits"))
    lightning = MatchingModule(net, model, phases, seed, max_steps)
    lightning.trainer = SimpleNamespace(world_size=1)
    return lightning


# Who is trained when


def test_discriminator_and_network_take_turns_after_the_reconstruction_phase(tmp_path, steps):
    train(CONFIG, tmp_path / "run")
    assert [s.step for s in steps] == list(range(20))
    turns = [(s.net, s.discriminator) for s in steps]
    assert turns[:SWITCH] == [(True, False)] * SWITCH
    assert turns[SWITCH:] == [(False, True), (True, False)] * 4
    assert not any(s.prior for s in steps)


def test_the_matching_phase_begins_with_fresh_states_of_the_optimiser(tmp_path, steps):
    train(CONFIG, tmp_path / "run")
    assert [s.adam for s in steps[:SWITCH]] == [{n + 1} for n in range(SWITCH)]
    assert [s.adam for s in steps[SWITCH:]] == [set(), {1}, {1}, {2}, {2}, {3}, {3}, {4}]


@pytest.mark.parametrize("matching", VARIANTS[1:])
def test_without_an_adversary_every_step_trains_the_network(tmp_path, steps, matching):
    run = tmp_path / "run"
    train(replace(CONFIG, model=variant(matching)), run)
    assert all(s.net for s in steps)
    rows = metrics(run)
    assert [bool(row["matching"]) for row in rows] == [False] * SWITCH + [True] * 8
    assert "discriminator" not in rows[0]


def test_reports_name_the_parts_and_the_loss_is_their_weighted_sum(whole):
    rows = metrics(whole)
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    assert [bool(row["discriminator"]) for row in rows] == [False] * SWITCH + [True] * 8
    assert [bool(row["matching"]) for row in rows] == [False] * (SWITCH + 1) + [True] * 7
    for row in [*rows[:SWITCH], *rows[SWITCH + 1 :]]:
        parts = 10 * float(row["reconstruction"]) + 10 * float(row["clamp"])
        parts += float(row["matching"] or 0)
        assert float(row["loss"]) == pytest.approx(parts, rel=1e-5)


def test_the_clamp_penalty_of_the_first_phase_can_be_left_out(tmp_path):
    phases = replace(CONFIG.phases, clamp_weight=0.0)
    train(replace(CONFIG, phases=phases), tmp_path / "run")
    for number, row in enumerate(metrics(tmp_path / "run")):
        if number == SWITCH:
            continue  # the discriminator's
        clamp = 0 if number < SWITCH else 10
        parts = 10 * float(row["reconstruction"]) + clamp * float(row["clamp"])
        assert float(row["loss"]) == pytest.approx(parts + float(row["matching"] or 0), rel=1e-5), (
            number
        )


def test_each_network_has_its_own_bound_of_gradients(tmp_path, monkeypatch):
    seen = []
    clip = torch.nn.utils.clip_grad_norm_

    def spy(parameters, bound, *args, **kwargs):
        parameters = list(parameters)
        seen.append((len(parameters), float(bound)))
        return clip(parameters, bound, *args, **kwargs)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    train(
        replace(CONFIG, phases=PhasesConfig(), trainer=replace(TRAINER, max_steps=4)),
        tmp_path / "r",
    )
    assert seen == [(6, 1000.0), (16, 5.0)] * 2  # 3 layers; 2 couplings of 2 networks of 2 layers


def test_rates_fall_to_zero_in_either_phase():
    lightning = module()
    factors = [lightning._learning_rate_factor(step) for step in range(20)]
    assert factors[:SWITCH] == pytest.approx([1 - n / 12 for n in range(12)])
    assert factors[SWITCH:] == pytest.approx([1 - n / 8 for n in range(8)])
    cut = module(max_steps=6)  # a run that ends within its first phase
    assert [cut._learning_rate_factor(s) for s in (0, 3, 5)] == pytest.approx([1, 1 / 2, 1 / 6])
    constant = module(replace(MODEL, schedule="constant"))
    assert {constant._learning_rate_factor(step) for step in range(20)} == {1.0}


# What is matched


@pytest.mark.parametrize("matching", VARIANTS)
def test_matching_pulls_at_active_dimensions_only(matching):
    lightning = module(variant(matching))
    z = torch.randn(36, 64, requires_grad=True)
    lightning._matching(lightning.model.prior.restrict(z), step=SWITCH).backward()
    pulled = z.grad.abs().sum(0) > 0
    assert pulled.nonzero().flatten().tolist() == lightning.model.prior.active_dims.tolist()


def test_no_gradient_of_the_discriminator_is_computed_for_the_encoder():
    lightning = module()
    z = torch.randn(36, 8, requires_grad=True)
    lightning._matching(z, step=SWITCH).backward()
    assert all(p.grad is None for p in lightning.discriminator.parameters())


def test_the_discriminator_depends_on_the_seed_alone():
    first, _, again, other = (
        module(seed=seed).discriminator.state_dict() for seed in (0, torch.seed() % 100 + 2, 0, 1)
    )
    assert_same_weights(first, again)
    name = "layers.0.parametrizations.weight.original"
    assert not torch.equal(first[name], other[name])


@pytest.mark.parametrize("matching", VARIANTS)
def test_encodings_come_nearer_to_the_prior(tmp_path, matching):
    # The adversary's own loss says little, so all are judged by the sliced distance.
    weight = {"sliced": 30.0, "mmd-rbf": 30.0, "mmd-imq": 30.0}.get(matching, 1.0)
    model = variant(matching, matching_weight=weight, lr=5e-3, discriminator_lr=5e-3)
    config = replace(CONFIG, model=model, phases=PhasesConfig())
    trainer = replace(TRAINER, log_every=100, checkpoint_every=1000)
    many = 300 if matching == "adversarial" else 100  # every second one is the network's
    data = load_images("digits")
    distances = []
    for steps in (1, many):
        run = tmp_path / str(steps)
        # A first step of the adversary leaves the network as it was built.
        trained = train(replace(config, trainer=replace(trainer, max_steps=steps)), run)
        with torch.no_grad():
            z = trained.prior.restrict(trained.encode(data.tensor(range(500))))
        samples = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        distances.append(float(sliced_wasserstein(z, samples, num_projections=500)))
    assert distances[1] < 0.5 * distances[0]


@pytest.mark.parametrize("prior", ["gaussian", "uniform"])
def test_kind_of_prior_and_bound_are_saved(tmp_path, prior):
    model = replace(MODEL, prior=prior, bound=1.5)
    train(replace(CONFIG, model=model, trainer=replace(TRAINER, max_steps=2)), tmp_path / "run")
    loaded = genrev.load(tmp_path / "run")
    assert (
        type(loaded.prior).__name__
        == {"gaussian": "ActiveGaussian", "uniform": "ActiveUniform"}[prior]
    )
    assert loaded.prior.bound == 1.5
    assert loaded.class_names == ("all",)
    assert not any("discriminator" in name for name in weights(tmp_path / "run"))


def test_data_without_labels_and_without_classes_in_the_batch(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(24):
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{i}.png")
    config = replace(CONFIG, data=DataConfig(source=str(tmp_path / "images")), batch_size=7)
    model = train(replace(config, trainer=replace(TRAINER, max_steps=15)), tmp_path / "run")
    assert model.sample(3).shape == (3, 1, 8, 8)


# Interrupted, taken over, on two ranks


@pytest.mark.parametrize("checkpoint", [10, 15])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, checkpoint, ema):
    """From before the switch, and from the turn of the network in the adversarial phase."""
    config = replace(CONFIG, trainer=replace(TRAINER, ema=ema))
    train(config, tmp_path / "whole")
    cut_short(tmp_path / "whole", tmp_path / "cut", checkpoint)
    resume(config, tmp_path / "cut")
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_two_phases_in_one_run_are_those_of_two_runs(whole, tmp_path, steps):
    first = replace(CONFIG, trainer=replace(TRAINER, max_steps=SWITCH))
    train(first, tmp_path / "first")
    # Kind and bound of the prior are the second run's own.
    second = replace(CONFIG, phases=replace(CONFIG.phases, reconstruction=str(tmp_path / "first")))
    steps.clear()
    train(second, tmp_path / "second")
    assert [s.step for s in steps] == list(range(SWITCH, 20))
    assert_same_weights(weights(whole), weights(tmp_path / "second"))
    assert [row["loss"] for row in metrics(tmp_path / "second")][1:] == [
        row["loss"] for row in metrics(whole)[SWITCH + 1 :]
    ]


def test_a_run_that_took_over_resumes_without_the_run_it_took_over_from(whole, tmp_path):
    train(replace(CONFIG, trainer=replace(TRAINER, max_steps=SWITCH)), tmp_path / "first")
    second = replace(CONFIG, phases=replace(CONFIG.phases, reconstruction=str(tmp_path / "first")))
    train(second, tmp_path / "second")
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "second" / name).unlink()
    shutil.rmtree(tmp_path / "first")
    resume(second, tmp_path / "second")
    assert_same_weights(weights(whole), weights(tmp_path / "second"))


def test_only_a_run_that_fits_can_be_taken_over(whole, tmp_path):
    phases = replace(CONFIG.phases, reconstruction=str(whole))
    for model, message in (
        (replace(MODEL, network="digits"), "another network"),
        (replace(MODEL, active_dims=9), "has 8 active dimensions and this run 9"),
    ):
        with pytest.raises(GenrevError, match=message):
            train(replace(CONFIG, model=model, phases=phases), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_bf16_trains_nearly_the_same(whole, tmp_path):
    train(replace(CONFIG, trainer=replace(TRAINER, precision="bf16-mixed")), tmp_path / "run")
    a, b = metrics(whole)[-1], metrics(tmp_path / "run")[-1]
    for name in ("loss", "discriminator", "matching"):
        assert float(a[name]) == pytest.approx(float(b[name]), abs=0.05), name


@pytest.mark.parametrize(
    "matching", ["adversarial", pytest.param("mmd-imq", marks=pytest.mark.slow)]
)
def test_two_ranks_train_as_one_with_the_same_global_batch(tmp_path, matching):
    config = replace(CONFIG, model=variant(matching))
    train(config, tmp_path / "one")
    run = train_on_two_ranks(config, tmp_path, timeout=150)
    for name, tensor in weights(tmp_path / "one").items():
        assert torch.allclose(tensor.float(), weights(run)[name].float(), atol=1e-3), name
    one, two = metrics(tmp_path / "one"), metrics(run)
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        for name in set(a) - {"step"}:
            assert bool(a[name]) == bool(b[name])
            if a[name]:
                assert float(a[name]) == pytest.approx(float(b[name]), abs=1e-3), name


# What cannot be


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 35, "model": variant("transport")}, r"multiple of 2 for 1 process\(es\)"),
        ({"model": variant("sliced", matching_weight=-1.0)}, "0 or more"),
        ({"model": replace(MODEL, matching="sliced")}, "must be null or 36 and is 70"),
        ({"model": replace(MODEL, matching="mmd-rbf", prior_samples=1)}, "2 or more"),
        ({"model": replace(MODEL, prior="uniform", bound=None)}, "reaches to --model.bound"),
        ({"model": replace(MODEL, active_dims=0)}, "between 1 and 64"),
        (
            {"model": replace(MODEL, reconstruction_colours="luma-chroma")},
            r"red, green and blue and these have 1 channel",
        ),
        ({"model": replace(MODEL, discriminator_lr=0.0)}, "discriminator_lr must be positive"),
        ({"model": replace(MODEL, discriminator_hidden=(0, 4))}, "two widths"),
        ({"model": replace(MODEL, betas=(0.0, 1.0))}, "two numbers from 0"),
        ({"phases": PhasesConfig(-1)}, "reconstruction_steps must be 0 or more"),
        ({"phases": PhasesConfig(20, "somewhere")}, "leaves no steps"),
        ({"phases": PhasesConfig(5, "nowhere")}, "no run or model 'nowhere'"),
        (
            {"method": "transport", "model": TransportConfig()},
            "phases.* is for --method matching",
        ),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train(replace(CONFIG, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_of_another_method_is_a_programming_error():
    with pytest.raises(TypeError, match="matching needs a MatchingConfig"):
        RunConfig(method="matching")


@pytest.mark.parametrize("rates", [{"lr": 1e12}, {"discriminator_lr": 1e30}])
def test_numbers_that_are_not_finite_stop_the_training(tmp_path, rates):
    model = replace(MODEL, schedule="constant", **rates)
    config = replace(CONFIG, model=model, phases=PhasesConfig())
    with pytest.raises(GenrevError, match=r"stopped being finite"):
        train(config, tmp_path / "run")


def test_the_average_counts_the_steps_of_the_revnet_alone(tmp_path):
    model, phases = variant("adversarial", schedule="constant"), PhasesConfig()
    name = "net.blocks.blocks.1.f.0.weight"

    def run(folder, max_steps, ema=None):
        trainer = replace(TRAINER, max_steps=max_steps, ema=ema)
        train(replace(CONFIG, model=model, phases=phases, trainer=trainer), tmp_path / folder)
        return weights(tmp_path / folder)[name]

    # The discriminator has steps 0 and 2, the RevNet 1 and 3.
    first, second = run("first", 2), run("second", 4)
    averaged = run("averaged", 4, ema=0.75)
    torch.testing.assert_close(averaged, 0.75 * first + 0.25 * second, rtol=0, atol=1e-6)
    assert not torch.allclose(first, second, atol=1e-5)
