"""Priors on a few active dimensions of a latent space that has as many dimensions as pixels.

A RevNet cannot drop dimensions, so the prior lives on ``k`` chosen *active* dimensions and pins
the other ``n - k`` to zero. The paper takes those with the largest standard deviation in the
encodings of the untrained network (Schirrmeister et al. 2018, Section 3.1).

Three maps connect the full space (n) with the restricted one (k):

* ``restrict``: n to k, keep the active dimensions;
* ``embed``: k to n, fill the pinned ones with zeros;
* ``clamp``: n to n, project onto the restricted space: pinned dimensions to zero, active ones
  into [-bound, bound].
"""

import math

import torch
from torch import Tensor, nn

from genrev.priors.labels import Labels, check_count, labels_for

__all__ = ["ActiveGaussian", "ActivePrior", "ActiveUniform", "largest_std_dims"]


def largest_std_dims(stds: Tensor, k: int, coarse: int | None = None) -> Tensor:
    """Indices of the k largest standard deviations, in ascending order of index.

    Args:
        stds: standard deviation of every latent dimension, shape (D,).
        k: how many, between 1 and D.
        coarse: the last so many dimensions come before all others, whatever their standard
            deviations. In a hierarchical network they alone pass through all stages; what left
            before is fine detail, which varies as much and says little about an image.

    Returns:
        int64 tensor of shape (k,). Ties go to the smaller index, so the choice is reproducible.

    Raises:
        ValueError: k out of range.

    Example:
        >>> largest_std_dims(torch.tensor([0.1, 3.0, 0.2, 3.0]), 2).tolist()
        [1, 3]
        >>> largest_std_dims(torch.tensor([0.1, 3.0, 0.2, 3.0]), 2, coarse=2).tolist()
        [2, 3]
    """
    if not 1 <= k <= len(stds):
        raise ValueError(f"active_dims must lie between 1 and {len(stds)} and is {k}.")
    order = torch.sort(stds, descending=True, stable=True).indices
    if coarse is not None:
        fine = order < len(stds) - coarse
        order = torch.cat((order[~fine], order[fine]))
    return order[:k].sort().values.cpu()


class ActivePrior(nn.Module):
    """What all priors on active dimensions share; see the module's text.

    Args:
        dim: size n of the full latent space.
        active_dims: indices of the active dimensions, shape (k,); ``None`` makes all active.
        bound: ``clamp`` cuts active dimensions to [-bound, bound]; ``None`` leaves them alone.

    Raises:
        ValueError: indices out of range or repeated, or a bound that is not positive.
    """

    active_dims: Tensor

    def __init__(
        self, dim: int, active_dims: Tensor | None = None, bound: float | None = 2.0
    ) -> None:
        super().__init__()
        active = torch.arange(dim) if active_dims is None else active_dims.detach().cpu().long()
        _check_active_dims(active, dim)
        if bound is not None and not bound > 0:
            raise ValueError(f"bound must be positive or None and is {bound}.")
        self.dim = dim
        self.bound = bound
        self.num_classes = 1
        self.register_buffer("active_dims", active)

    def check(self) -> None:
        """Check the active dimensions again, after they were loaded from a file.

        Raises:
            ValueError: indices out of range or repeated.
        """
        _check_active_dims(self.active_dims, self.dim)

    def restrict(self, z: Tensor) -> Tensor:
        """Keep the active dimensions: (N, n) to (N, k)."""
        return z.index_select(1, self.active_dims)

    def embed(self, active: Tensor) -> Tensor:
        """Fill the pinned dimensions with zeros: (N, k) to (N, n)."""
        full = active.new_zeros(active.shape[0], self.dim)
        return full.index_copy(1, self.active_dims, active)

    def clamp(self, z: Tensor) -> Tensor:
        """Project onto the restricted latent space: (N, n) to (N, n)."""
        active = self.restrict(z)
        if self.bound is not None:
            active = active.clamp(-self.bound, self.bound)
        return self.embed(active)

    def sample(
        self,
        n: int,
        label: Labels = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw n latents, shape (n, dim); noise comes from the CPU generator on every device.

        Raises:
            TypeError: n or a label is no whole number.
            ValueError: n is negative, or a label is no class of this prior.
        """
        return self.embed(self._sample_active(check_count(n), label, generator))

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """What ``from_noise`` turns into samples, shape (n, k), drawn on the CPU."""
        return torch.randn(n, len(self.active_dims), generator=generator)

    def from_noise(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (N, n) from the noise (N, k) that they are drawn with; nothing is random here.

        Args:
            noise: as ``noise`` draws it.
            labels: int64 classes (N,), for a prior that has classes.
        """
        return self.embed(self._shaped(noise, labels))

    def center(self, label: int | None = None) -> Tensor:
        """Mean of every dimension, shape (dim,)."""
        del label
        return self.embed(self.active_dims.new_zeros(1, len(self.active_dims)).float())[0]

    def scale(self, label: int | None = None) -> Tensor:
        """Standard deviation of every dimension, shape (dim,); 0 where pinned."""
        del label
        std = torch.full((1, len(self.active_dims)), self._active_std())
        return self.embed(std.to(self.active_dims.device))[0]

    def _sample_active(self, n: int, label: Labels, generator: torch.Generator | None) -> Tensor:
        noise = self.noise(n, generator).to(self.active_dims.device)
        return self._shaped(noise, self._labels(n, label))

    def _labels(self, n: int, label: Labels) -> Tensor | None:
        # Data may have classes where the prior has none; one that is asked for is a mistake.
        if not isinstance(label, Tensor):
            labels_for(n, label, 1)
        return None

    def _shaped(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        raise NotImplementedError

    def _active_std(self) -> float:
        raise NotImplementedError


class ActiveGaussian(ActivePrior):
    """Standard normal on the active dimensions, zero elsewhere.

    Example:
        >>> prior = ActiveGaussian(6, torch.tensor([1, 4]))
        >>> z = torch.tensor([[9.0, 9.0, 9.0, 9.0, -0.5, 9.0]])
        >>> prior.clamp(z)
        tensor([[ 0.0000,  2.0000,  0.0000,  0.0000, -0.5000,  0.0000]])
        >>> prior.sample(3, generator=torch.Generator().manual_seed(0))[:, 0]
        tensor([0., 0., 0.])
    """

    def _shaped(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        del labels
        return noise

    def _active_std(self) -> float:
        return 1.0


class ActiveUniform(ActivePrior):
    """Uniform on [-bound, bound] on the active dimensions, zero elsewhere.

    Raises:
        ValueError: no bound.
    """

    def __init__(
        self, dim: int, active_dims: Tensor | None = None, bound: float | None = 2.0
    ) -> None:
        super().__init__(dim, active_dims, bound)
        if bound is None:
            raise ValueError("a uniform prior needs a bound.")
        self._half_width = bound

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform on [0, 1), shape (n, k)."""
        return torch.rand(n, len(self.active_dims), generator=generator)

    def _shaped(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        del labels
        return (2 * noise - 1) * self._half_width

    def _active_std(self) -> float:
        return self._half_width / math.sqrt(3)


def _check_active_dims(active: Tensor, dim: int) -> None:
    if len(active) == 0 or active.min() < 0 or active.max() >= dim:
        raise ValueError(f"active dimensions must be indices from 0 to {dim - 1}.")
    if len(active.unique()) != len(active):
        raise ValueError("active dimensions must not repeat.")
