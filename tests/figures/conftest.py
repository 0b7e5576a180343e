"""A model whose every map has a closed form: an orthogonal matrix and Gaussians per class."""

import pytest
import torch
from torch import Tensor


class GaussianPrior:
    """Class-conditional Gaussian on the dimensions ``active_dims``, the rest pinned to zero."""

    def __init__(self, means: Tensor, stds: Tensor, active_dims: Tensor, dim: int) -> None:
        self.means, self.stds = means, stds  # (K, k)
        self.active_dims, self.dim = active_dims, dim
        self.num_classes = len(means)

    def sample(
        self,
        n: int,
        label: int | Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        labels = torch.arange(n) % self.num_classes if label is None else torch.as_tensor(label)
        noise = torch.randn(n, len(self.active_dims), generator=generator)
        return self.embed(self.means[labels] + self.stds[labels] * noise)

    def scale(self, label: int | None = None) -> Tensor:
        return self.embed((self.stds.mean(0) if label is None else self.stds[label])[None])[0]

    def center(self, label: int | None = None) -> Tensor:
        return self.embed((self.means.mean(0) if label is None else self.means[label])[None])[0]

    def restrict(self, z: Tensor) -> Tensor:
        return z[:, self.active_dims]

    def embed(self, active: Tensor) -> Tensor:
        full = active.new_zeros(len(active), self.dim)
        full[:, self.active_dims] = active
        return full

    def clamp(self, z: Tensor) -> Tensor:
        return self.embed(self.restrict(z))


class OrthogonalModel:
    """``z = (x - shift) Q`` for an orthogonal matrix Q."""

    def __init__(
        self, image_shape: tuple[int, int, int], prior: GaussianPrior, basis: Tensor, shift: Tensor
    ) -> None:
        self.image_shape, self.prior, self.basis, self.shift = image_shape, prior, basis, shift

    def encode(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.shift) @ self.basis

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.basis.T + self.shift).unflatten(1, self.image_shape)

    def sample(
        self, n: int, label: int | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.decode(self.prior.sample(n, label, generator)).clamp(0, 1)


def build_model(
    image_shape: tuple[int, int, int] = (1, 8, 8), classes: int = 3, active: int = 5
) -> OrthogonalModel:
    """A random orthogonal model; images stay well inside [0, 1] over the whole prior."""
    generator = torch.Generator().manual_seed(7)
    dim = image_shape[0] * image_shape[1] * image_shape[2]
    basis = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    dims = torch.randperm(dim, generator=generator)[:active]
    means = 0.2 * torch.randn(classes, active, generator=generator)
    stds = 0.05 + 0.2 * torch.rand(classes, active, generator=generator)
    shift = torch.full((dim,), 0.5)
    return OrthogonalModel(image_shape, GaussianPrior(means, stds, dims, dim), basis, shift)


@pytest.fixture
def model() -> OrthogonalModel:
    return build_model()


@pytest.fixture(scope="session")
def make_model():
    return build_model
