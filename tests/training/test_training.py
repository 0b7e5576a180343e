"""Whole runs on the bundled digits: interrupted, resumed, on two ranks, without labels."""

import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from run_files import assert_same_weights, metrics, weights
from safetensors.torch import load_file

import genrev
from genrev.data import DataConfig
from genrev.errors import GenrevError
from genrev.networks import RevNetConfig
from genrev.training import (
    EngineConfig,
    RunConfig,
    RunFolder,
    TrainerConfig,
    TransportConfig,
    resume,
    train,
)
from genrev.training.train import with_absolute_paths

NETWORK = RevNetConfig(
    image_size=8, channels=1, hidden_channels=(6, 8), blocks=(1, 1), kernel_sizes=(3, 3)
)
MODEL = TransportConfig(
    network=NETWORK,
    active_dims=8,
    bound=2.0,
    reconstruction_weight=10.0,
    clamp_weight=10.0,
    transport="debiased",
    transport_start=0.3,
    transport_memory=2,
    schedule="linear",
)
TRAINER = TrainerConfig(
    max_steps=20,
    accelerator="cpu",
    threads=1,
    log_every=1,
    checkpoint_every=6,
    sample_every=10,
    progress=False,
)
CONFIG = RunConfig(
    batch_size=40,
    data=DataConfig(source="digits"),
    model=MODEL,
    # Not at the steps of the checkpoints, so that rows in between have to be blank.
    engine=EngineConfig(drift_every=4),
    trainer=TRAINER,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(CONFIG, run)
    return run


def write_config(folder, config):
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(asdict(config)))
    return file


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
    train(replace(CONFIG, seed=1), tmp_path / "other")
    assert_same_weights(weights(whole), weights(tmp_path / "again"))
    assert not torch.equal(weights(whole)["prior.mean"], weights(tmp_path / "other")["prior.mean"])


LONG = replace(CONFIG, trainer=replace(TRAINER, max_steps=90))


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
        assert process.returncode == 0, errors
        assert f"Stopped by {how.name} after step" in output
        assert f"genrev resume {run}" in output
    resume(LONG, run)
    assert_same_weights(weights(long_whole), weights(run))
    assert metrics(run) == metrics(long_whole)
    assert len(json.loads((run / "environment.json").read_text())["history"]) == 2


def test_a_damaged_newest_checkpoint_is_passed_over(whole, tmp_path):
    run = tmp_path / "run"
    train(CONFIG, run)
    for name in ("model.safetensors", "config.json"):
        (run / name).unlink()
    newest = run / "checkpoints/step18.ckpt"
    newest.write_bytes(newest.read_bytes()[:1000])
    resume(CONFIG, run)
    assert_same_weights(weights(whole), weights(run))
    assert metrics(run) == metrics(whole)


def test_two_checkpoints_are_kept(whole):
    assert sorted(p.name for p in (whole / "checkpoints").iterdir()) == [
        "step12.ckpt",
        "step18.ckpt",
    ]


TWO_RANKS = """
import os, sys
from pathlib import Path
from safetensors.torch import save_file
from genrev.recipes import parse_config, read_yaml
from genrev.training import train

if __name__ == "__main__":
    config, run, out = sys.argv[1:]
    model = train(parse_config(read_yaml(Path(config)), config), run)
    save_file(model.state_dict(), f"{out}/rank{os.environ.get('LOCAL_RANK', 0)}.safetensors")
"""


def test_two_ranks_train_as_one_with_the_same_global_batch(whole, tmp_path):
    run, script = tmp_path / "run", tmp_path / "two_ranks.py"
    script.write_text(TWO_RANKS)
    config = write_config(tmp_path, replace(CONFIG, trainer=replace(TRAINER, devices=2)))
    command = [sys.executable, str(script), str(config), str(run), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    ranks = [load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1)]
    assert_same_weights(*ranks)
    assert_same_weights(ranks[0], weights(run))
    one, two = metrics(whole), metrics(run)
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert bool(a["drift/float32"]) == bool(b["drift/float32"]) == (int(a["step"]) % 4 == 0)
        for name in ("loss", "reconstruction", "clamp", "transport"):
            assert bool(a[name]) == bool(b[name])
            if a[name]:
                assert float(a[name]) == pytest.approx(float(b[name]), rel=1e-3, abs=1e-4), name
    for name, tensor in weights(whole).items():
        assert torch.allclose(tensor.float(), weights(run)[name].float(), atol=1e-3), name


def test_paper_losses_train_too(tmp_path):
    model = TransportConfig(
        network=NETWORK, transport="exact", perturbation_weight=150, perturbation_std=0.1
    )
    run = tmp_path / "paper"
    train(replace(CONFIG, model=model, trainer=replace(TRAINER, max_steps=30)), run)
    rows = metrics(run)
    assert float(rows[-1]["transport"]) < float(rows[0]["transport"])
    for row in rows:
        parts = 150 * float(row["perturbation"]) + float(row["transport"])
        assert float(row["loss"]) == pytest.approx(parts, rel=1e-5)


def test_data_without_labels_is_one_class(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(24):
        pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"images/{i}.png")
    config = replace(
        CONFIG,
        data=DataConfig(source=str(tmp_path / "images")),
        trainer=replace(TRAINER, max_steps=3),
    )
    model = train(config, tmp_path / "run")
    assert model.prior.num_classes == 1
    assert model.sample(4).shape == (4, 1, 8, 8)


@pytest.mark.parametrize("every", [6, 20])
def test_ema_and_bf16_and_clipping_run_and_resume(tmp_path, every):
    """Also when the run is cut off after its last step and before its model is written."""
    trainer = replace(
        TRAINER, ema=0.9, precision="bf16-mixed", gradient_clip=1.0, checkpoint_every=every
    )
    config = replace(CONFIG, trainer=trainer)
    train(config, tmp_path / "whole")
    plain = replace(config, trainer=replace(trainer, ema=None))
    train(plain, tmp_path / "plain")
    averaged, last = weights(tmp_path / "whole"), weights(tmp_path / "plain")
    assert not torch.equal(averaged["prior.mean"], last["prior.mean"])
    assert torch.equal(averaged["prior.active_dims"], last["prior.active_dims"])
    train(config, tmp_path / "cut")
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "cut" / name).unlink()
    resume(config, tmp_path / "cut")
    assert_same_weights(averaged, weights(tmp_path / "cut"))


def test_ema_is_the_exponential_average_of_the_weights_of_every_step(tmp_path):
    # With this schedule, a step does not depend on how many follow.
    model = replace(MODEL, schedule="constant", transport_start=1.0)
    name = "net.blocks.blocks.1.f.0.weight"
    steps = []
    for max_steps in (1, 2):
        trainer = replace(TRAINER, max_steps=max_steps)
        train(replace(CONFIG, model=model, trainer=trainer), tmp_path / f"{max_steps}")
        steps.append(weights(tmp_path / f"{max_steps}")[name])
    trainer = replace(TRAINER, max_steps=2, ema=0.75)
    train(replace(CONFIG, model=model, trainer=trainer), tmp_path / "ema")
    averaged = weights(tmp_path / "ema")[name]
    assert torch.allclose(averaged, 0.75 * steps[0] + 0.25 * steps[1], atol=1e-6)


def test_a_loss_that_is_not_finite_stops_with_a_sentence(tmp_path):
    model = replace(MODEL, lr=1e12)
    with pytest.raises(GenrevError, match=r"stopped being finite at step \d+.*--model\.lr"):
        train(replace(CONFIG, model=model), tmp_path / "run")
    assert not RunFolder(tmp_path / "run").finished


def test_a_time_limit_ends_the_run_with_a_model(tmp_path):
    trainer = replace(TRAINER, max_steps=100_000, max_minutes=1 / 60)
    model = train(replace(CONFIG, trainer=trainer), tmp_path / "run")
    assert model is not None
    assert RunFolder(tmp_path / "run").finished
    assert 1 <= len(metrics(tmp_path / "run")) < 100_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 30}, "multiple of 20"),
        ({"model": replace(MODEL, network="mnist")}, "--data.image_size 28"),
        ({"model": replace(MODEL, active_dims=65)}, "between 1 and 64"),
        ({"model": replace(MODEL, lr=0.0)}, "must be positive"),
        ({"model": replace(MODEL, transport_start=2.0)}, "fraction"),
        ({"trainer": replace(TRAINER, max_steps=0)}, "1 or more"),
        ({"trainer": replace(TRAINER, threads=0)}, "threads must be 1 or more"),
        ({"trainer": replace(TRAINER, ema=2.0)}, "ema must lie between 0 and 1"),
        ({"trainer": replace(TRAINER, max_minutes=-1.0)}, "max_minutes must be positive"),
        ({"trainer": replace(TRAINER, max_minutes=math.inf)}, "max_minutes must be positive"),
        ({"model": replace(MODEL, lr=1e39)}, "lr must be positive, 1e\\+30 or less"),
        ({"trainer": replace(TRAINER, gradient_clip=-1.0)}, "gradient_clip must be positive"),
        ({"trainer": replace(TRAINER, accelerator="abacus")}, "accelerator abacus"),
        ({"trainer": replace(TRAINER, accelerator="tpu")}, "accelerator tpu"),
        ({"model": replace(MODEL, bound=-1.0)}, "bound must be positive"),
        ({"model": replace(MODEL, transport_weight=-1.0)}, "0 or more"),
        ({"model": TransportConfig(network=NETWORK, transport_start=0.5)}, "nothing to train on"),
        ({"engine": EngineConfig(drift_every=0)}, "engine.drift_every must be 1 or more"),
        ({"engine": EngineConfig(drift_threshold=0.0)}, "engine.drift_threshold must be positive"),
        ({"engine": EngineConfig(exact=True, compile=True)}, "exclude each other"),
        ({"seed": -1}, "--seed must be 0 or more"),
        ({"seed": 10**20}, "--seed must be at most"),
        ({"data": DataConfig(source="digits", limit=5)}, "no images of the class"),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train(replace(CONFIG, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(GenrevError, match="exists already"):
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

    monkeypatch.setattr("genrev.training.sample_images.SampleImages.on_train_batch_end", disturb)
    train(CONFIG, tmp_path / "run")
    assert_same_weights(weights(whole), weights(tmp_path / "run"))


def test_a_second_run_in_the_process_of_a_launcher_owns_its_folder(tmp_path, monkeypatch):
    """torchrun sets the variable, and Lightning leaves it behind after a run on two ranks."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    run = tmp_path / "run"
    train(replace(CONFIG, trainer=replace(TRAINER, max_steps=2)), run)
    assert RunFolder(run).config.is_file()
    with pytest.raises(GenrevError, match="exists already"):
        train(CONFIG, run)


def test_local_paths_stay_in_the_run_folder_and_out_of_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(20):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.new("L", (8, 8), 12 * i).save(tmp_path / f"pictures/{i}.png")
    train(
        replace(CONFIG, data=DataConfig(source="pictures"), trainer=replace(TRAINER, max_steps=1)),
        "run",
    )
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["data"]["source"] == str(tmp_path / "pictures")
    assert str(tmp_path) not in (tmp_path / "run/config.json").read_text()


def test_all_paths_of_a_run_hold_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = replace(
        CONFIG,
        data=DataConfig(source="digits", cache="cache"),
        trainer=replace(TRAINER, frechet_features="features.pt"),
    )
    absolute = with_absolute_paths(config)
    assert absolute.data.cache == str(tmp_path / "cache")
    assert absolute.trainer.frechet_features == str(tmp_path / "features.pt")
    assert absolute.data.source == "digits"


def test_weights_that_are_no_numbers_are_not_saved_at_the_last_step(tmp_path, monkeypatch):
    def ruin(module, *_):
        with torch.no_grad():
            next(module.parameters()).fill_(float("nan"))

    monkeypatch.setattr("genrev.training.transport.TransportModule.on_train_end", ruin)
    with pytest.raises(GenrevError, match="stopped being finite by step 20"):
        train(CONFIG, tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
