"""What mixes the features of vectors: orthogonal, in every precision, and undone."""

import pytest
import torch

from genrev.reversible import Deal, ReversibleSequential, Rotation, round_to_grid


@pytest.mark.parametrize("features", [1, 2, 3, 20])
@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_rotations_are_orthogonal_wherever_training_takes_them(features, spread):
    rotation = Rotation(features).double()
    with torch.no_grad():
        rotation.weight.add_(spread * torch.randn_like(rotation.weight))
    matrix = rotation.matrix()
    one = torch.eye(features, dtype=torch.float64)
    torch.testing.assert_close(matrix @ matrix.T, one)
    torch.testing.assert_close(torch.linalg.det(matrix), one[0, 0])
    x = torch.randn(4, 3, features, dtype=torch.float64)
    torch.testing.assert_close(rotation.inverse(rotation(x)), x)


@pytest.mark.parametrize("features", [2, 3, 8, 9])
def test_a_rotation_begins_at_45_degrees(features):
    angles = torch.linalg.eigvals(Rotation(features).double().matrix()).angle().abs().sort()[0]
    turned = torch.full((features // 2 * 2,), torch.pi / 4, dtype=torch.float64)
    fixed = torch.zeros(features % 2, dtype=torch.float64)
    torch.testing.assert_close(angles, torch.cat((fixed, turned)), atol=1e-5, rtol=0)


def test_a_rotation_has_the_stored_gradients():
    rotation, found = Rotation(5).double(), []
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    for memory in ("reversible", "stored"):
        loss = ReversibleSequential(rotation, Deal(), memory=memory)(x).cos().square().sum()
        found.append(torch.autograd.grad(loss, [x, rotation.weight]))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("features", [1, 2, 5, 8])
def test_features_of_either_half_are_dealt_to_both(features):
    x = torch.arange(float(features)).expand(3, features)
    y = Deal()(x)
    assert torch.equal(y[0].sort()[0], x[0])
    assert torch.equal(Deal().inverse(y), x)
    for half in y[0].chunk(2) if features >= 8 else ():
        assert {int(number) // (features // 2) for number in half} == {0, 1}
    chain = ReversibleSequential(Deal(), exact=True)
    assert torch.equal(chain.inverse(chain(x)), round_to_grid(x))


def test_autocast_does_not_round_a_rotation():
    rotation, x = Rotation(8), torch.randn(5, 8)
    expected = rotation(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = rotation(x)
        assert torch.equal(y, expected)
        torch.testing.assert_close(rotation.inverse(y), x)
