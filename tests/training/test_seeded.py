"""Weights that depend on the seed and on nothing else."""

import torch
from torch import nn

from genrev.training.seeded import seeded_weights


def layer(seed, name="discriminator"):
    with seeded_weights(seed, name):
        return nn.Linear(5, 4).weight


def test_what_was_drawn_before_does_not_matter_and_the_seed_does():
    first = layer(0)
    torch.randn(7)
    torch.manual_seed(123)
    assert torch.equal(first, layer(0))
    assert not torch.equal(first, layer(1))
    assert not torch.equal(first, layer(0, "another"))


def test_what_is_drawn_afterwards_is_as_without_it():
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    layer(0)
    assert torch.equal(torch.randn(3), expected)
