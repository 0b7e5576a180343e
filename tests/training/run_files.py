"""What tests of training share: how they read, cut short and repeat runs."""

import csv
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import torch
import yaml
from safetensors.torch import load_file

TWO_RANKS = """
import sys
from pathlib import Path
from genrev.recipes import parse_config, read_yaml
from genrev.training import train

if __name__ == "__main__":
    train(parse_config(read_yaml(Path(sys.argv[1])), "file"), sys.argv[2])
"""


def weights(run):
    return load_file(run / "model.safetensors")


def metrics(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def cut_short(whole, cut, checkpoint):
    """A copy of a run as it was left when it was interrupted after one of its checkpoints."""
    shutil.copytree(whole, cut)
    for name in ("model.safetensors", "config.json"):
        (cut / name).unlink()
    kept = cut / f"checkpoints/step{checkpoint}.ckpt"
    assert kept.is_file()
    for file in kept.parent.iterdir():
        if file != kept:
            file.unlink()
    return cut


def train_on_two_ranks(config, folder, timeout):
    """Train in two processes; the run folder."""
    run, script, file = (folder / name for name in ("two", "two_ranks.py", "config.yaml"))
    script.write_text(TWO_RANKS)
    two = replace(config, trainer=replace(config.trainer, devices=2))
    file.write_text(yaml.safe_dump(asdict(two)))
    command = [sys.executable, str(script), str(file), str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return run
