"""Noise and weights that depend on a seed, a step and a name, and on nothing else."""

import itertools

import pytest
import torch
from torch import nn

from genrev.seeding import noise_generator, seeded_weights


def draw(*arguments) -> torch.Tensor:
    return torch.randn(1000, generator=noise_generator(*arguments))


def test_noise_depends_on_its_arguments_only():
    first = draw(3, 5, "noise")
    torch.manual_seed(1)
    draw(3, 6)
    assert torch.equal(draw(3, 5), first)


def test_other_arguments_give_uncorrelated_noise():
    keys = list(itertools.product((0, 1, 2**40), (0, 1, 2, 2**33), ("noise", "prior", "eps")))
    noise = torch.stack([draw(*key) for key in keys])
    correlation = torch.corrcoef(noise) - torch.eye(len(keys))
    # 630 pairs, standard deviation 1/sqrt(1000) each: 5 of them is one in 2,800 such tests.
    assert correlation.abs().max() < 5 / 1000**0.5


def test_global_generator_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draw(0, 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("arguments", [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(arguments):
    with pytest.raises(ValueError, match="negative"):
        noise_generator(*arguments)


@pytest.mark.gpu
def test_noise_on_a_gpu():
    first, second = (
        torch.randn(10, device="cuda", generator=noise_generator(0, 1, device="cuda"))
        for _ in range(2)
    )
    assert torch.equal(first, second)


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


def test_generators_of_accelerators_are_left_alone(monkeypatch):
    def refuse(*_):
        raise AssertionError("an accelerator was seeded")

    for name in ("cuda.manual_seed_all", "mps.manual_seed", "xpu.manual_seed_all"):
        monkeypatch.setattr(f"torch.{name}", refuse)
    layer(0)
