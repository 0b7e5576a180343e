"""What tests of training share: how they make, read, cut short and repeat runs."""

import csv
import shutil
import subprocess
import sys

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from genrev.data import load_images
from genrev.recipes import merge, parse_config
from genrev.training import Step, build_method
from genrev.training.start import build_model

NETWORK = {
    "image_size": 8,
    "channels": 1,
    "hidden_channels": [6, 8],
    "blocks": [1, 1],
    "kernel_sizes": [3, 3],
}
ONE_LAYER = {"hidden_channels": [4], "blocks": [1], "kernel_sizes": [1]}
"""On top of ``NETWORK``: the smallest there is."""
_SMALL = {
    "data": "digits",
    "network": NETWORK,
    "trainer": {"accelerator": "cpu", "threads": 1, "progress": False},
}

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


def config_of(**sections):
    """A configuration of a small run on one thread, with these sections."""
    return parse_config(merge(_SMALL, sections), "test")


def changed(config, **sections):
    """The configuration with options of these sections changed."""
    return parse_config(merge(config.plain(), sections), "test")


def parts_of(config):
    """Training images, untrained model and method of a run, as it starts with them."""
    data, method = load_images(config.data, "train"), build_method(config)
    torch.manual_seed(config.seed)
    model = build_model(config, method.network_options(config.network.options), data)
    method.prepare(model, data, config.seed)
    method.initialise(model, data)
    return data, model, method


def step_of(config):
    """The step of a run without a trainer around it."""
    data, model, method = parts_of(config)
    prior_lr = getattr(config.prior.options, "lr", None)
    steps = config.trainer.max_steps
    return Step(model, method, config.optimizer, config.seed, steps, data, prior_lr)


def rate_factors(config):
    """What the learning rates of each step of a run are multiplied with."""
    step, factors = step_of(config), []
    rate = step.optimizers[0].param_groups[0]["lr"]
    step.method.begin = lambda *_: None  # takes long and decides nothing here
    for number in range(config.trainer.max_steps):
        step.begin(number)
        factors.append(step.optimizers[0].param_groups[0]["lr"] / rate)
    return factors


def write_images(folder, n=24):
    """Grey images of noise."""
    folder.mkdir()
    for i in range(n):
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return str(folder)


def weights(run):
    return load_file(run / "model.safetensors")


def metrics(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_config(folder, config):
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config.plain()))
    return file


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def assert_close_weights(a, b, atol=1e-3):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.allclose(a[name].float(), b[name].float(), atol=atol), name


def unfinish(run):
    """Take the trained model away, as if the run had been cut off just before."""
    for name in ("model.safetensors", "config.json"):
        (run / name).unlink()


def cut_short(whole, cut, checkpoint):
    """A copy of a run as it was left when it was interrupted after one of its checkpoints."""
    shutil.copytree(whole, cut)
    unfinish(cut)
    kept = cut / f"checkpoints/step{checkpoint}.ckpt"
    assert kept.is_file()
    for file in kept.parent.iterdir():
        if file != kept:
            file.unlink()
    return cut


def train_on_two_ranks(config, folder, timeout):
    """Train in two processes, which must get to the same model; the run folder."""
    run, script = folder / "two", folder / "two_ranks.py"
    script.write_text(TWO_RANKS)
    file = write_config(folder, changed(config, trainer={"devices": 2}))
    command = [sys.executable, str(script), str(file), str(run), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    ranks = [load_file(folder / f"rank{rank}.safetensors") for rank in (0, 1)]
    assert_same_weights(*ranks)
    assert_same_weights(ranks[0], weights(run))
    return run
