r"""The optimiser of a step: Adam, and Muon for the matrices of a network.

**Muon** keeps a momentum of the gradients of every weight with two dimensions or more and steps
along the nearest matrix with orthonormal rows, so that all directions in a weight move by as much,
and not only the few that most images agree on. A few Newton-Schulz steps get close enough to that:
the polynomial :math:`p(A) = 3.4445 - 4.775 A + 2.0315 A^2` in the Gram matrix :math:`A = M M^T`
takes singular values to about 1. The products are those of the short side alone,
:math:`M \mapsto p(A_5) \cdots p(A_1) M` with :math:`A_{i+1} = p(A_i) A_i p(A_i)`.

A convolution is a matrix of output channels by everything else, or of input channels, if these are
fewer. Biases, and all other numbers, are for Adam.

Reference: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

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
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:  # by Adam's names, which reads what a checkpoint has
                state["step"] = torch.zeros(())
                state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg"].lerp_(weight.grad, 1 - _MOMENTUM)
            ahead = weight.grad.lerp(state["exp_avg"], _MOMENTUM)
            with torch.autocast(weight.device.type, enabled=False):  # gram matrices need float32
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(group["lr"] * orthogonalised(ahead))


def orthogonalised(gradient: Tensor) -> Tensor:
    """A tensor like the gradient (out, in, ...), whose singular values are about 1.

    Example:
        >>> step = orthogonalised(torch.randn(4, 8, 3, 3))
        >>> values = torch.linalg.svdvals(step.flatten(1))
        >>> step.shape, bool(((values > 0.5) & (values < 1.5)).all())
        (torch.Size([4, 8, 3, 3]), True)
    """
    by_input = gradient.shape[1] < gradient.shape[0]
    turned = gradient.transpose(0, 1) if by_input else gradient
    matrix = turned.flatten(1)
    matrix = matrix / matrix.norm().clamp(min=_LEAST)
    constant, linear, square = _COEFFICIENTS
    gram, product = matrix @ matrix.T, None
    for _ in range(_ITERATIONS):
        factor = linear * gram + square * (gram @ gram)
        factor.diagonal().add_(constant)
        product = factor if product is None else factor @ product
        gram = factor @ gram @ factor
    assert product is not None
    found = (product @ matrix).view_as(turned)
    return found.transpose(0, 1) if by_input else found
