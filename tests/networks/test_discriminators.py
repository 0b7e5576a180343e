"""The latent adversary: what spectral normalisation promises, and what survives saving."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from genrev.networks import CReLU, ImageDiscriminator, LatentDiscriminator, PairDiscriminator
from genrev.objectives import hinge_discriminator_loss


def points(n, dim, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def discriminator(dim, hidden, seed=0):
    torch.manual_seed(seed)
    return LatentDiscriminator(dim, hidden)


def linears(model):
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)]


def converged(dim=8, hidden=(20, 30), iterations=300):
    """In double precision, after many power iterations, in evaluation mode."""
    model = discriminator(dim, hidden).double()
    for _ in range(iterations):
        model(points(1, dim).double())
    return model.eval()


CONVERGED = converged()


def test_crelu_by_hand():
    x = torch.tensor([[3.0, -1.0], [0.0, 2.0]])
    expected = torch.tensor([[3.0, 0.0, 0.0, 1.0], [0.0, 2.0, 0.0, 0.0]])
    assert torch.equal(CReLU()(x), expected)
    assert CReLU()(torch.zeros(2, 3, 4, 4)).shape == (2, 6, 4, 4)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), dim=st.integers(1, 10))
def test_crelu_keeps_lengths_and_all_information_and_stretches_no_distance(seed, dim):
    a, b = points(20, dim, seed), points(20, dim, seed + 1)
    mapped_a, mapped_b = CReLU()(a), CReLU()(b)
    torch.testing.assert_close(mapped_a.norm(dim=1), a.norm(dim=1))
    assert torch.equal(mapped_a[:, :dim] - mapped_a[:, dim:], a)
    assert ((mapped_a - mapped_b).norm(dim=1) <= (a - b).norm(dim=1) + 1e-6).all()


def test_sizes_of_the_paper():
    model = LatentDiscriminator(64)
    sizes = [(layer.in_features, layer.out_features) for layer in linears(model)]
    assert sizes == [(64, 400), (800, 800), (800, 1)]
    expected = 64 * 400 + 400 + 800 * 800 + 800 + 800 + 1
    assert sum(p.numel() for p in model.parameters()) == expected == 667_601


def test_scores_are_one_number_a_row_that_depends_on_that_row_alone():
    model, z = discriminator(16, (10, 12)).eval(), points(7, 16)
    scores = model(z)
    assert scores.shape == (7,)
    torch.testing.assert_close(model(z[3:4]), scores[3:4])
    assert model(z[:0]).shape == (0,)


def test_scores_are_the_formula_with_weights_divided_by_their_spectral_norm():
    """A second way: original weights and torch.linalg in place of the power iteration."""
    z = points(5, 8).double()
    h = z
    for layer, activation in zip(linears(CONVERGED), ["crelu", "relu", "none"], strict=True):
        weight = layer.parametrizations.weight.original
        h = h @ (weight / torch.linalg.matrix_norm(weight, 2)).T + layer.bias
        if activation == "crelu":
            h = torch.cat((h.clamp(min=0), (-h).clamp(min=0)), 1)
        elif activation == "relu":
            h = h.clamp(min=0)
    torch.testing.assert_close(CONVERGED(z), h[:, 0])


def test_power_iteration_brings_every_largest_singular_value_to_one():
    for layer in linears(CONVERGED):
        largest = torch.linalg.svdvals(layer.weight)[0]
        assert largest.item() == pytest.approx(1, abs=1e-9)


def test_one_iteration_a_forward_follows_weights_that_move():
    model = discriminator(8, (20, 30)).double()
    layer = linears(model)[1]
    with torch.no_grad():  # a rank-one jump that the stored singular vectors know nothing of
        layer.parametrizations.weight.original += torch.outer(
            points(1, 30, 1)[0], points(1, 40, 2)[0]
        )

    def error():
        model.eval()
        excess = torch.linalg.svdvals(layer.weight)[0].item() - 1
        model.train()
        return excess

    errors = [error()]
    for _ in range(3):
        model(points(2, 8).double())
        errors.append(error())
    assert errors[0] > 1  # the estimate is too small, so the weight is too large
    assert errors[0] > errors[1] > errors[2] > errors[3] >= -1e-12
    assert errors[3] < 0.01


@settings(deadline=None)
@given(seed=st.integers(0, 1000), distance=st.floats(1e-3, 1e3))
def test_scores_differ_by_no_more_than_the_points(seed, distance):
    a = 3 * points(50, 8, seed).double()
    b = a + distance * nn.functional.normalize(points(50, 8, seed + 1).double())
    assert ((CONVERGED(a) - CONVERGED(b)).abs() <= distance * (1 + 1e-9)).all()


def test_the_lipschitz_bound_is_reached_when_the_layers_line_up():
    """1 is the least constant: a network that reads one coordinate off has slope 1."""
    model = converged(1, (1, 1))
    with torch.no_grad():
        first, second, third = linears(model)
        for layer, weight in ((first, [[3.0]]), (second, [[2.0, 0.0]]), (third, [[5.0]])):
            layer.parametrizations.weight.original.copy_(torch.tensor(weight))
            layer.bias.zero_()
    model.train()
    for _ in range(50):
        model(torch.ones(1, 1).double())
    scores = model.eval()(torch.tensor([[2.0], [7.0]]).double())
    assert (scores[1] - scores[0]).item() == pytest.approx(5)


def test_gradient_of_a_score_is_at_most_one_long():
    z = points(100, 8).double().requires_grad_()
    CONVERGED(z).sum().backward()
    assert (z.grad.norm(dim=1) <= 1 + 1e-9).all()
    assert (z.grad.norm(dim=1) > 0).any()


def test_only_training_mode_advances_the_power_iteration():
    model, z = discriminator(8, (20, 30)), points(4, 8)
    before = copy.deepcopy(model.state_dict())
    model.eval()
    assert torch.equal(model(z), model(z))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model.train()
    model(z)
    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert moved
    assert all(name.endswith(("_u", "_v")) for name in moved)


def test_state_dict_carries_the_power_iteration():
    model, other, z = discriminator(8, (20, 30), 0), discriminator(8, (20, 30), 1), points(4, 8)
    assert not torch.equal(model.eval()(z), other.eval()(z))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(z), other(z))
    for _ in range(3):  # and training goes on alike
        assert torch.equal(model.train()(z), other.train()(z))


def test_equal_seeds_give_equal_networks():
    z = points(4, 8)
    scores = [discriminator(8, (20, 30), seed).eval()(z) for seed in (0, 0, 1)]
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])


def test_two_forwards_before_one_backward():
    """Scores of both sides enter one loss; the second forward must not spoil the first's graph."""
    model = discriminator(8, (20, 30))
    (model(points(4, 8, 0)).mean() - model(points(6, 8, 1)).mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_autocast_changes_nothing():
    model, z = discriminator(8, (20, 30)).eval(), points(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = model(z)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, model(z))


def test_it_learns_to_tell_a_narrower_distribution_from_the_prior():
    model = discriminator(8, (20, 30))
    optimizer = torch.optim.Adam(model.parameters(), 4e-3, betas=(0.0, 0.9))
    for step in range(150):
        prior, encodings = points(100, 8, step), 0.3 * points(100, 8, 1000 + step)
        loss = hinge_discriminator_loss(model(prior), model(encodings))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    as_real = (model(points(500, 8, 9998)) > 0).float().mean().item()
    as_fake = (model(0.3 * points(500, 8, 9999)) < 0).float().mean().item()
    assert (as_real + as_fake) / 2 > 0.85  # 0.5 by chance


@pytest.mark.parametrize("shape", [(1, 4, 32), (3, 32, 6), (1, 20, 7)])
def test_images_that_are_not_square(shape):
    x = torch.rand(2, *shape)
    assert ImageDiscriminator(shape, 4)(x).shape == (2,)
    assert PairDiscriminator(shape, 6, 4, 8)(x, torch.randn(2, 6)).shape == (2,)


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (lambda: LatentDiscriminator(6), [(5, 6)]),
        (lambda: ImageDiscriminator((1, 8, 8), 4), [(5, 1, 8, 8)]),
        (lambda: PairDiscriminator((1, 8, 8), 6, 4, 16), [(5, 1, 8, 8), (5, 6)]),
    ],
)
def test_scores_are_in_the_precision_of_the_weights(make, shapes):
    model, given = make().eval(), [torch.rand(shape).bfloat16() for shape in shapes]
    with torch.no_grad():
        single = model(*given)
        double = copy.deepcopy(model).double()(*given)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single, double.float())
