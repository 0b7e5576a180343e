"""Affine couplings, diagonal scaling, and log-determinants against whole Jacobians."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kept_memory import kept_bytes
from torch import nn
from torch.autograd.functional import jacobian

from genrev.networks import RevNet, RevNetConfig
from genrev.reversible import (
    AdditiveCoupling,
    AffineCoupling,
    Block,
    CheckerboardSubsample,
    DiagonalScaling,
    Engine,
    ReversibleSequential,
)


def affine(channels=4, size=3):
    networks = [nn.Conv2d(channels // 2, channels, size, padding=size // 2) for _ in range(2)]
    return AffineCoupling(*networks, channels).double()


def net(coupling, scaling, memory="reversible", **fields):
    shape = {"hidden_channels": (5, 6), "blocks": (1, 2), "kernel_sizes": (3, 3)}
    config = RevNetConfig(
        image_size=4, channels=2, coupling=coupling, scaling=scaling, **{**shape, **fields}
    )
    net = RevNet(config, Engine(memory=memory)).double()
    for p in net.parameters():  # far from the identity
        p.data.add_(0.3 * torch.randn_like(p))
    return net


@given(channels=st.sampled_from([2, 4, 8]), n=st.integers(0, 3))
def test_affine_couplings_come_back(channels, n):
    block = affine(channels)
    x = torch.randn(n, channels, 4, 4, dtype=torch.float64)
    assert torch.allclose(block.inverse(block(x)), x, atol=1e-12)
    assert torch.allclose(block(block.inverse(x)), x, atol=1e-12)


def test_an_affine_coupling_by_hand():
    """f and g that ignore their input: every channel is stretched and shifted by constants."""
    f, g = nn.Conv2d(1, 2, 1).double(), nn.Conv2d(1, 2, 1).double()
    for network, r, t in ((f, 0.5, 3.0), (g, -1.0, 4.0)):
        nn.init.zeros_(network.weight)
        network.bias.data = torch.tensor([r, t], dtype=torch.float64)
    block = AffineCoupling(f, g, 2).double()
    block.f_bound.data.fill_(2.0)
    x = torch.randn(5, 2, 3, 3, dtype=torch.float64)
    y, log_det = block.forward_with_log_det(x)
    s = 2 * torch.tanh(torch.tensor(0.5, dtype=torch.float64))
    s2 = torch.tanh(torch.tensor(-1.0, dtype=torch.float64))
    assert torch.allclose(y[:, 0], x[:, 0] * s.exp() + 3)
    assert torch.allclose(y[:, 1], x[:, 1] * s2.exp() + 4)
    assert torch.allclose(log_det, (9 * (s + s2)).expand(5))


def test_stretching_is_bounded():
    block = affine()
    x = 1e6 * torch.randn(2, 4, 4, 4, dtype=torch.float64)
    _, log_det = block.forward_with_log_det(x)
    assert log_det.abs().max() <= 4 * 4 * 4


@pytest.mark.parametrize("coupling", ["additive", "affine"])
@pytest.mark.parametrize("scaling", [False, True])
@pytest.mark.parametrize("memory", ["stored", "reversible"])
def test_log_determinant_is_that_of_the_jacobian(coupling, scaling, memory):
    flow = net(coupling, scaling, memory=memory)
    x = torch.rand(3, 2, 4, 4, dtype=torch.float64)
    z, log_det = flow.encode_with_log_det(x)
    assert torch.equal(z, flow.encode(x))
    for image, number in zip(x, log_det, strict=True):
        matrix = jacobian(lambda a: flow.encode(a[None])[0], image).reshape(32, 32)
        assert torch.linalg.slogdet(matrix).logabsdet.item() == pytest.approx(
            number.item(), abs=1e-9
        )
    if coupling == "affine":
        assert log_det.std() > 1e-3  # it depends on the image


@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_networks_with_scaling_are_bijective(coupling):
    flow = net(coupling, True)
    x = torch.rand(3, 2, 4, 4, dtype=torch.float64)
    assert torch.allclose(flow.decode(flow.encode(x)), x, atol=1e-9)
    z = torch.randn(3, 32, dtype=torch.float64)
    assert torch.allclose(flow.encode(flow.decode(z)), z, atol=1e-9)


def test_scaling_starts_from_statistics():
    y = torch.randn(1000, 6) * torch.tensor([0.1, 1, 2, 3, 4, 0]) + torch.arange(6)
    scaling = DiagonalScaling(6)
    scaling.initialise_(y.mean(0), y.std(0))
    z = scaling(y)
    assert torch.allclose(z.mean(0), torch.zeros(6), atol=1e-4)
    assert torch.allclose(z.std(0)[:5], torch.ones(5), atol=1e-4)
    assert torch.isfinite(scaling.forward_with_log_det(y)[1]).all()
    assert torch.allclose(scaling.inverse(z), y, atol=1e-5)


@pytest.mark.parametrize("memory", ["stored", "reversible"])
def test_affine_gradients_through_the_engine_are_those_of_autograd(memory):
    chain = ReversibleSequential(CheckerboardSubsample(), affine(), affine(), memory=memory)
    plain = ReversibleSequential(*chain.blocks, memory="stored")
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)

    def gradients(run):
        out = run.inverse(run(x).square()).sin().sum()
        return torch.autograd.grad(out, (x, *chain.parameters()))

    for a, b in zip(gradients(chain), gradients(plain), strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="even number of channels, not 3"):
        AffineCoupling(nn.Identity(), nn.Identity(), 3)
    with pytest.raises(ValueError, match="must double the channels"):
        AffineCoupling(nn.Identity(), nn.Identity(), 4)(torch.rand(1, 4, 2, 2))
    with pytest.raises(ValueError, match="would not be invertible"):
        AffineCoupling(nn.BatchNorm2d(2), nn.Identity(), 4)
    with pytest.raises(TypeError, match="AffineCoupling"):
        ReversibleSequential(affine(), exact=True)
    for fields in ({"coupling": "affine"}, {"scaling": True}):
        with pytest.raises(ValueError, match="needs additive couplings"):
            RevNet(
                RevNetConfig(
                    image_size=4,
                    channels=1,
                    hidden_channels=(4,),
                    blocks=(1,),
                    kernel_sizes=(3,),
                    **fields,
                ),
                Engine(exact=True),
            )
    with pytest.raises(ValueError, match="coupling takes one of additive, affine"):
        RevNetConfig(
            image_size=4,
            channels=1,
            hidden_channels=(4,),
            blocks=(1,),
            kernel_sizes=(3,),
            coupling="mean",
        )
    with pytest.raises(ValueError, match="padding is not bijective"):
        net("additive", False, padding=2).encode_with_log_det(torch.rand(1, 2, 4, 4).double())
    with pytest.raises(TypeError, match="log-determinant of a Odd is not known"):
        ReversibleSequential(Odd()).forward_with_log_det(torch.rand(1, 2, 2, 2))


class Odd(Block):
    def forward(self, x):
        return x**3

    def inverse(self, y):
        return y.sign() * y.abs() ** (1 / 3)


def loss(flow, x, reconstructs):
    """Likelihood, and what decoding a changed latent costs."""
    z, log_det = flow.encode_with_log_det(x)
    value = (z.square().sum(1) / 2 - log_det * z.detach()[:, 0].cos()).sum()
    return value + (flow.decode(0.9 * z) - x).abs().pow(1.5).sum() if reconstructs else value


@pytest.mark.parametrize("reconstructs", [False, True])
@pytest.mark.parametrize("factor_out", [False, True])
@pytest.mark.parametrize("fields", [{}, {"bands": "haar"}, {"scaling": True}])
@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_gradients_of_log_determinants_are_those_of_stored_activations(
    coupling, fields, factor_out, reconstructs
):
    flow = net(coupling, **{"scaling": False, "factor_out": factor_out, **fields})
    x = torch.rand(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    found = []
    for memory in ("reversible", "stored"):
        flow.set_engine(Engine(memory=memory))
        parts = torch.autograd.grad(loss(flow, x, reconstructs), (x, *flow.parameters()))
        found.append(torch.cat([part.flatten() for part in parts]))
    assert torch.allclose(*found, rtol=1e-9, atol=1e-10)


def test_gradients_in_low_precision_are_near_those_of_stored_activations():
    flow = net("affine", False).float()
    x = torch.rand(8, 2, 4, 4)
    found = []
    for memory in ("reversible", "stored"):
        flow.set_engine(Engine(memory=memory))
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(flow, x, False)
        parts = torch.autograd.grad(value, tuple(flow.parameters()))
        found.append(torch.cat([part.flatten() for part in parts]))
    ours, theirs = found
    assert (ours - theirs).norm() < 2e-2 * theirs.norm()


def likelihood(flow, x):
    z, log_det = flow.encode_with_log_det(x)
    return (z.square().sum(1) - log_det).sum()


@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_what_is_kept_for_a_likelihood_does_not_grow_with_depth(coupling):
    x = torch.rand(4, 2, 4, 4, dtype=torch.float64)
    sizes = {
        (memory, depth): kept_bytes(
            likelihood, net(coupling, False, memory, blocks=(depth, depth)), x
        )
        for memory in ("reversible", "stored")
        for depth in (1, 32)
    }
    assert sizes["reversible", 32] == sizes["reversible", 1]
    assert sizes["stored", 32] > 10 * sizes["stored", 1]


@pytest.mark.parametrize("last", ["affine", "additive", "moves"])
@pytest.mark.parametrize("wanted", ["log-determinant", "output", "both"])
def test_gradients_of_either_output_are_the_stored_ones(last, wanted):
    ends = {
        "affine": lambda: affine(4),
        "additive": lambda: AdditiveCoupling(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)),
        "moves": CheckerboardSubsample,
    }
    found = []
    for memory in ("stored", "reversible"):
        torch.manual_seed(0)
        chain = ReversibleSequential(affine(4), ends[last](), memory=memory).double()
        x = torch.randn(3, 4, 2, 2, dtype=torch.float64, requires_grad=True)
        y, log_det = chain.forward_with_log_det(x)
        parts = {"log-determinant": log_det.cos(), "output": y.square()}
        loss = sum(part.sum() for name, part in parts.items() if wanted in (name, "both"))
        found.append(torch.autograd.grad(loss, [x, *chain.parameters()], materialize_grads=True))
    for stored, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(recomputed, stored)
