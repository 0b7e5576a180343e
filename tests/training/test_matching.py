"""Matching of a fixed prior in two phases: who is trained when, and that nothing else matters."""

import shutil
from types import SimpleNamespace

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
    rate_factors,
    train_on_two_ranks,
    unfinish,
    weights,
    write_images,
)

import genrev
from genrev.data import load_images
from genrev.errors import GenrevError
from genrev.objectives import sliced_wasserstein
from genrev.training import Batch, Noise, TrainingModule, resume, train

SWITCH = 12
CONFIG = config_of(
    batch_size=36,  # no multiple of the number of classes
    prior={"kind": "gaussian", "active_dims": 8, "bound": 2.0},
    method={
        "name": "matching",
        "discriminator_hidden": [10, 20],
        "prior_samples": 70,
        "reconstruction_steps": SWITCH,
    },
    optimizer={"betas": [0.0, 0.9], "schedule": "linear", "clip": 5.0},
    engine={"drift_every": None},
    trainer={"max_steps": 20, "log_every": 1, "checkpoint_every": 5, "sample_every": 100},
)
VARIANTS = ["adversarial", "transport", "sliced", "mmd-rbf", "mmd-imq"]


def variant(criterion, **options):
    """The configuration with another distance, and as many samples as that needs."""
    samples = 70 if criterion == "adversarial" else None
    method = {"criterion": criterion, "prior_samples": samples, **options}
    return changed(CONFIG, method=method)


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
    step = TrainingModule.training_step

    def state(module):
        return {name: t.clone() for name, t in module.state_dict().items()}

    def training_step(self, batch, batch_idx):
        before = state(self)
        step(self, batch, batch_idx)
        changed = {name for name, t in state(self).items() if not torch.equal(t, before[name])}
        adam = self.step.optimizers[0].state
        seen.append(
            SimpleNamespace(
                step=int(batch["step"]),
                net=any(name.startswith("step.model.net") for name in changed),
                discriminator=any(name.startswith("step.method.discriminator") for name in changed),
                prior=any(name.startswith("step.model.prior") for name in changed),
                adam={int(state["step"]) for state in adam.values()},
            )
        )

    monkeypatch.setattr(TrainingModule, "training_step", training_step)
    return seen


def batch_of(images=36):
    """A batch of the matching phase."""
    return Batch(
        torch.rand(images, 1, 8, 8), torch.zeros(images, dtype=torch.int64), SWITCH, "matching"
    )


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
    train(variant(matching), run)
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
    train(changed(CONFIG, method={"reconstruction_clamp_weight": 0.0}), tmp_path / "run")
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

    monkeypatch.setattr("genrev.training.steps.step.clip_grad_norm_", spy)
    config = changed(CONFIG, method={"reconstruction_steps": 0}, trainer={"max_steps": 4})
    train(config, tmp_path / "r")
    assert seen == [(6, 1000.0), (16, 5.0)] * 2  # 3 layers; 2 couplings of 2 networks of 2 layers


def test_rates_fall_to_zero_in_either_phase():
    factors = rate_factors(CONFIG)
    assert factors[:SWITCH] == pytest.approx([1 - n / 12 for n in range(12)])
    assert factors[SWITCH:] == pytest.approx([1 - n / 8 for n in range(8)])
    cut = rate_factors(changed(CONFIG, trainer={"max_steps": 6}))  # ends within its first phase
    assert cut == pytest.approx([1 - n / 6 for n in range(6)])
    assert set(rate_factors(changed(CONFIG, optimizer={"schedule": "constant"}))) == {1.0}


# What is matched


@pytest.mark.parametrize("matching", VARIANTS)
def test_matching_pulls_at_active_dimensions_only(matching):
    _, model, method = parts_of(variant(matching))
    z = torch.randn(36, 64, requires_grad=True)
    method._matching(model, model.prior.restrict(z), batch_of(), Noise(0, SWITCH)).backward()
    pulled = z.grad.abs().sum(0) > 0
    assert pulled.nonzero().flatten().tolist() == model.prior.active_dims.tolist()


def test_no_gradient_of_the_discriminator_is_computed_for_the_encoder():
    _, model, method = parts_of(CONFIG)
    z = torch.randn(36, 8, requires_grad=True)
    method._matching(model, z, batch_of(), Noise(0, SWITCH)).backward()
    assert all(p.grad is None for p in method.discriminator.parameters())


def test_no_gradient_of_the_model_is_computed_for_the_discriminator():
    _, model, method = parts_of(CONFIG)
    method.discriminator_loss(model, batch_of(), Noise(0, SWITCH)).backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None for p in method.discriminator.parameters())


def test_the_discriminator_depends_on_the_seed_alone():
    data, model, method = parts_of(CONFIG)

    def built(seed):
        torch.rand(3)
        method.prepare(model, data, seed)
        return method.discriminator.state_dict()

    first, again, other = built(0), built(0), built(1)
    assert_same_weights(first, again)
    name = "layers.0.parametrizations.weight.original"
    assert not torch.equal(first[name], other[name])


@pytest.mark.parametrize("matching", VARIANTS)
def test_encodings_come_nearer_to_the_prior(tmp_path, matching):
    # The adversary's own loss says little, so all are judged by the sliced distance.
    weight = {"sliced": 30.0, "mmd-rbf": 30.0, "mmd-imq": 30.0}.get(matching, 1.0)
    options = {"matching_weight": weight, "reconstruction_steps": 0, "discriminator_lr": 5e-3}
    config = changed(
        variant(matching, **options),
        optimizer={"lr": 5e-3},
        trainer={"log_every": 100, "checkpoint_every": 1000},
    )
    many = 300 if matching == "adversarial" else 100  # every second one is the network's
    data = load_images("digits")
    distances = []
    for steps in (1, many):
        run = tmp_path / str(steps)
        # A first step of the adversary leaves the network as it was built.
        trained = train(changed(config, trainer={"max_steps": steps}), run)
        with torch.no_grad():
            z = trained.prior.restrict(trained.encode(data.tensor(range(500))))
        samples = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        distances.append(float(sliced_wasserstein(z, samples, num_projections=500)))
    assert distances[1] < 0.5 * distances[0]


@pytest.mark.parametrize("prior", ["gaussian", "uniform"])
def test_kind_of_prior_and_bound_are_saved(tmp_path, prior):
    kind = {"kind": prior, "active_dims": 8, "bound": 1.5}
    train(changed(CONFIG, prior=kind, trainer={"max_steps": 2}), tmp_path / "run")
    loaded = genrev.load(tmp_path / "run")
    assert (
        type(loaded.prior).__name__
        == {"gaussian": "ActiveGaussian", "uniform": "ActiveUniform"}[prior]
    )
    assert loaded.prior.bound == 1.5
    assert loaded.class_names == ("all",)
    assert not any("discriminator" in name for name in weights(tmp_path / "run"))


def test_data_without_labels_and_without_classes_in_the_batch(tmp_path):
    images = write_images(tmp_path / "images")
    config = changed(CONFIG, data=images, batch_size=7, trainer={"max_steps": 15})
    model = train(config, tmp_path / "run")
    assert model.sample(3).shape == (3, 1, 8, 8)


# Interrupted, taken over, on two ranks


@pytest.mark.parametrize(("every", "checkpoint"), [(5, 10), (6, SWITCH), (5, 15)])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, every, checkpoint, ema):
    """From before the switch, from just there, and from the network's turn after it."""
    config = changed(CONFIG, optimizer={"ema": ema}, trainer={"checkpoint_every": every})
    train(config, tmp_path / "whole")
    cut_short(tmp_path / "whole", tmp_path / "cut", checkpoint)
    resume(config, tmp_path / "cut")
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_two_phases_in_one_run_are_those_of_two_runs(whole, tmp_path, steps):
    train(changed(CONFIG, trainer={"max_steps": SWITCH}), tmp_path / "first")
    second = changed(CONFIG, method={"reconstruction_run": str(tmp_path / "first")})
    steps.clear()
    train(second, tmp_path / "second")
    assert [s.step for s in steps] == list(range(SWITCH, 20))
    assert_same_weights(weights(whole), weights(tmp_path / "second"))
    assert [row["loss"] for row in metrics(tmp_path / "second")][1:] == [
        row["loss"] for row in metrics(whole)[SWITCH + 1 :]
    ]


def test_a_run_that_took_over_resumes_without_the_run_it_took_over_from(whole, tmp_path):
    train(changed(CONFIG, trainer={"max_steps": SWITCH}), tmp_path / "first")
    second = changed(CONFIG, method={"reconstruction_run": str(tmp_path / "first")})
    train(second, tmp_path / "second")
    unfinish(tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    resume(second, tmp_path / "second")
    assert_same_weights(weights(whole), weights(tmp_path / "second"))


def test_only_a_run_that_fits_can_be_taken_over(whole, tmp_path):
    config = changed(CONFIG, method={"reconstruction_run": str(whole)})
    for change, message in (
        ({"network": "digits"}, "another network"),
        ({"prior": {"active_dims": 9}}, "has 8 active dimensions and this run 9"),
    ):
        with pytest.raises(GenrevError, match=message):
            train(changed(config, **change), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_bf16_trains_nearly_the_same(whole, tmp_path):
    train(changed(CONFIG, engine={"precision": "bf16"}), tmp_path / "run")
    a, b = metrics(whole)[-1], metrics(tmp_path / "run")[-1]
    for name in ("loss", "discriminator", "matching"):
        assert float(a[name]) == pytest.approx(float(b[name]), abs=0.05), name


@pytest.mark.parametrize(
    "matching", ["adversarial", pytest.param("mmd-imq", marks=pytest.mark.slow)]
)
def test_two_ranks_train_as_one_with_the_same_global_batch(tmp_path, matching):
    config = variant(matching)
    train(config, tmp_path / "one")
    run = train_on_two_ranks(config, tmp_path, timeout=150)
    assert_close_weights(weights(tmp_path / "one"), weights(run))
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
        (
            {"batch_size": 35, "method": {"criterion": "transport", "prior_samples": None}},
            r"multiple of 2 for 1 process\(es\)",
        ),
        ({"method": {"criterion": "sliced"}}, "must be null or 36 and is 70"),
        ({"method": {"criterion": "mmd-rbf", "prior_samples": 1}}, "must be 2 or more"),
        (
            {"method": {"criterion": "mmd-rbf", "prior_samples": None}, "batch_size": 1},
            "needs 2 images or more",
        ),
        ({"prior": "class-gaussian"}, "choose gaussian or uniform or logistic or mixture"),
        (
            {"method": {"reconstruction_colours": "luma-chroma"}},
            r"red, green and blue and these have 1 channel",
        ),
        ({"method": {"reconstruction_run": "x", "reconstruction_steps": 20}}, "leaves no steps"),
        ({"method": {"reconstruction_run": "nowhere"}}, "no run or model 'nowhere'"),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train(changed(CONFIG, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"matching_weight": -1.0}, "--method.matching_weight in test takes a number of 0 or more"),
        ({"discriminator_lr": 0.0}, "--method.discriminator_lr in test takes a number above 0"),
        ({"discriminator_hidden": [0, 4]}, "each a whole number of 1 or more and got 0 at"),
        ({"reconstruction_steps": -1}, "--method.reconstruction_steps in test takes a whole num"),
    ],
)
def test_values_out_of_range_make_no_configuration(method, message):
    with pytest.raises(GenrevError, match=message):
        changed(CONFIG, method=method)


def test_a_uniform_prior_needs_a_bound():
    with pytest.raises(GenrevError, match=r"--prior\.bound in test cannot be null"):
        changed(CONFIG, prior={"kind": "uniform", "bound": None})


@pytest.mark.parametrize(
    "change", [{"optimizer": {"lr": 1e12}}, {"method": {"discriminator_lr": 1e30}}]
)
def test_numbers_that_are_not_finite_stop_the_training(tmp_path, change):
    config = changed(CONFIG, method={"reconstruction_steps": 0}, optimizer={"schedule": "constant"})
    with pytest.raises(GenrevError, match=r"stopped being finite"):
        train(changed(config, **change), tmp_path / "run")


def test_the_average_counts_the_steps_of_the_revnet_alone(tmp_path):
    config = changed(CONFIG, method={"reconstruction_steps": 0}, optimizer={"schedule": "constant"})
    name = "net.blocks.blocks.1.f.0.weight"

    def run(folder, max_steps, ema=None):
        trainer, optimizer = {"max_steps": max_steps}, {"ema": ema}
        train(changed(config, trainer=trainer, optimizer=optimizer), tmp_path / folder)
        return weights(tmp_path / folder)[name]

    # The discriminator has steps 0 and 2, the RevNet 1 and 3.
    first, second = run("first", 2), run("second", 4)
    averaged = run("averaged", 4, ema=0.75)
    torch.testing.assert_close(averaged, 0.75 * first + 0.25 * second, rtol=0, atol=1e-6)
    assert not torch.allclose(first, second, atol=1e-5)
