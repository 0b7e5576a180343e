"""One reconstruction phase and several matching phases, whatever interrupts them."""

import signal

import pytest
import torch
import yaml
from run_files import changed, config_of
from run_files import weights as all_weights

from genrev.errors import GenrevError
from genrev.training import TrainingModule, train, train_several
from genrev.training.run import several

CONFIG = config_of(
    seed=7,
    batch_size=20,
    data={"limit": 200},
    network={"hidden_channels": [4], "blocks": [1], "kernel_sizes": [3]},
    prior={"kind": "gaussian", "active_dims": 6, "bound": 2.0},
    method={"name": "matching", "discriminator_hidden": [8, 8], "reconstruction_steps": 4},
    engine={"drift_every": None},
    trainer={"max_steps": 10, "checkpoint_every": 3, "sample_every": 100},
)


def weights(run):
    return all_weights(run)["net.blocks.blocks.1.f.0.weight"]


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
    shared = {"reconstruction_run": str(tmp_path / "runs/reconstruction")}
    other = changed(CONFIG, seed=8, method=shared)
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
        train_several(changed(CONFIG, seed=8), tmp_path / "runs", 2)


def test_a_signal_ends_all(tmp_path, trained, monkeypatch):
    monkeypatch.setattr(several, "train", lambda config, run: None)
    assert not train_several(CONFIG, tmp_path / "runs", 2)
    assert trained == []


def test_a_finished_reconstruction_phase_is_shared_too(tmp_path, trained):
    train(changed(CONFIG, trainer={"max_steps": 4}), tmp_path / "first")
    config = changed(CONFIG, method={"reconstruction_run": str(tmp_path / "first")})
    train_several(config, tmp_path / "runs", 1)
    assert trained == ["seed0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": {"reconstruction_steps": 0}}, "set --method.reconstruction_steps"),
        ({"method": {"reconstruction_steps": 10}}, "leaves no steps"),
        ({"seed": 2**32 - 1}, "seed takes a whole number from 0 to"),
        (
            {"method": "transport", "prior": "class-gaussian"},
            "--seeds is for methods with a phase to share, such as --method matching",
        ),
    ],
)
def test_what_cannot_be_shared_leaves_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train_several(changed(CONFIG, **change), tmp_path / "runs", 2)
    assert not (tmp_path / "runs").exists()


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(GenrevError, match="exists already"):
        train_several(CONFIG, tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_reconstruction_phase_that_ran_out_of_time_is_not_shared(tmp_path):
    short = {"max_steps": 1000, "max_minutes": 1e-6}
    config = changed(CONFIG, trainer=short, method={"reconstruction_steps": 500})
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
    for section, key in (("optimizer", "ema"), ("method", "criterion"), ("engine", "compile")):
        del values["config"][section][key]
    plan.write_text(yaml.safe_dump(values))
    trained.clear()
    assert train_several(CONFIG, tmp_path / "runs", 1)
    assert trained == []
    other = changed(CONFIG, engine={"compile": True})
    with pytest.raises(GenrevError, match="seeds of another configuration"):
        train_several(other, tmp_path / "runs", 1)


def test_a_signal_in_the_last_step_of_a_part_ends_all(tmp_path, trained, monkeypatch):
    step = TrainingModule.training_step

    def training_step(self, batch, batch_idx):
        if batch["step"] == CONFIG.method.options.reconstruction_steps - 1:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", training_step)
    with pytest.raises(KeyboardInterrupt):
        train_several(CONFIG, tmp_path / "runs", 1)
    assert (tmp_path / "runs/reconstruction/model.safetensors").is_file()
    assert trained == ["reconstruction"]
    monkeypatch.undo()
    assert train_several(CONFIG, tmp_path / "runs", 1)
