"""One reconstruction phase and several matching phases, whatever interrupts them."""

import signal
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file

from genrev.data import DataConfig
from genrev.errors import GenrevError
from genrev.networks import RevNetConfig
from genrev.training import (
    EngineConfig,
    MatchingConfig,
    PhasesConfig,
    RunConfig,
    TrainerConfig,
    several,
    train,
    train_several,
)
from genrev.training.matching import MatchingModule

CONFIG = RunConfig(
    seed=7,
    batch_size=20,
    data=DataConfig(source="digits", limit=200),
    method="matching",
    model=MatchingConfig(
        network=RevNetConfig(
            image_size=8, channels=1, hidden_channels=(4,), blocks=(1,), kernel_sizes=(3,)
        ),
        active_dims=6,
        discriminator_hidden=(8, 8),
        lr=1e-3,
    ),
    phases=PhasesConfig(reconstruction_steps=4),
    engine=EngineConfig(drift_every=None),
    trainer=TrainerConfig(
        max_steps=10,
        accelerator="cpu",
        threads=1,
        checkpoint_every=3,
        sample_every=100,
        progress=False,
    ),
)


def weights(run):
    return load_file(run / "model.safetensors")["net.blocks.blocks.1.f.0.weight"]


@pytest.fixture
def trained(monkeypatch):
    """Names of the parts that were trained or resumed, in order."""
    names = []

    def recording(original):
        def spy(config, run):
            names.append(run.name)
            return original(config, run)

        return spy

    for name in ("train", "resume"):
        monkeypatch.setattr(several, name, recording(getattr(several, name)))
    return names


def test_every_seed_starts_from_one_reconstruction_phase(tmp_path, trained):
    assert train_several(CONFIG, tmp_path / "runs", 2)
    assert trained == ["reconstruction", "seed0", "seed1"]
    train(CONFIG, tmp_path / "whole")
    first, second = (weights(tmp_path / f"runs/seed{k}") for k in (0, 1))
    assert torch.equal(first, weights(tmp_path / "whole"))
    assert not torch.equal(first, second)
    other = replace(CONFIG, seed=8, phases=PhasesConfig(4, str(tmp_path / "runs/reconstruction")))
    train(other, tmp_path / "other")
    assert torch.equal(second, weights(tmp_path / "other"))


@pytest.mark.parametrize("part", ["reconstruction", "seed0", "seed1"])
def test_what_is_missing_follows(tmp_path, trained, part):
    train_several(CONFIG, tmp_path / "runs", 2)
    before = [weights(tmp_path / f"runs/seed{k}") for k in (0, 1)]
    for file in ("model.safetensors", "config.json"):
        (tmp_path / "runs" / part / file).unlink()
    trained.clear()
    assert train_several(CONFIG, tmp_path / "runs", 2)
    assert trained == [part]
    after = [weights(tmp_path / f"runs/seed{k}") for k in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_part_that_was_interrupted_before_its_first_file(tmp_path, trained):
    (tmp_path / "runs/reconstruction/checkpoints").mkdir(parents=True)
    (tmp_path / "new").mkdir()
    several._claim(tmp_path / "new", CONFIG, 1)
    (tmp_path / "new/seeds.yaml").rename(tmp_path / "runs/seeds.yaml")
    assert train_several(CONFIG, tmp_path / "runs", 1)
    assert (tmp_path / "runs/reconstruction/config.yaml").is_file()


def test_more_seeds_can_follow_but_no_other_configuration(tmp_path, trained):
    train_several(CONFIG, tmp_path / "runs", 1)
    trained.clear()
    train_several(CONFIG, tmp_path / "runs", 2)
    assert trained == ["seed1"]
    with pytest.raises(GenrevError, match="seeds of another configuration"):
        train_several(replace(CONFIG, seed=8), tmp_path / "runs", 2)


def test_a_signal_ends_all(tmp_path, trained, monkeypatch):
    monkeypatch.setattr(several, "train", lambda config, run: None)
    assert not train_several(CONFIG, tmp_path / "runs", 2)
    assert trained == []


def test_a_finished_reconstruction_phase_is_shared_too(tmp_path, trained):
    first = replace(CONFIG, trainer=replace(CONFIG.trainer, max_steps=4))
    train(first, tmp_path / "first")
    config = replace(CONFIG, phases=PhasesConfig(4, str(tmp_path / "first")))
    train_several(config, tmp_path / "runs", 1)
    assert trained == ["seed0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phases": PhasesConfig()}, "set --phases.reconstruction_steps"),
        ({"phases": PhasesConfig(10)}, "leaves no steps"),
        ({"seed": 2**32 - 1}, "--seed must be at most"),
    ],
)
def test_what_cannot_be_shared_leaves_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train_several(replace(CONFIG, **change), tmp_path / "runs", 2)
    assert not (tmp_path / "runs").exists()


def test_another_method_has_nothing_to_share(tmp_path):
    with pytest.raises(GenrevError, match="--seeds is for --method matching"):
        train_several(RunConfig(), tmp_path / "runs", 2)


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(GenrevError, match="exists already"):
        train_several(CONFIG, tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_reconstruction_phase_that_ran_out_of_time_is_not_shared(tmp_path):
    short = replace(CONFIG.trainer, max_steps=1000, max_minutes=1e-6)
    config = replace(CONFIG, trainer=short, phases=PhasesConfig(reconstruction_steps=500))
    for _ in range(2):  # when it ends, and when the command is given again
        with pytest.raises(GenrevError, match=r"of 500 steps by --trainer\.max_minutes"):
            train_several(config, tmp_path / "seeds", 2)
    assert not (tmp_path / "seeds" / "seed0").exists()


@pytest.mark.parametrize("text", ["", "seeds: 2", "[1, 2]"])
def test_a_plan_of_something_else_is_one_sentence(tmp_path, text):
    (tmp_path / "seeds.yaml").write_text(text)
    with pytest.raises(GenrevError, match="is not what `genrev train --seeds` writes"):
        train_several(CONFIG, tmp_path, 2)


def test_a_plan_that_is_older_than_an_option_still_counts(tmp_path, trained):
    train_several(CONFIG, tmp_path / "runs", 1)
    plan = tmp_path / "runs/seeds.yaml"
    values = yaml.safe_load(plan.read_text())
    for section, key in (("trainer", "ema"), ("model", "schedule"), ("engine", "compile")):
        del values["config"][section][key]
    plan.write_text(yaml.safe_dump(values))
    trained.clear()
    assert train_several(CONFIG, tmp_path / "runs", 1)
    assert trained == []
    other = replace(CONFIG, engine=replace(CONFIG.engine, compile=True))
    with pytest.raises(GenrevError, match="seeds of another configuration"):
        train_several(other, tmp_path / "runs", 1)


def test_a_signal_in_the_last_step_of_a_part_ends_all(tmp_path, trained, monkeypatch):
    step = MatchingModule.training_step

    def training_step(self, batch, batch_idx):
        if batch["step"] == CONFIG.phases.reconstruction_steps - 1:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(MatchingModule, "training_step", training_step)
    with pytest.raises(KeyboardInterrupt):
        train_several(CONFIG, tmp_path / "runs", 1)
    assert (tmp_path / "runs/reconstruction/model.safetensors").is_file()
    assert trained == ["reconstruction"]
    monkeypatch.undo()
    assert train_several(CONFIG, tmp_path / "runs", 1)
