"""The drift monitor: what it measures, what it does about it, and that it leaves no trace."""

import json
import warnings
from types import SimpleNamespace

import pytest
import torch
from run_files import (
    assert_same_weights,
    changed,
    config_of,
    metrics,
    parts_of,
    unfinish,
    weights,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import genrev
from genrev.data import BatchLoader, load_images
from genrev.training import EngineOptions, TrainingModule, resume, train
from genrev.training.reports import drift

CONFIG = config_of(
    batch_size=40,
    prior={"active_dims": 8, "bound": 2.0},
    method={"reconstruction_weight": 10.0, "transport": "debiased", "transport_start": 0.3},
    engine={"drift_every": 4},
    trainer={"max_steps": 12, "log_every": 3, "checkpoint_every": 6, "sample_every": 100},
)
ANY = 1e-12  # a threshold that every rounding error exceeds


def with_engine(**options):
    return changed(CONFIG, engine=options)


def scaled_model(scale, **engine):
    _, model, _ = parts_of(with_engine(**engine))
    with torch.no_grad():
        for parameter in model.net.parameters():
            parameter *= scale
    return model


def digits(n):
    return torch.from_numpy(load_images("digits").images[:n].copy())


@pytest.fixture
def memories(monkeypatch):
    """The memory mode of every training step."""
    seen = []
    step = TrainingModule.training_step

    def training_step(self, batch, batch_idx):
        seen.append(self.model.net.engine.memory)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", training_step)
    return seen


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# What is measured


@pytest.mark.usefixtures("no_warnings")
def test_the_logged_error_is_that_of_the_last_batch_with_the_new_weights(tmp_path):
    config = changed(CONFIG, trainer={"max_steps": 4})
    model = train(config, tmp_path / "run")
    data = load_images("digits", "train")
    x = BatchLoader(data, 40, 4, config.seed, balanced=True).batch(3)["image"].float() / 255
    with torch.no_grad():
        single = (model.decode(model.encode(x)) - x).abs().max()
        with torch.autocast("cpu", torch.bfloat16):
            low = (model.decode(model.encode(x)) - x).abs().max()
    row = metrics(tmp_path / "run")[-1]
    assert row["step"] == "4"
    assert float(row["drift/float32"]) == float(single) > 0
    assert float(row["drift/bfloat16"]) == float(low)


def test_measurements_have_rows_of_their_own_and_leave_the_others_blank(tmp_path):
    run = tmp_path / "run"
    train(CONFIG, run)
    rows = metrics(run)
    assert [int(row["step"]) for row in rows] == [3, 4, 6, 8, 9, 12]
    measured = [int(row["step"]) for row in rows if row["drift/float32"]]
    assert measured == [int(row["step"]) for row in rows if row["drift/bfloat16"]] == [4, 8, 12]
    assert all(row["loss"] for row in rows)
    events = EventAccumulator(str(run)).Reload()
    logged = events.Scalars("drift/float32")
    assert [event.step for event in logged] == [4, 8, 12]
    expected = [float(row["drift/float32"]) for row in rows if row["drift/float32"]]
    assert [event.value for event in logged] == pytest.approx(expected)


def test_null_measures_nothing(tmp_path):
    train(with_engine(drift_every=None), tmp_path / "run")
    assert "drift/float32" not in metrics(tmp_path / "run")[-1]


def test_the_error_grows_with_the_weights_past_the_default_threshold():
    images = digits(60)
    errors = [
        float(drift._largest_error(scaled_model(scale), images, torch.float32))
        for scale in (1, 4, 16)
    ]
    assert errors == sorted(errors)
    assert errors[0] < 1e-5 < EngineOptions().drift_threshold < errors[-1]


def test_images_come_from_all_over_the_batch():
    seen = []
    model = scaled_model(1)
    encode = model.encode

    def spy(x):
        seen.append(x)
        return encode(x)

    model.encode = spy
    images = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1).expand(200, 1, 8, 8)
    drift._largest_error(model, images, torch.float32)
    numbers = (seen[0][:, 0, 0, 0] * 255).round()
    assert len(numbers) <= 64
    assert numbers.min() < 10
    assert numbers.max() > 190


@pytest.mark.parametrize("engine", [{}, {"exact": True}])
@pytest.mark.parametrize("scale", [float("nan"), 1e30])
def test_an_error_that_is_not_a_number_is_infinite(engine, scale):
    images = digits(8)
    assert drift._largest_error(scaled_model(scale, **engine), images, torch.float32) == torch.inf


# What is done about it


def test_past_the_threshold_one_warning_names_the_cures(tmp_path, memories):
    with pytest.warns(UserWarning, match="drift_threshold") as caught:
        model = train(with_engine(drift_threshold=ANY), tmp_path / "run")
    (warning,) = (w for w in caught if "drift_threshold" in str(w.message))
    error = float(next(r for r in metrics(tmp_path / "run") if r["step"] == "4")["drift/float32"])
    text = str(warning.message)
    assert text.startswith(f"After step 4 decode(encode(x)) is off by up to {error:.1e} in float32")
    for cure in ("--engine.memory stored", "--engine.exact true", "--optimizer.lr"):
        assert cure in text
    assert memories == ["reversible"] * 12
    assert model.net.engine.memory == "reversible"


@pytest.mark.usefixtures("no_warnings")
@pytest.mark.parametrize("on_drift", ["warn", "stored"])
@pytest.mark.parametrize("engine", [{"memory": "stored"}, {"exact": True}])
def test_nothing_is_done_where_nothing_drifts(tmp_path, capsys, memories, engine, on_drift):
    config = with_engine(drift_threshold=ANY, on_drift=on_drift, **engine)
    train(config, tmp_path / "run")
    assert capsys.readouterr().out == ""
    assert memories == [engine.get("memory", "reversible")] * 12
    assert float(metrics(tmp_path / "run")[-1]["drift/float32"]) > ANY


@pytest.mark.usefixtures("no_warnings")
def test_a_switched_run_says_so_once_and_saves_a_model_that_loads(tmp_path, capsys, memories):
    run = tmp_path / "run"
    model = train(with_engine(drift_threshold=ANY, on_drift="stored"), run)
    assert memories == ["reversible"] * 4 + ["stored"] * 8
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("After step 4")
    assert line.endswith("activations are kept (memory: stored).")
    loaded = genrev.load(run)
    assert loaded.net.engine.memory == "reversible"  # how it was trained is not part of a model
    z = torch.randn(2, 64)
    assert torch.equal(loaded.decode(z), model.decode(z))


def described(run):
    """What config.json says, but for the time that the training took."""
    told = json.loads((run / "config.json").read_text())
    assert told["info"].pop("seconds") > 0
    return told


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_switch_survives_a_resume_bit_for_bit(tmp_path, memories, ema):
    config = with_engine(drift_threshold=ANY, on_drift="stored")
    config = changed(config, optimizer={"ema": ema})
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config, whole)
    train(config, cut)
    unfinish(cut)
    memories.clear()
    # Later measurements cannot be what switches this one.
    later = changed(config, engine={"drift_threshold": 1e9})
    resume(later, cut)
    assert memories == ["stored"] * 6
    assert metrics(cut) == metrics(whole)
    assert_same_weights(weights(whole), weights(cut))
    assert described(cut) == described(whole)


@pytest.mark.parametrize(
    ("precision", "bad", "acts"),
    [
        ("float32", torch.float32, True),
        ("float32", torch.bfloat16, False),
        ("bf16", torch.bfloat16, True),
        ("bf16", torch.float32, False),
    ],
)
def test_only_the_precision_of_the_run_counts(tmp_path, monkeypatch, precision, bad, acts):
    monkeypatch.setattr(
        drift,
        "_largest_error",
        lambda model, images, dtype, labels: torch.tensor(float(dtype == bad)),
    )
    config = with_engine(on_drift="stored", precision=precision)
    model = train(changed(config, trainer={"max_steps": 4}), tmp_path / "run")
    assert model.net.engine.memory == ("stored" if acts else "reversible")


@pytest.mark.parametrize("elsewhere", [0.0, 1.0, float("inf")])
def test_the_worst_rank_decides_for_all(elsewhere):
    """As on a rank whose own error is small."""

    def reduce(error, reduce_op):
        assert reduce_op == "max"
        return torch.maximum(error, torch.tensor(elsewhere))

    model = scaled_model(1)
    trainer = SimpleNamespace(
        global_step=4,
        is_global_zero=False,
        strategy=SimpleNamespace(reduce=reduce),
        lightning_module=SimpleNamespace(print=lambda text: None),
    )
    monitor = drift.DriftMonitor(EngineOptions(drift_every=4, on_drift="stored"))
    monitor.measured = monitor.measure(trainer, model, digits(8), torch.zeros(8))
    monitor.after(trainer, model)
    assert (model.net.engine.memory == "stored") == (elsewhere > 0)
    assert monitor.state_dict() == {"switched": elsewhere > 0}


def test_without_bfloat16_the_rest_is_measured_and_the_reason_given_once(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(drift, "lacks_bfloat16", lambda device: "this device is too old")
    train(CONFIG, tmp_path / "run")
    row = metrics(tmp_path / "run")[-1]
    assert row["drift/float32"]
    assert "drift/bfloat16" not in row
    said = capsys.readouterr().out
    assert said == "drift/bfloat16 is not measured: this device is too old.\n"


# No trace


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_measuring_changes_nothing(tmp_path, precision):
    config = changed(CONFIG, optimizer={"ema": 0.9}, engine={"precision": precision})
    trained = []
    for every in (None, 1):
        measured = changed(config, engine={"drift_every": every, "drift_threshold": 1.0})
        train(measured, tmp_path / str(every))
        trained.append(weights(tmp_path / str(every)))
    assert_same_weights(*trained)


def test_modes_gradients_and_random_numbers_stay_as_they_are():
    model = scaled_model(1).train()
    model.net.blocks.eval()
    modes = [module.training for module in model.modules()]
    images = digits(8)
    state = torch.get_rng_state()
    for dtype in (torch.float32, torch.bfloat16):
        assert not drift._largest_error(model, images, dtype).requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.is_autocast_enabled("cpu")


# Who decides


def test_the_engine_of_the_run_decides_how_its_network_computes():
    for engine in ({"exact": True}, {"memory": "stored"}, {"compile": True}):
        config = with_engine(**engine)
        _, model, _ = parts_of(config)
        assert model.net.engine == config.engine.of_network
        for name, value in engine.items():
            assert getattr(model.net.engine, name) == value
