"""Small data and models with known answers, for the tests of this folder."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genrev.data import ImageData
from genrev.priors import ActiveGaussian, ClassConditionalGaussian

SHAPE = (1, 4, 4)
DIM = 16


def image_data(images: np.ndarray, labels: np.ndarray, classes: int) -> ImageData:
    """Images (N, C, H, W) with a fingerprint of their own."""
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    names = tuple(f"class {c}" for c in range(classes)) if classes > 1 else ("all",)
    return ImageData(images, labels.astype(np.int64), names, "toys", digest)


class LinearModel(nn.Module):
    """Encodes by an orthogonal matrix, z = (x - 1/2) Q, so decoding inverts and knows no rounding.

    The dropout layer is there to show whether somebody forgot the evaluation mode.
    """

    image_shape = SHAPE

    def __init__(self, prior: nn.Module, orthogonal: Tensor | None = None) -> None:
        super().__init__()
        self.prior = prior
        self.matrix = nn.Parameter(torch.eye(DIM) if orthogonal is None else orthogonal)
        self.dropout = nn.Dropout(0.5)

    def encode(self, x: Tensor) -> Tensor:
        return self.dropout((x - 0.5).flatten(1) @ self.matrix.to(x.dtype))

    def decode(self, z: Tensor) -> Tensor:
        return (self.dropout(z) @ self.matrix.T.to(z.dtype) + 0.5).unflatten(1, SHAPE)

    def sample(self, n, label=None, generator=None) -> Tensor:
        return self.decode(self.prior.sample(n, label, generator)).clamp(0, 1)


def gaussian_model(std: float = 0.12) -> LinearModel:
    """One class, all dimensions active; images are grey with pixel noise of this std."""
    prior = ClassConditionalGaussian(1, DIM)
    prior.std.data.fill_(std)
    return LinearModel(prior)


def two_class_model(std: float = 0.12) -> LinearModel:
    """Class 0 is dark on the left half of the image, class 1 on the right half."""
    prior = ClassConditionalGaussian(2, DIM)
    left = torch.tensor([-0.15, -0.15, 0.15, 0.15]).repeat(4)
    prior.mean.data.copy_(torch.stack([left, -left]))
    prior.std.data.fill_(std)
    return LinearModel(prior)


def drawn_from(model: LinearModel, n: int, seed: int) -> ImageData:
    """Images the model itself drew, classes in turn."""
    classes = model.prior.num_classes
    was_training = model.training
    model.eval()
    with torch.no_grad():
        images = model.sample(n, generator=torch.Generator().manual_seed(seed))
    model.train(was_training)
    return image_data((images * 255).round().byte().numpy(), np.arange(n) % classes, classes)


@pytest.fixture
def unconditional() -> LinearModel:
    return gaussian_model()


@pytest.fixture
def conditional() -> LinearModel:
    return two_class_model()


@pytest.fixture
def rotated() -> LinearModel:
    generator = torch.Generator().manual_seed(0)
    orthogonal, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator))
    return LinearModel(ActiveGaussian(DIM, torch.arange(4)), orthogonal)


@pytest.fixture
def draw():
    return drawn_from


@pytest.fixture
def toys():
    return image_data


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Nothing of a test goes into the user's cache, nor comes from it."""
    monkeypatch.setenv("GENREV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = os.environ.get("GENREV_DATA")
    if not folder:
        pytest.skip("GENREV_DATA is unset; it names a folder with mnist/ and inception/")
    return Path(folder)
