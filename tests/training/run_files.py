"""What tests read from a run folder."""

import csv

import torch
from safetensors.torch import load_file


def weights(run):
    return load_file(run / "model.safetensors")


def metrics(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
