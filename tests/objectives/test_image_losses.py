"""Reconstruction and perturbation losses against closed forms on a linear decoder."""

import pytest
import torch

from genrev.objectives import clamp_penalty, clamped_reconstruction_loss, perturbation_loss


def decode(z):
    return 2 * z.view(-1, 1, 2, 2)


def test_reconstruction_is_the_mean_absolute_error():
    z = torch.randn(3, 4)
    clamped = torch.cat((z[:, :1], torch.zeros(3, 3)), 1)
    loss = clamped_reconstruction_loss(decode(z), clamped, decode)
    assert loss.item() == pytest.approx(2 * z[:, 1:].abs().sum().item() / 12)


def colour_loss(change):
    """Loss of an image whose pixels all differ by this (red, green, blue)."""
    x = torch.rand(2, 3, 4, 4)
    shift = torch.tensor(change).reshape(1, 3, 1, 1)
    return clamped_reconstruction_loss(x, x + shift, lambda z: z, "luma-chroma").item()


def test_brightness_and_colour_by_hand():
    assert colour_loss([0.1, 0.1, 0.1]) == pytest.approx(0.1, abs=1e-6)  # what L1 of RGB says
    # Y + |Co| / 2 + |Cg| / 2, see LumaChroma
    assert colour_loss([0.4, 0.0, 0.0]) == pytest.approx(0.1 + 0.2 + 0.1, abs=1e-6)
    assert colour_loss([0.0, 0.4, 0.0]) == pytest.approx(0.2 + 0.0 + 0.2, abs=1e-6)


@pytest.mark.parametrize(("colours", "extra"), [("rgb", 0.0), ("luma-chroma", 0.1)])
def test_noise_of_colour_below_the_error_of_brightness(colours, extra):
    x, brighter = torch.rand(2, 3, 4, 4), torch.full((1, 3, 1, 1), 0.3)
    noise = torch.tensor([0.1, -0.1, 0.0]).reshape(1, 3, 1, 1)
    plain, noisy = (
        clamped_reconstruction_loss(x, x + shift, lambda z: z, colours)
        for shift in (brighter, brighter + noise)
    )
    # Brightness 0.3 - 0.025, colours (0.1 + 0.15) / 2.
    assert (noisy - plain).item() == pytest.approx(extra, abs=1e-6)


def test_clamp_penalty_is_the_mean_squared_distance_and_pulls_to_the_projection():
    z = torch.tensor([[3.0, 1.0], [0.5, -1.0]], requires_grad=True)
    clamped = torch.stack((z[:, 0].clamp(-2, 2), torch.zeros(2)), 1)
    loss = clamp_penalty(z, clamped)
    loss.backward()
    assert loss.item() == pytest.approx((1 + 1 + 0 + 1) / 4)
    assert torch.allclose(z.grad, torch.tensor([[0.5, 0.5], [0.0, -0.5]]))


def test_perturbation_is_squared_plus_absolute_error():
    z, noise = torch.randn(5, 4), torch.randn(5, 4)
    loss = perturbation_loss(decode(z), z, noise, decode)
    expected = (2 * noise).square().mean() + (2 * noise).abs().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_no_gradient_is_lost_by_not_decoding_the_unperturbed_image():
    """With an exact inverse, decode(encode(x)) is x for every weight: its gradient is zero."""
    weight = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    x = torch.rand(3, 1, 2, 2, dtype=torch.float64)
    noise = torch.randn(3, 4, dtype=torch.float64)

    def scaled(z):
        return (z / weight).view(-1, 1, 2, 2)

    grads = []
    for target in (x, scaled(x.flatten(1) * weight)):
        z = x.flatten(1) * weight
        loss = perturbation_loss(target, z, noise, scaled)
        grads.append(torch.autograd.grad(loss, weight)[0].item())
    assert grads[0] == pytest.approx(grads[1], rel=1e-10)
