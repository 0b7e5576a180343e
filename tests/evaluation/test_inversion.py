"""Inversion error: rounding for an orthogonal model, the known loss for a lossy one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genrev.evaluation import format_report, inversion_error, inversion_report, lacks_bfloat16
from genrev.evaluation.metrics import inversion
from genrev.models import GenerativeModel
from genrev.networks import RevNet, RevNetConfig
from genrev.priors import ClassConditionalGaussian
from genrev.reversible import Engine


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


def reversible_model(scale=1.0, exact=False):
    shape = RevNetConfig(
        image_size=4, channels=1, hidden_channels=(8,), blocks=(3,), kernel_sizes=(3,)
    )
    net = RevNet(shape, Engine(exact=exact))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= scale
    return GenerativeModel(net, ClassConditionalGaussian(1, 16))


def test_one_format_after_the_other_computed_by_hand(data):
    model = reversible_model(scale=4)
    x = data.tensor(range(37))
    back = {}
    with torch.no_grad():
        back["float32"] = model.decode(model.encode(x))
        with torch.autocast("cpu", torch.bfloat16):
            back["bfloat16"] = model.decode(model.encode(x))
        back["float64"] = model.double().decode(model.encode(x.double()))
    report = inversion_report(model.float(), data, batch_size=37)
    assert list(report["by_dtype"]) == list(back)
    for name, error in report["by_dtype"].items():
        difference = (back[name].double() - x.double()).abs()
        assert error["mean_l1"] == pytest.approx(float(difference.mean()), rel=1e-6)
        assert error["max_abs"] == pytest.approx(float(difference.max()), rel=1e-6)
    single = report["by_dtype"]["float32"]
    assert report["dtype"] == "float32"
    assert {name: report[name] for name in single} == single
    # Rounding vanishes with more digits. (It need not grow with fewer: the stream stays float32.)
    assert report["by_dtype"]["float64"]["max_abs"] < 1e-6 * single["max_abs"]
    assert report["by_dtype"]["bfloat16"]["max_abs"] != single["max_abs"]


def test_a_report_leaves_the_model_in_float32(data):
    model = reversible_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inversion_report(model, data)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])
    assert model.training


def test_identical_images_are_counted_in_8_bits(unconditional, toys):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 1, 4, 4), dtype=np.uint8)
    # Forgetting the first dimension makes the first pixel 1/2, which a file holds as 128.
    with torch.no_grad():
        unconditional.matrix[0, 0] = 0
    pixels[:, 0, 0, 0] = 128
    pixels[:30, 0, 0, 0] = 129
    error = inversion_error(unconditional, toys(pixels, np.zeros(40), 1), dtype=torch.float64)
    assert error["identical_images"] == 0.25


def test_what_a_file_clips_or_cannot_hold(unconditional, toys):
    pixels = np.full((3, 1, 4, 4), 255, dtype=np.uint8)
    decode = unconditional.decode

    def changed(z):
        x = decode(z)
        x[0] += 1  # white stays white
        x[1, 0, 0, 0] = float("nan")
        return x

    unconditional.decode = changed
    error = inversion_error(unconditional, toys(pixels, np.zeros(3), 1), dtype=torch.float64)
    assert error["identical_images"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_exact_models_return_grid_images_exactly_and_pixels_within_half_a_step(data, toys, dtype):
    model = reversible_model(scale=4, exact=True)
    error = inversion_error(model, data, dtype=dtype)
    assert error["identical_images"] == 1
    assert 0 < error["max_abs"] <= 2**-17
    black_and_white = toys(data.images // 128 * 255, np.zeros(37), 1)  # 0 and 1 are on the grid
    assert inversion_error(model, black_and_white, dtype=dtype)["max_abs"] == 0


def test_float64_uses_a_few_images_from_all_over(unconditional, toys, monkeypatch):
    monkeypatch.setattr(inversion, "FEW", 10)
    numbers = np.arange(200, dtype=np.uint8)
    data = toys(np.tile(numbers[:, None, None, None], (1, 1, 4, 4)), np.zeros(200), 1)
    seen = {torch.float32: [], torch.float64: []}
    encode = type(unconditional).encode

    def spy(self, x):
        seen[x.dtype].append((x[:, 0, 0, 0] * 255).round().int())
        return encode(self, x)

    monkeypatch.setattr(type(unconditional), "encode", spy)
    report = inversion_report(unconditional, data)
    counts = {name: error["count"] for name, error in report["by_dtype"].items()}
    assert counts == {"float32": 200, "bfloat16": 200, "float64": 10}
    assert torch.cat(seen[torch.float64]).tolist() == list(range(0, 200, 20))
    assert report["by_dtype"]["float64"]["identical_images"] == 1  # of the 10


def test_formats_that_cannot_be_measured_are_told(unconditional, data, monkeypatch):
    monkeypatch.setattr(inversion, "lacks_bfloat16", lambda device: "this device is too old")
    bare = SimpleNamespace(
        encode=unconditional.eval().encode, decode=unconditional.decode, prior=unconditional.prior
    )
    report = inversion_report(bare, data)
    assert report["by_dtype"]["bfloat16"] == {"skipped": "this device is too old"}
    assert "nn.Module" in report["by_dtype"]["float64"]["skipped"]
    provenance = {
        "samples": 0,
        "reference": "toys",
        "reference_split": None,
        "reference_count": 37,
        "features": None,
        "seed": 0,
    }
    text = format_report({"inversion": {**report, **provenance}})
    assert "37 of 37 images come back with the same 8-bit pixels" in text
    assert "inversion error, bfloat16  not measured: this device is too old" in text


def test_a_device_without_bfloat16(monkeypatch):
    cpu = torch.device("cpu")
    assert lacks_bfloat16(cpu) is None
    with monkeypatch.context() as patch:  # autocast warns and goes on in float32
        patch.setattr(torch, "autocast", lambda *_: torch.no_grad())
        assert lacks_bfloat16(cpu) == "this cpu device has no bfloat16"

    def refuse(*_):
        raise RuntimeError("Current device does not support bfloat16")

    monkeypatch.setattr(torch, "autocast", refuse)
    assert lacks_bfloat16(cpu) == "this cpu device has no bfloat16"
