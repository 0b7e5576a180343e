r"""The optimiser of a step: Adam, and Muon for the matrices of a network.

**Muon** keeps a momentum of the gradients of every weight with two dimensions or more and steps
along the nearest matrix with orthonormal rows, so that all directions in a weight move by as much,
and not only the few that most images agree on. A few Newton-Schulz steps get close enough to that:
the polynomial :math:`p(A) = 3.4445 - 4.775 A + 2.0315 A^2` in the Gram matrix :math:`A = M M^T`
takes singular values to about 1. The products are those of the short side alone,
:math:`M \mapsto p(A_5) \cdots p(A_1) M` with :math:`A_{i+1} = p(A_i) A_i p(A_i)`.

A convolution is a matrix of output channels by everything else, or of input channels, if these are
fewer. Matrices of one size are multiplied together: on a GPU, the many small products of a network
would take longer to start than to compute. Biases, and all other numbers, are for Adam.

Reference: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
"""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from genrev.models.devices import tf32

_ITERATIONS = 5
_COEFFICIENTS = 3.4445, -4.7750, 2.0315
_MOMENTUM = 0.95
_LEAST = 1e-7  # norm of a momentum


class StepOptimizer(Adam):
    """Adam, and Muon in the groups of parameters that have ``muon`` set to true.

    It takes its step where the losses are computed, and not when a trainer counts it, ``taken``.
    """

    taken = False

    def step(self, closure: Any = None) -> Any:
        """Update the weights, unless that has been done."""
        if self.taken:
            return None if closure is None else closure()
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group.get("muon")]
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group.get("muon"):
                self._muon(group)
        return loss

    def suit(self, device: torch.device) -> None:
        """On CUDA one kernel updates all weights, and all that it reads is there."""
        fused = device.type == "cuda"
        for group in self.param_groups:
            rate = group["lr"]
            there = isinstance(rate, Tensor) and rate.device == device
            if group["capturable"] == fused and there == fused:
                continue
            group["fused"] = fused or None
            group["capturable"] = fused
            if fused:
                group["lr"] = torch.tensor(float(rate), device=device)
            elif isinstance(rate, Tensor):
                group["lr"] = float(rate)
            for parameter in group["params"]:
                state = self.state.get(parameter, {})
                if "step" in state:
                    state["step"] = state["step"].to(device if fused else "cpu")

    @torch.no_grad()
    def _muon(self, group: dict[str, Any]) -> None:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            return
        for weight in weights:
            state = self.state[weight]
            if not state:  # by Adam's names, which reads what a checkpoint has
                state["step"] = torch.zeros(())
                state["exp_avg"] = torch.zeros_like(weight)
        gradients = [weight.grad for weight in weights]
        momenta = [self.state[weight]["exp_avg"] for weight in weights]
        torch._foreach_lerp_(momenta, gradients, 1 - _MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, _MOMENTUM)
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for pair in zip(weights, ahead, strict=True):
            weight, direction = map(_short_side_first, pair)
            alike[weight.shape].append((weight, direction))
        # Fewer digits than float32 has would lose small singular values in the Gram matrices.
        with torch.autocast(weights[0].device.type, enabled=False), tf32(False):
            for pairs in alike.values():
                directions = torch.stack([direction for _, direction in pairs])
                steps = orthogonalised(directions.flatten(2)).view_as(directions)
                steps *= group["lr"]
                for (weight, _), step in zip(pairs, steps, strict=True):
                    weight.sub_(step)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices of the same singular vectors, whose singular values are about 1.

    Args:
        matrices: (..., m, n) in float32 or float64; m is better not above n, since all products
            but two are of m x m.

    Example:
        >>> step = orthogonalised(torch.randn(2, 8, 36))
        >>> values = torch.linalg.svdvals(step)
        >>> step.shape, bool(((values > 0.5) & (values < 1.5)).all())
        (torch.Size([2, 8, 36]), True)
    """
    normed = matrices.flatten(0, -3) if matrices.dim() > 2 else matrices.unsqueeze(0)
    normed = normed / torch.linalg.matrix_norm(normed, keepdim=True).clamp(min=_LEAST)
    constant, linear, square = _COEFFICIENTS
    gram, product = normed @ normed.mT, None
    for iteration in range(_ITERATIONS):
        factor = torch.baddbmm(gram, gram, gram, beta=linear, alpha=square)
        factor.diagonal(dim1=1, dim2=2).add_(constant)
        product = factor if product is None else factor @ product
        if iteration < _ITERATIONS - 1:
            gram = factor @ gram @ factor
    assert product is not None
    return (product @ normed).view_as(matrices)


def _short_side_first(weight: Tensor) -> Tensor:
    """A weight (out, in, ...), or a view of it with input channels first where these are fewer."""
    return weight.transpose(0, 1) if weight.shape[1] < weight.shape[0] else weight
