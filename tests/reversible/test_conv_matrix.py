"""Convolutions by matrix products against ``nn.Conv2d``."""

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from genrev.reversible import SmallMapConv2d
from genrev.reversible.kernels import convolution
from genrev.reversible.kernels.convolution import matrix_conv2d

MAPS = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 4), (3, 3), (2, 4), (4, 4), (4, 2), (3, 5), (8, 2)]


def pair(in_channels, out_channels, kernel, dtype=torch.float64):
    fast = SmallMapConv2d(in_channels, out_channels, kernel).to(dtype)
    plain = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2).to(dtype)
    plain.load_state_dict(fast.state_dict())
    return fast, plain


def values_and_gradients(conv, x):
    x = x.detach().requires_grad_()
    y = conv(x)
    return y, *torch.autograd.grad((y * y.detach().cos()).sum(), (x, *conv.parameters()))


@pytest.mark.parametrize("size", [*MAPS, (5, 5), (8, 8), (16, 16)])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@given(
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    n=st.integers(0, 3),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_it_is_the_convolution(size, kernel, channels, n, layout):
    fast, plain = pair(*channels, kernel)
    before = copy.deepcopy(fast.state_dict())
    x = torch.randn(n, channels[0], *size, dtype=torch.float64).contiguous(memory_format=layout)
    kept = x.clone()
    for ours, theirs in zip(
        values_and_gradients(fast, x), values_and_gradients(plain, x), strict=True
    ):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        assert torch.allclose(ours, theirs, atol=1e-10)
    assert torch.equal(x, kept)
    assert all(torch.equal(before[name], value) for name, value in fast.state_dict().items())


@pytest.mark.parametrize("size", MAPS)
@pytest.mark.parametrize("bias", [True, False])
def test_small_maps_take_the_matrix_path_with_and_without_bias(size, bias):
    _, plain = pair(3, 2, 3)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    offset = plain.bias if bias else None
    expected = nn.functional.conv2d(x, plain.weight, offset, padding=1)
    assert torch.allclose(matrix_conv2d(x, plain.weight, offset), expected, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(matrix_conv2d(x, plain.weight, offset), expected, atol=1e-12)


@pytest.mark.parametrize("size", MAPS)
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("by_columns", [True, False])
def test_weight_gradients_either_way(size, kernel, by_columns, monkeypatch):
    monkeypatch.setattr(convolution, "_many_pixels", lambda *_: by_columns)
    _, plain = pair(3, 2, kernel)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    y, expected = matrix_conv2d(x, plain.weight, plain.bias), plain(x)
    grad = torch.randn_like(y)
    (ours,) = torch.autograd.grad(y, plain.weight, grad)
    (theirs,) = torch.autograd.grad(expected, plain.weight, grad)
    assert torch.allclose(ours, theirs, atol=1e-12)


def test_gradcheck_and_second_derivatives():
    conv, _ = pair(2, 3, 3)
    x = torch.randn(2, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    arguments = (x, conv.weight, conv.bias)
    assert torch.autograd.gradcheck(matrix_conv2d, arguments)
    assert torch.autograd.gradgradcheck(matrix_conv2d, arguments)


@pytest.mark.parametrize("frozen", [("weight",), ("bias",), ("weight", "bias"), ("x",)])
def test_only_the_gradients_that_are_needed(frozen):
    results = []
    for conv in pair(3, 2, 3):
        x = torch.ones(2, 3, 2, 2, dtype=torch.float64, requires_grad="x" not in frozen)
        for name in frozen:
            if name != "x":
                getattr(conv, name).requires_grad_(False)
        conv(x).square().sum().backward()
        results.append((x.grad, conv.weight.grad, conv.bias.grad))
    for ours, theirs in zip(*results, strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.allclose(ours, theirs)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4)])
def test_autocast_rounds_as_the_convolution_does(size):
    results = []
    x = torch.randn(8, 16, *size)
    for conv in pair(16, 12, 3, torch.float32):
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = conv(leaf)
        grads = torch.autograd.grad(y.float().square().sum(), (leaf, *conv.parameters()))
        results.append((y, *grads))
    assert results[0][0].dtype == torch.bfloat16
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        assert (ours - theirs).float().norm() < 0.02 * theirs.float().norm()


@pytest.mark.parametrize(
    "change",
    [
        copy.deepcopy,
        lambda conv: pickle.loads(pickle.dumps(conv)),
        lambda conv: conv.to(memory_format=torch.contiguous_format),
        lambda conv: (
            nn.Module.load_state_dict(
                conv, {k: v.contiguous() for k, v in conv.state_dict().items()}, assign=True
            )
            and conv
        ),
    ],
)
def test_any_layout_of_the_weights_will_do(change):
    fast, plain = pair(3, 2, 3)
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    changed = change(fast)
    changed(x).sum().backward()
    plain(x).sum().backward()
    assert torch.allclose(changed.weight.grad, plain.weight.grad)
    assert changed.weight.grad.stride() == changed.weight.stride()


def test_transforms_of_torch_func_see_a_convolution():
    fast, plain = pair(2, 2, 3)
    x = torch.randn(1, 2, 2, 2, dtype=torch.float64)
    assert torch.allclose(torch.func.jacrev(fast)(x), torch.func.jacrev(plain)(x))
    assert torch.allclose(torch.vmap(fast)(x[None]), plain(x)[None])


def test_wrong_channels_are_told_by_pytorch():
    with pytest.raises(RuntimeError, match="channels"):
        SmallMapConv2d(3, 2, 3)(torch.zeros(1, 4, 2, 2))


def test_a_state_dict_can_be_saved_as_safetensors(tmp_path):
    from safetensors.torch import load_file, save_file

    conv = SmallMapConv2d(3, 5, 3)
    save_file(conv.state_dict(), tmp_path / "conv.safetensors")
    assert torch.equal(load_file(tmp_path / "conv.safetensors")["weight"], conv.weight)
