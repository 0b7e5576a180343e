"""Losses of adversaries by hand, against the best discriminator, and in the authors' signs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genrev.objectives import (
    cross_entropy_discriminator_loss,
    cross_entropy_encoder_loss,
    hinge_discriminator_loss,
    hinge_encoder_loss,
)


def scores(n, seed):
    return 2 * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_hand():
    real, fake = torch.tensor([2.0, 1.0, 0.0, -1.0]), torch.tensor([-3.0, 0.5])
    assert hinge_discriminator_loss(real, fake).item() == (0 + 0 + 1 + 2) / 4 + (0 + 1.5) / 2
    assert hinge_encoder_loss(fake).item() == 1.25


def test_an_undecided_discriminator_pays_two():
    assert hinge_discriminator_loss(torch.zeros(7), torch.zeros(3)).item() == 2.0


def test_gradient_is_cut_past_the_margin_for_the_discriminator_only():
    real = torch.tensor([-5.0, 0.9, 1.1, 5.0], requires_grad=True)
    fake = torch.tensor([-1.1, -0.9, 5.0], requires_grad=True)
    hinge_discriminator_loss(real, fake).backward()
    assert torch.equal(real.grad, torch.tensor([-1.0, -1.0, 0.0, 0.0]) / 4)  # drives them up
    assert torch.equal(fake.grad, torch.tensor([0.0, 1.0, 1.0]) / 3)  # drives them down

    fake.grad = None
    hinge_encoder_loss(fake).backward()
    assert torch.equal(fake.grad, -torch.ones(3) / 3)  # drives them up, all alike


@settings(deadline=None)
@given(seed=st.integers(0, 1000), places=st.integers(1, 6))
def test_no_discriminator_beats_the_sign_of_the_difference_of_densities(seed, places):
    """On finitely many places, the sign pays 2 (1 - TV), and no other table of scores less."""
    generator = torch.Generator().manual_seed(seed)
    at_real = torch.randint(places, (40,), generator=generator)
    at_fake = torch.randint(places, (30,), generator=generator) // 2
    p = torch.bincount(at_real, minlength=places).double() / 40
    q = torch.bincount(at_fake, minlength=places).double() / 30
    best = torch.sign(p - q)
    least = hinge_discriminator_loss(best[at_real], best[at_fake]).item()
    total_variation = (p - q).abs().sum().item() / 2
    assert least == pytest.approx(2 * (1 - total_variation), abs=1e-12)
    for other in scores(20 * places, seed).view(20, places):
        assert hinge_discriminator_loss(other[at_real], other[at_fake]).item() >= least - 1e-12


@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_authors_signs_are_the_same_game_with_the_discriminator_negated(seed):
    prior, encodings = scores(30, seed), scores(10, seed + 1)  # D of each, in the paper's signs
    theirs_prior, theirs_encodings = -prior, -encodings
    discriminator = (1.0 - theirs_encodings).relu().mean() + (1.0 + theirs_prior).relu().mean()
    encoder = theirs_encodings.mean()
    torch.testing.assert_close(hinge_discriminator_loss(prior, encodings), discriminator)
    torch.testing.assert_close(hinge_encoder_loss(encodings), encoder)


# Cross-entropy


def test_cross_entropy_is_that_of_labels():
    real, fake = scores(5, 0), scores(3, 1)
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    cross_entropy = torch.nn.functional.binary_cross_entropy
    expected = cross_entropy(real.sigmoid(), ones) + cross_entropy(fake.sigmoid(), zeros)
    torch.testing.assert_close(cross_entropy_discriminator_loss(real, fake), expected)
    torch.testing.assert_close(
        cross_entropy_encoder_loss(fake), cross_entropy(fake.sigmoid(), 1 - zeros)
    )


@given(seed=st.integers(0, 1000), places=st.integers(1, 6))
def test_the_best_logit_is_the_log_ratio_of_densities(seed, places):
    """On finitely many places it pays 2 log 2 - 2 JS, and no other table of logits less."""
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.rand(2, places, generator=generator, dtype=torch.float64) + 0.01
    p, q = p / p.sum(), q / q.sum()

    def loss(logits):
        """Every place as often as its density says."""
        return sum(
            p[i] * cross_entropy_discriminator_loss(logits[i : i + 1], torch.tensor([-1e9]))
            + q[i] * cross_entropy_discriminator_loss(torch.tensor([1e9]), logits[i : i + 1])
            for i in range(places)
        )

    m = (p + q) / 2
    divergence = ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
    best = (p / q).log()
    torch.testing.assert_close(loss(best), 2 * math.log(2) - 2 * divergence)
    other = best + torch.randn(places, generator=generator, dtype=torch.float64)
    assert loss(other) >= loss(best)


def test_the_encoder_has_a_gradient_where_the_discriminator_is_sure():
    logits = torch.tensor([-30.0, 0.0], requires_grad=True)
    cross_entropy_encoder_loss(logits).backward()
    torch.testing.assert_close(logits.grad, torch.tensor([-0.5, -0.25]))
