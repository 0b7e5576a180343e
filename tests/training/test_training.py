"""Whole runs on the bundled digits: interrupted, resumed, on two ranks, without labels."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from run_files import (
    assert_close_weights,
    assert_same_weights,
    changed,
    config_of,
    metrics,
    train_on_two_ranks,
    unfinish,
    weights,
    write_config,
    write_images,
)

import genrev
from genrev.errors import GenrevError
from genrev.training import RunFolder, resume, train

CONFIG = config_of(
    batch_size=40,
    prior={"active_dims": 8, "bound": 2.0},
    method={
        "reconstruction_weight": 10.0,
        "clamp_weight": 10.0,
        "transport": "debiased",
        "transport_start": 0.3,
        "transport_memory": 2,
    },
    optimizer={"schedule": "linear"},
    # Not at the steps of the checkpoints, so that rows in between have to be blank.
    engine={"drift_every": 4},
    trainer={"max_steps": 20, "log_every": 1, "checkpoint_every": 6, "sample_every": 10},
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(CONFIG, run)
    return run


def start(run, config):
    file = write_config(run.parent, config)
    command = [sys.executable, "-m", "genrev", "train", str(file), "--out", str(run)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(run, process, step):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        folder = RunFolder(run)
        if folder.newest_checkpoint()[0] >= step:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("the run did not get to its first checkpoint")


def test_the_commit_of_the_source_tree_is_recorded(whole):
    root = Path(genrev.__file__).parents[2]
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    ask = ["git", "-C", str(root), "rev-parse", "HEAD"]
    head = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    commit = json.loads((whole / "environment.json").read_text())["commit"]
    assert commit.removesuffix("-dirty") == head


def test_a_run_folder_has_what_is_promised(whole):
    names = {p.name for p in whole.iterdir()}
    assert {
        "config.yaml",
        "config.json",
        "model.safetensors",
        "metrics.csv",
        "environment.json",
        "checkpoints",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    environment = json.loads((whole / "environment.json").read_text())
    assert environment["seed"] == 0
    assert environment["packages"]["torch"] == torch.__version__
    rows = metrics(whole)
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    assert rows[0]["transport"] == ""
    assert float(rows[6]["transport"]) != 0  # transport starts with the seventh step
    model = genrev.load(whole)
    assert model.class_names == tuple("0123456789")


def test_the_logged_loss_is_the_weighted_sum_of_its_parts(whole):
    for row in metrics(whole):
        parts = 10 * float(row["reconstruction"]) + 10 * float(row["clamp"])
        parts += float(row["transport"] or 0)
        assert float(row["loss"]) == pytest.approx(parts, rel=1e-5)


def test_training_reduces_the_reconstruction_error(whole):
    rows = metrics(whole)
    first, last = (
        np.mean([float(r["reconstruction"]) for r in part]) for part in (rows[:3], rows[-3:])
    )
    assert last < 0.9 * first


def test_the_same_seed_gives_the_same_model_and_another_seed_another(whole, tmp_path):
    train(CONFIG, tmp_path / "again")
    train(changed(CONFIG, seed=1), tmp_path / "other")
    assert_same_weights(weights(whole), weights(tmp_path / "again"))
    assert not torch.equal(weights(whole)["prior.mean"], weights(tmp_path / "other")["prior.mean"])


LONG = changed(CONFIG, trainer={"max_steps": 90})


@pytest.fixture(scope="module")
def long_whole(tmp_path_factory):
    """An uninterrupted run that is long enough to be interrupted."""
    run = tmp_path_factory.mktemp("runs") / "long"
    train(LONG, run)
    return run


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_ends_bit_for_bit_the_same(long_whole, tmp_path, how):
    run = tmp_path / "cut"
    process = start(run, LONG)
    wait_for_step(run, process, 6)
    process.send_signal(how)
    output, errors = process.communicate(timeout=60)
    assert not RunFolder(run).finished, "the run was over before the signal came"
    if how is not signal.SIGKILL:
        assert process.returncode == 128 + how, errors
        assert f"Stopped by {how.name} after step" in output
        assert f"genrev resume {run}" in output
    resume(LONG, run)
    assert_same_weights(weights(long_whole), weights(run))
    assert metrics(run) == metrics(long_whole)
    assert len(json.loads((run / "environment.json").read_text())["history"]) == 2


def test_a_damaged_newest_checkpoint_is_passed_over(whole, tmp_path):
    run = tmp_path / "run"
    train(CONFIG, run)
    unfinish(run)
    newest = run / "checkpoints/step18.ckpt"
    newest.write_bytes(newest.read_bytes()[:1000])
    told = r"step18.ckpt cannot be read \(File is not a zip file\), so the run goes on from step 12"
    with pytest.warns(UserWarning, match=told):
        resume(CONFIG, run)
    assert_same_weights(weights(whole), weights(run))
    assert metrics(run) == metrics(whole)


def test_two_checkpoints_are_kept_and_that_of_the_last_step(whole):
    assert sorted(p.name for p in (whole / "checkpoints").iterdir()) == [
        "step12.ckpt",
        "step18.ckpt",
        "step20.ckpt",
    ]


def test_two_ranks_train_as_one_with_the_same_global_batch(whole, tmp_path):
    run = train_on_two_ranks(CONFIG, tmp_path, timeout=150)
    one, two = metrics(whole), metrics(run)
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert bool(a["drift/float32"]) == bool(b["drift/float32"]) == (int(a["step"]) % 4 == 0)
        for name in ("loss", "reconstruction", "clamp", "transport"):
            assert bool(a[name]) == bool(b[name])
            if a[name]:
                assert float(a[name]) == pytest.approx(float(b[name]), rel=1e-3, abs=1e-4), name
    assert_close_weights(weights(whole), weights(run))


def test_paper_losses_train_too(tmp_path):
    paper = {"name": "transport", "perturbation_weight": 150, "perturbation_std": 0.1}
    config = config_of(
        batch_size=40, method=paper, trainer={"max_steps": 30, "log_every": 1, "sample_every": 100}
    )
    run = tmp_path / "paper"
    train(config, run)
    rows = metrics(run)
    assert float(rows[-1]["transport"]) < float(rows[0]["transport"])
    for row in rows:
        parts = 150 * float(row["perturbation"]) + float(row["transport"])
        assert float(row["loss"]) == pytest.approx(parts, rel=1e-5)


def test_data_without_labels_is_one_class(tmp_path):
    images = write_images(tmp_path / "images")
    config = changed(CONFIG, data=images, trainer={"max_steps": 3})
    model = train(config, tmp_path / "run")
    assert model.prior.num_classes == 1
    assert model.sample(4).shape == (4, 1, 8, 8)


@pytest.mark.parametrize("every", [6, 20])
def test_ema_and_bf16_and_clipping_run_and_resume(tmp_path, every):
    """Also when the run is cut off after its last step and before its model is written."""
    config = changed(
        CONFIG,
        optimizer={"ema": 0.9, "clip": 1.0},
        engine={"precision": "bf16"},
        trainer={"checkpoint_every": every},
    )
    train(config, tmp_path / "whole")
    train(changed(config, optimizer={"ema": None}), tmp_path / "plain")
    averaged, last = weights(tmp_path / "whole"), weights(tmp_path / "plain")
    assert not torch.equal(averaged["prior.mean"], last["prior.mean"])
    assert torch.equal(averaged["prior.active_dims"], last["prior.active_dims"])
    train(config, tmp_path / "cut")
    unfinish(tmp_path / "cut")
    resume(config, tmp_path / "cut")
    assert_same_weights(averaged, weights(tmp_path / "cut"))


def test_ema_is_the_exponential_average_of_the_weights_of_every_step(tmp_path):
    # With this schedule, a step does not depend on how many follow.
    config = changed(CONFIG, optimizer={"schedule": "constant"}, method={"transport_start": 1.0})
    name = "net.blocks.blocks.1.f.0.weight"
    steps = []
    for max_steps in (1, 2):
        train(changed(config, trainer={"max_steps": max_steps}), tmp_path / f"{max_steps}")
        steps.append(weights(tmp_path / f"{max_steps}")[name])
    train(changed(config, trainer={"max_steps": 2}, optimizer={"ema": 0.75}), tmp_path / "ema")
    averaged = weights(tmp_path / "ema")[name]
    assert torch.allclose(averaged, 0.75 * steps[0] + 0.25 * steps[1], atol=1e-6)


def test_a_loss_that_is_not_finite_stops_with_a_sentence(tmp_path):
    with pytest.raises(GenrevError, match=r"stopped being finite at step \d+.*--optimizer\.lr"):
        train(changed(CONFIG, optimizer={"lr": 1e12}), tmp_path / "run")
    assert not RunFolder(tmp_path / "run").finished


def test_a_time_limit_ends_the_run_with_a_model(tmp_path):
    limited = changed(CONFIG, trainer={"max_steps": 100_000, "max_minutes": 1 / 60})
    assert train(limited, tmp_path / "run") is not None
    assert RunFolder(tmp_path / "run").finished
    assert 1 <= len(metrics(tmp_path / "run")) < 100_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 30}, "multiple of 20"),
        ({"network": "mnist", "data": {"image_size": 8}}, "--data.image_size 28"),
        ({"prior": {"active_dims": 65}}, "between 1 and 64"),
        ({"trainer": {"accelerator": "abacus"}}, "accelerator abacus"),
        ({"trainer": {"accelerator": "tpu"}}, "accelerator tpu"),
        pytest.param(
            {"trainer": {"accelerator": "mps"}},
            "There is no device 'mps' here; choose from cpu",
            marks=pytest.mark.skipif(torch.backends.mps.is_available(), reason="it is here"),
        ),
        (
            {"method": {"reconstruction_weight": 0, "clamp_weight": 0}},
            "nothing to train on before the transport starts",
        ),
        ({"prior": "gaussian"}, "cannot train with --prior gaussian; choose class-gaussian"),
        ({"data": {"limit": 5}}, "no images of the class"),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train(changed(CONFIG, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": {"lr": 0.0}}, "--optimizer.lr in test takes a number above 0"),
        ({"optimizer": {"lr": 1e39}}, "above 0 and at most 1e\\+30 and got 1e\\+39"),
        ({"optimizer": {"betas": [1.0, 0.9]}}, "from 0 to below 1 and got 1.0 at position 1"),
        ({"optimizer": {"ema": 2.0}}, "--optimizer.ema in test takes a number between 0 and 1"),
        ({"optimizer": {"clip": -1.0}}, "--optimizer.clip in test takes a number above 0"),
        (
            {"method": {"transport_start": 2.0}},
            "transport_start in test takes a number from 0 to 1",
        ),
        ({"method": {"transport_weight": -1.0}}, "a number of 0 or more"),
        ({"method": {"transport_memory": -1}}, "a whole number of 0 or more"),
        ({"prior": {"bound": -1.0}}, "--prior.bound in test takes a number above 0"),
        ({"prior": {"active_dims": 0}}, "--prior.active_dims in test takes a whole number of 1"),
        ({"trainer": {"max_steps": 0}}, "a whole number of 1 or more"),
        (
            {"trainer": {"threads": 0}},
            "--trainer.threads in test takes a whole number of 1 or more",
        ),
        ({"trainer": {"max_minutes": -1.0}}, "max_minutes in test takes a number above 0"),
        ({"trainer": {"max_minutes": float("inf")}}, "max_minutes in test takes a number above 0"),
        ({"engine": {"drift_every": 0}}, "--engine.drift_every in test takes a whole number of 1"),
        (
            {"engine": {"drift_threshold": 0.0}},
            "--engine.drift_threshold in test takes a number ab",
        ),
        ({"engine": {"exact": True, "compile": True}}, "exclude each other"),
        ({"trainer": {"keep_best": True}}, r"--trainer\.frechet_every"),
        ({"seed": -1}, "--seed in test takes a whole number from 0 to 4294967295 and got -1"),
        ({"seed": 10**20}, "--seed in test takes a whole number from 0 to"),
    ],
)
def test_values_out_of_range_make_no_configuration(change, message):
    with pytest.raises(GenrevError, match=message):
        changed(CONFIG, **change)


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(GenrevError, match=r"kept as it is; name another folder with --out\.$"):
        train(CONFIG, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_complete_run_is_not_resumed(whole):
    with pytest.raises(GenrevError, match="complete"):
        resume(CONFIG, whole)


def test_no_noise_of_this_run_comes_from_global_state(tmp_path, whole, monkeypatch):
    """What another library does to the global generators between two steps must not matter."""

    def disturb(*_):
        torch.manual_seed(99)
        np.random.seed(99)  # noqa: NPY002
        torch.rand(7)

    monkeypatch.setattr(
        "genrev.training.reports.tensorboard.SampleImages.on_train_batch_end", disturb
    )
    train(CONFIG, tmp_path / "run")
    assert_same_weights(weights(whole), weights(tmp_path / "run"))


def test_a_second_run_in_the_process_of_a_launcher_owns_its_folder(tmp_path, monkeypatch):
    """torchrun sets the variable, and Lightning leaves it behind after a run on two ranks."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    run = tmp_path / "run"
    train(changed(CONFIG, trainer={"max_steps": 2}), run)
    assert RunFolder(run).config.is_file()
    with pytest.raises(GenrevError, match=r"exists already .*, or go on with it by .* resume"):
        train(CONFIG, run)


def test_local_paths_stay_in_the_run_folder_and_out_of_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "pictures")
    train(changed(CONFIG, data="pictures", trainer={"max_steps": 1}), "run")
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["data"]["source"] == str(tmp_path / "pictures")
    assert str(tmp_path) not in (tmp_path / "run/config.json").read_text()


def test_all_paths_of_a_run_hold_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first").mkdir()
    config = changed(
        CONFIG,
        data={"cache": "cache"},
        trainer={"frechet_features": "features.pt"},
        prior="gaussian",
        method={"name": "matching", "reconstruction_run": "first"},
    )
    absolute = config.with_absolute_paths()
    assert absolute.data.cache == str(tmp_path / "cache")
    assert absolute.trainer.frechet_features == str(tmp_path / "features.pt")
    assert absolute.data.source == "digits"
    assert absolute.method.options.reconstruction_run == str(tmp_path / "first")
    on_the_hub = changed(config, method={"reconstruction_run": "owner/name"})
    assert on_the_hub.with_absolute_paths().method.options.reconstruction_run == "owner/name"


def test_weights_that_are_no_numbers_are_not_saved_at_the_last_step(tmp_path, monkeypatch):
    def ruin(module, *_):
        with torch.no_grad():
            next(module.parameters()).fill_(float("nan"))

    monkeypatch.setattr("genrev.training.TrainingModule.on_train_end", ruin)
    with pytest.raises(GenrevError, match="stopped being finite by step 20"):
        train(CONFIG, tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
