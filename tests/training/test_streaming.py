"""Whole runs on local shards: interrupted, resumed, on two ranks."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from image_files import write_shards
from run_files import (
    assert_close_weights,
    assert_same_weights,
    changed,
    config_of,
    cut_short,
    metrics,
    weights,
    write_config,
)

import genrev
from genrev.errors import GenrevError
from genrev.training import resume, train

SIZES, BATCH, STEPS = [30, 1, 47, 22], 20, 15  # three epochs of five steps
N = sum(SIZES)
CONFIG = config_of(
    batch_size=BATCH,
    prior={"kind": "gaussian", "active_dims": 8, "bound": 2.0},
    method={
        "name": "matching",
        "discriminator_hidden": [10, 20],
        "prior_samples": 70,
        "reconstruction_steps": 9,
    },
    engine={"drift_every": None},
    trainer={
        "max_steps": STEPS,
        "log_every": 1,
        "checkpoint_every": 7,  # in the middle of the second epoch
        "sample_every": 100,
    },
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shards"
    write_shards(folder, SIZES, side=8)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENREV_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def config(shards):
    stream = {"streaming": True, "shuffle_buffer": 16, "workers": 2}
    return changed(CONFIG, data={"source": str(shards), **stream})


def test_a_resumed_run_on_a_stream_is_the_same_bit_for_bit(config, tmp_path):
    train(config, tmp_path / "whole")
    cut_short(tmp_path / "whole", tmp_path / "cut", 7)
    # Neither workers nor what was read before make a difference.
    resume(changed(config, data={"workers": 0}), tmp_path / "cut")
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")
    assert genrev.load(tmp_path / "cut").sample(2).shape == (2, 1, 8, 8)


def test_a_run_on_changed_shards_is_not_resumed(config, shards, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(shards, data)
    config = changed(config, data=str(data))
    train(config, tmp_path / "run")
    cut_short(tmp_path / "run", tmp_path / "cut", 7)
    (data / "part-000.parquet").unlink()
    with pytest.raises(GenrevError, match="the train images were 100 and are 70"):
        resume(config, tmp_path / "cut")


def test_the_frechet_distance_is_of_a_sample(config, tmp_path, monkeypatch):
    features = tmp_path / "features.pt"
    torch.jit.script(Small()).save(features)
    measured = {"frechet_every": 1, "frechet_samples": 50, "frechet_features": str(features)}
    train(changed(config, trainer={"max_steps": 2, **measured}), tmp_path / "run")
    assert all(np.isfinite(float(row["frechet"])) for row in metrics(tmp_path / "run"))


class Small(torch.nn.Module):
    """A small version of the image as features."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x.float(), 3).flatten(1)


def test_balanced_batches_are_refused_before_anything_is_read(config, tmp_path):
    asked = changed(config, method="transport", prior="class-gaussian", data="nowhere")
    with pytest.raises(GenrevError, match="which a stream cannot deliver"):
        train(asked, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# What every rank was given in every step goes to a file.
RANK = """
import json, sys
from pathlib import Path
from genrev.recipes import parse_config, read_yaml
from genrev.training import TrainingModule, resume, train

run, log = Path(sys.argv[3]), Path(sys.argv[4])
step = TrainingModule.training_step

def recorded(self, batch, batch_idx):
    with (log / f"{batch['step']}-{self.global_rank}.json").open("w") as file:
        json.dump(batch["index"].tolist(), file)
    return step(self, batch, batch_idx)

TrainingModule.training_step = recorded
if __name__ == "__main__":
    config = parse_config(read_yaml(Path(sys.argv[2])), "file")
    (train if sys.argv[1] == "train" else resume)(config, run)
"""


def run_on_two_ranks(command, config, run, folder):
    """Train or resume; returns the indices of each rank and step."""
    script, log = folder / "rank.py", folder / f"log-{run.name}"
    log.mkdir(exist_ok=True)
    script.write_text(RANK)
    file = write_config(folder, config)
    line = [sys.executable, str(script), command, str(file), str(run), str(log)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.stem: yaml.safe_load(path.read_text()) for path in log.iterdir()}


@pytest.mark.slow
def test_two_ranks_see_every_image_once_an_epoch_and_resume_bit_for_bit(config, tmp_path):
    two = changed(config, trainer={"devices": 2})
    seen = run_on_two_ranks("train", two, tmp_path / "two", tmp_path)
    assert len(seen) == 2 * STEPS
    for epoch in range(3):
        steps = range(epoch * N // BATCH, (epoch + 1) * N // BATCH)
        shares = [seen[f"{step}-{rank}"] for step in steps for rank in range(2)]
        assert {len(share) for share in shares} == {BATCH // 2}
        assert sorted(row for share in shares for row in share) == list(range(N))
    cut_short(tmp_path / "two", tmp_path / "cut", 7)
    rest = run_on_two_ranks("resume", two, tmp_path / "cut", tmp_path)
    assert rest == {name: share for name, share in seen.items() if int(name[:-2]) >= 7}
    assert_same_weights(weights(tmp_path / "two"), weights(tmp_path / "cut"))
    # One process trains on the same batches.
    train(config, tmp_path / "one")
    assert_close_weights(weights(tmp_path / "one"), weights(tmp_path / "two"))
