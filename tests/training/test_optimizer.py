"""Muon beside Adam, against singular values and in whole runs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from run_files import assert_same_weights, config_of, cut_short, step_of, weights
from torch import nn

from genrev.models.devices import tf32
from genrev.training import resume, train
from genrev.training.steps.optimizer import StepOptimizer, orthogonalised

MUON = {"kind": "muon", "muon_lr": 0.01, "lr": 1e-3}


def drawn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 20), columns=st.integers(1, 90), count=st.integers(1, 3),
    seed=st.integers(0, 99), scale=st.sampled_from([1e-4, 1.0, 1e3]),
)  # fmt: skip
def test_a_step_has_the_singular_vectors_of_the_gradient_and_values_of_about_one(
    rows, columns, count, seed, scale
):
    gradients = drawn(seed, count, rows, columns)
    for gradient, step in zip(gradients, orthogonalised(scale * gradients), strict=True):
        u, values, v = torch.linalg.svd(gradient, full_matrices=False)
        # In the basis of the gradient's singular vectors the step is diagonal.
        inside = u.T @ step @ v.T
        assert (inside - inside.diagonal().diag()).abs().max() < 1e-2
        kept = values > 0.05 * values[0]  # smaller ones are on their way
        assert ((inside.diagonal() > 0.5) & (inside.diagonal() < 1.4))[kept].all()


@settings(max_examples=20, deadline=None)
@given(
    shapes=st.lists(
        st.tuples(st.sampled_from([2, 3, 5]), st.sampled_from([2, 3, 5]), st.sampled_from([1, 3])),
        min_size=1, max_size=6,
    ),
    channels_last=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_weights_that_are_multiplied_together_move_as_each_would_alone(shapes, channels_last, seed):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    gradients = [
        drawn(seed + i, out, into, side, side).double().contiguous(memory_format=layout)
        for i, (out, into, side) in enumerate(shapes)
    ]
    weights = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    StepOptimizer([{"params": weights, "lr": 0.5, "muon": True}]).step()
    for weight, gradient in zip(weights, gradients, strict=True):
        by_input = weight.shape[1] < weight.shape[0]
        moved, matrix = (
            (x.transpose(0, 1) if by_input else x).flatten(1) for x in (weight.detach(), gradient)
        )
        torch.testing.assert_close(moved, -0.5 * orthogonalised(matrix), rtol=1e-6, atol=1e-9)


def test_gram_matrices_are_not_rounded_to_tf32(monkeypatch):
    seen = []

    def looked_at(matrices):
        seen.append(torch.backends.cuda.matmul.allow_tf32)
        return matrices

    monkeypatch.setattr("genrev.training.steps.optimizer.orthogonalised", looked_at)
    weight = nn.Parameter(torch.zeros(3, 4))
    weight.grad = drawn(0, 3, 4)
    with tf32(True):
        StepOptimizer([{"params": [weight], "lr": 1.0, "muon": True}]).step()
        assert torch.backends.cuda.matmul.allow_tf32
    assert seen == [False]


@pytest.mark.gpu
def test_a_step_on_cuda_keeps_small_singular_values():
    """Of a spectrum that falls off; TF32 gets 0.2 of the matrix wrong, or all of it."""
    basis = torch.linalg.qr(drawn(0, 96, 96))[0]
    spectrum = torch.arange(1, 97).float()[:, None] ** -2
    gradient = basis @ (spectrum * drawn(1, 96, 1152))
    moved = []
    for device in ("cpu", "cuda"):
        weight = nn.Parameter(torch.zeros(96, 1152, device=device))
        weight.grad = gradient.to(device)
        with tf32(True):
            StepOptimizer([{"params": [weight], "lr": 1.0, "muon": True}]).step()
        moved.append(weight.detach().cpu())
    assert (moved[0] - moved[1]).norm() < 1e-2 * moved[0].norm()


def test_a_gradient_of_zeros_moves_nothing():
    assert orthogonalised(torch.zeros(3, 5)).abs().max() == 0


def test_muon_steps_by_its_rate_and_adam_where_it_always_did():
    """The first step of Adam is its rate, whatever the gradient; that of Muon is orthogonal."""
    layer = nn.Linear(6, 4)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    groups = [
        {"params": [layer.bias], "lr": 1e-3},
        {"params": [layer.weight], "lr": 0.5, "muon": True},
    ]
    optimizer = StepOptimizer(groups)
    layer(drawn(0, 9, 6)).square().sum().backward()
    optimizer.step()
    moved = {name: p.detach() - before[name] for name, p in layer.named_parameters()}
    torch.testing.assert_close(moved["bias"].abs(), torch.full((4,), 1e-3), rtol=1e-3, atol=0)
    values = torch.linalg.svdvals(moved["weight"] / 0.5)
    assert ((values > 0.5) & (values < 1.4)).all()
    assert (moved["weight"] * layer.weight.grad).sum() < 0
    assert optimizer.param_groups[1]["params"] == [layer.weight]


def test_a_step_within_autocast_is_the_same():
    moved = []
    for enabled in (False, True):
        weight = nn.Parameter(torch.zeros(40, 60))
        optimizer = StepOptimizer([{"params": [weight], "lr": 1.0, "muon": True}])
        weight.grad = drawn(3, 40, 60)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            optimizer.step()
        moved.append(weight.detach())
    assert moved[0].equal(moved[1])


def test_the_momentum_is_that_of_the_gradients():
    """Two steps by hand: a running mean of the gradients, and from it half a step ahead."""
    weight = nn.Parameter(torch.zeros(3, 4))
    optimizer = StepOptimizer([{"params": [weight], "lr": 1.0, "muon": True}])
    first, second = drawn(1, 3, 4), drawn(2, 3, 4)
    for gradient in (first, second):
        weight.grad = gradient.clone()
        optimizer.step()
    mean = 0.95 * 0.05 * first + 0.05 * second
    expected = -orthogonalised(0.95 * 0.05 * first + 0.05 * first)
    expected = expected - orthogonalised(0.95 * mean + 0.05 * second)
    torch.testing.assert_close(weight.detach(), expected, atol=1e-5, rtol=1e-5)


def test_weights_decay_by_their_rate_before_they_step():
    moved = []
    for decay in (0.0, 0.25):
        weight = nn.Parameter(torch.full((3, 4), 2.0))
        group = {"params": [weight], "lr": 0.1, "muon": True, "weight_decay": decay}
        optimizer = StepOptimizer([group])
        weight.grad = drawn(1, 3, 4)
        optimizer.step()
        moved.append(weight.detach() - 2)
    torch.testing.assert_close(moved[1] - moved[0], torch.full((3, 4), -2 * 0.1 * 0.25))


def test_a_run_with_muon_is_resumed_bit_for_bit(tmp_path):
    config = config_of(
        batch_size=40,
        optimizer={**MUON, "schedule": "linear", "clip": 5, "ema": 0.9},
        engine={"drift_every": None},
        trainer={"max_steps": 6, "log_every": 1, "sample_every": 100, "checkpoint_every": 2},
    )
    train(config, tmp_path / "whole")
    cut = cut_short(tmp_path / "whole", tmp_path / "cut", 4)
    resume(config, cut)
    assert_same_weights(weights(tmp_path / "whole"), weights(cut))


def test_kernels_of_the_network_are_for_muon_and_all_else_is_for_adam():
    step = step_of(config_of(optimizer=MUON))
    by_muon = {
        id(p): group["lr"]
        for group in step.optimizers[0].param_groups
        for p in group["params"]
        if group.get("muon")
    }
    of_net = list(step.model.net.parameters())
    assert by_muon == {id(p): 0.01 for p in of_net if p.ndim >= 2}
    everything = sum(len(group["params"]) for group in step.optimizers[0].param_groups)
    assert everything == len(list(step.model.parameters()))


def test_one_step_of_a_run_moves_kernels_by_its_rate():
    config = config_of(batch_size=40, optimizer=MUON)
    step = step_of(config)
    kernels = [p for p in step.model.net.parameters() if p.ndim >= 2]
    before = [p.detach().clone() for p in kernels]
    labels = torch.arange(40) % 10
    step(step.data.tensor(range(40)), labels.sort().values, 0)
    for kernel, old in zip(kernels, before, strict=True):
        moved = (kernel.detach() - old) / 0.01
        if kernel.shape[1] < kernel.shape[0]:
            moved = moved.transpose(0, 1)
        assert torch.linalg.svdvals(moved.flatten(1))[0] == pytest.approx(1, abs=0.3)
