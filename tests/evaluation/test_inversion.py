"""Inversion error: rounding for an orthogonal model, the known loss for a lossy one."""

import numpy as np
import pytest
import torch

from genrev.evaluation import inversion_error


@pytest.fixture
def data(toys):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 1, 4, 4), dtype=np.uint8)
    return toys(pixels, np.zeros(37), 1)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-6), (torch.float64, 1e-6)])
def test_orthogonal_model_inverts_up_to_rounding(rotated, data, dtype, most):
    error = inversion_error(rotated, data, dtype=dtype)
    assert error["dtype"] == str(dtype).removeprefix("torch.")
    assert error["count"] == 37
    assert 0 < error["mean_l1"] <= error["max_abs"] < most


def test_exact_model_has_no_error(unconditional, data):
    error = inversion_error(unconditional, data, dtype=torch.float64)
    assert error["max_abs"] < 1e-15


def test_known_error_for_every_batch_size(unconditional, data):
    # Forgetting the first dimension replaces the first pixel by 1/2.
    with torch.no_grad():
        unconditional.matrix[0, 0] = 0
    off = np.abs(data.images[:, 0, 0, 0] / 255 - 0.5)
    for batch_size in (1, 5, 37, 100):
        error = inversion_error(unconditional, data, batch_size, torch.float64)
        assert error["mean_l1"] == pytest.approx(off.sum() / data.images.size, rel=1e-6)
        assert error["max_abs"] == pytest.approx(off.max(), rel=1e-6)


def test_nan_is_not_lost(unconditional, data):
    def decode(z):
        x = type(unconditional).decode(unconditional, z)
        x[0, 0, 0, 0] = float("nan")
        return x

    unconditional.decode = decode
    error = inversion_error(unconditional, data, batch_size=10)
    assert np.isnan(error["max_abs"])
    assert np.isnan(error["mean_l1"])


def test_leaves_no_trace(rotated, data):
    rotated.train()
    rotated.dropout.eval()
    inversion_error(rotated, data)
    assert rotated.training
    assert not rotated.dropout.training
    assert rotated.matrix.grad is None


def test_refuses_empty_batches(rotated, data):
    with pytest.raises(ValueError, match="batch_size"):
        inversion_error(rotated, data, batch_size=0)
