"""Half of the channels leave after each stage: bijective, exact, and the same gradients."""

import pytest
import torch
from torch.autograd.functional import jacobian

from genrev.networks import RevNet, RevNetConfig
from genrev.reversible import Engine, FactorOut, ReversibleSequential, round_to_grid

CONFIG = RevNetConfig(
    image_size=8,
    channels=1,
    hidden_channels=(5, 6, 7),
    blocks=(1, 2, 1),
    kernel_sizes=(3, 3, 1),
    factor_out=True,
)


def net(memory="reversible", exact=False, **changes):
    torch.manual_seed(3)
    net = RevNet(CONFIG.replace(**changes), Engine(memory=memory, exact=exact))
    for p in net.parameters():  # far from the identity
        p.data.add_(0.2 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("coupling", ["additive", "affine"])
@pytest.mark.parametrize("padding", [0, 4])
def test_every_image_comes_back(coupling, padding):
    flow = net(coupling=coupling, padding=padding, scaling=True).double()
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    assert torch.allclose(flow.decode(flow.encode(x)), x, atol=1e-9)
    if not padding:
        z = torch.randn(3, 64, dtype=torch.float64)
        assert torch.allclose(flow.encode(flow.decode(z)), z, atol=1e-9)


def test_shapes_of_the_stages_and_of_what_leaves():
    flow = net()
    assert flow.blocks.shapes == [(4, 4, 4), (8, 2, 2), (16, 1, 1)]
    seen = []
    for stage in flow.blocks.stages:
        stage.register_forward_hook(
            lambda _, inputs, out: seen.append((tuple(inputs[0].shape[1:]), tuple(out.shape[1:])))
        )
    z = flow.encode(torch.rand(2, 1, 8, 8))
    assert seen == [
        ((1, 8, 8), (4, 4, 4)),
        ((2, 4, 4), (8, 2, 2)),
        ((4, 2, 2), (16, 1, 1)),
    ]
    assert z.shape == (2, 64)


def test_latents_are_in_the_order_in_which_they_leave():
    flow = net()
    x = torch.rand(2, 1, 8, 8)
    h1, z1 = flow.blocks.stages[0](x).chunk(2, 1)
    h2, z2 = flow.blocks.stages[1](h1).chunk(2, 1)
    z3 = flow.blocks.stages[2](h2)
    z = torch.cat([part.flatten(1) for part in (z1, z2, z3)], 1)
    assert [part[0].numel() for part in (z1, z2, z3)] == [32, 16, 16]
    assert flow.coarse_dims == 16
    assert RevNet(CONFIG.replace(factor_out=False)).coarse_dims == 64
    assert torch.equal(flow.encode(x), z)


def test_what_has_left_is_out_of_reach_of_later_stages():
    """The first 32 latents depend on the first stage alone, which changes nothing after them."""
    flow, x = net(), torch.rand(2, 1, 8, 8)
    before = flow.encode(x)
    for p in flow.blocks.stages[1:].parameters():
        p.data.add_(1.0)
    after = flow.encode(x)
    assert torch.equal(before[:, :32], after[:, :32])
    assert (before[:, 32:] != after[:, 32:]).any(1).all()


@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_log_determinant_is_that_of_the_jacobian(coupling):
    flow = net(coupling=coupling, scaling=True).double()
    flow.scaling.log_scale.data.normal_()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    z, log_det = flow.encode_with_log_det(x)
    assert torch.equal(z, flow.encode(x))
    for image, number in zip(x, log_det, strict=True):
        matrix = jacobian(flow.encode, image[None]).reshape(64, 64)
        expected = torch.linalg.slogdet(matrix).logabsdet
        assert expected.item() == pytest.approx(number.item(), abs=1e-9)


def gradients(flow, x):
    z = flow.encode(x)
    loss = z.square().mean() + (flow.decode(1.1 * z) - x).abs().mean()
    return [z, *torch.autograd.grad(loss, list(flow.parameters()))]


@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_gradients_of_the_engine_are_those_of_autograd(coupling):
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    stored = gradients(net(coupling=coupling, memory="stored").double(), x)
    for a, b in zip(stored, gradients(net(coupling=coupling).double(), x), strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_exact_mode_is_exact():
    x = round_to_grid(torch.rand(3, 1, 8, 8))
    flow = net(exact=True)
    assert torch.equal(flow.decode(flow.encode(x)), x)
    z = round_to_grid(torch.randn(3, 64))
    assert torch.equal(flow.encode(flow.decode(z)), z)
    stored = gradients(net(exact=True, memory="stored"), x)
    for a, b in zip(stored, gradients(flow, x), strict=True):
        assert torch.equal(a, b)


def test_the_engine_is_that_of_all_stages():
    flow = net()
    assert {stage.engine for stage in flow.blocks.stages} == {Engine()}
    flow.set_engine(Engine(memory="stored"))
    assert {stage.engine.memory for stage in flow.blocks.stages} == {"stored"}
    with pytest.raises(ValueError, match="1 stages need as many shapes"):
        FactorOut([ReversibleSequential()], [])
