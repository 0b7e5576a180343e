"""A disk that takes no more ends a training in a sentence, and leaves the last checkpoint whole."""

import resource
import shutil
import tempfile
from contextlib import contextmanager

import pytest
from run_files import assert_same_weights, config_of, cut_short, weights
from spoken import spoken

from genrev.cli.main import main
from genrev.training import RunFolder, resume, train

CONFIG = config_of(
    batch_size=20,
    network={"hidden_channels": [20], "blocks": [2], "kernel_sizes": [3]},
    prior={"active_dims": 4},
    trainer={"max_steps": 6, "checkpoint_every": 2},
)


@contextmanager
def files_of_at_most(size):
    """The system refuses what is longer, in the middle of the file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(CONFIG, run)
    return run


def told(capsys):
    error = spoken(capsys)[1]
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    return error


@pytest.mark.parametrize("part", [0.1, 0.9])  # of a checkpoint that fits
def test_a_checkpoint_that_does_not_fit(whole, tmp_path, capsys, part):
    run = cut_short(whole, tmp_path / "my run", 2)
    size = (run / "checkpoints/step2.ckpt").stat().st_size
    with files_of_at_most(int(part * size)):
        assert main(["resume", str(run)]) == 2
    error = told(capsys)
    assert f"{run} cannot be written any more" in error
    assert f"`genrev resume '{run}'` goes on from step 2" in error
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["step2.ckpt"]
    resume(CONFIG, run)
    assert_same_weights(weights(whole), weights(run))


def test_a_model_that_does_not_fit(whole, tmp_path, capsys):
    run = cut_short(whole, tmp_path / "run", 4)
    with files_of_at_most((whole / "model.safetensors").stat().st_size // 2):
        assert main(["resume", str(run)]) == 2
    assert "goes on from step 4" in told(capsys)
    assert not RunFolder(run).finished
    resume(CONFIG, run)
    assert_same_weights(weights(whole), weights(run))


def test_the_folder_for_temporary_files_is_not_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    train(CONFIG, tmp_path / "run")
    steps = [step for step, _ in RunFolder(tmp_path / "run").steps_of_checkpoints()]
    assert steps == [2, 4, CONFIG.trainer.max_steps]


COMMANDS = {
    "train": ["train", "RUN/config.yaml", "--out", "OUT/new"],
    "figures": ["figures", "RUN", "--out", "OUT/new"],
    "fit-prior": ["fit-prior", "RUN", "--out", "OUT/new"],
    "compare": ["compare", "RUN", "--out", "OUT/new"],
    "export": ["export", "RUN", "--to", "OUT/new.pt2"],
    "weights": ["export", "RUN", "--to", "OUT/new.safetensors"],
    "picture": ["sample", "RUN", "--out", "OUT/new.png"],
    "samples": ["sample", "RUN", "--npz", "OUT/new.npz"],
    "push": ["push", "RUN", "owner/name", "--dry-run", "OUT/new"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_cannot_be_written_is_named(whole, tmp_path, capsys, command):
    run, file = tmp_path / "run", tmp_path / "file"
    shutil.copytree(whole, run)
    (run / "config.yaml").write_text((whole / "config.yaml").read_text())
    file.write_text("no folder")
    words = [w.replace("RUN", str(run)).replace("OUT", str(file)) for w in COMMANDS[command]]
    assert main(words) == 2
    error = told(capsys)
    assert str(file) in error
    assert "annot" in error
    assert file.read_text() == "no folder"
