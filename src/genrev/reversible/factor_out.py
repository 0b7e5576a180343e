"""Stages of blocks between which half of the channels leave.

After every stage but the last, the second half of the channels is done: it goes into the output
as it is, and the next stage works on the first half. Coarse structure passes through all stages,
fine detail through the first ones only, which halves what every further stage has to compute::

    x -> stage 1 -> (h1, z1)    z = (z1, z2, ..., zK), each flattened,
    h1 -> stage 2 -> (h2, z2)   in the order in which they leave: fine to coarse
    ...
    hK-1 -> stage K -> zK

Every stage is a bijection and splitting only sorts numbers, so the whole is a bijection, exact
where the stages are, and its log-determinant is the sum of theirs.

References: Dinh et al., "Density estimation using Real NVP" (2017), Section 3.6.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genrev.reversible.execution import Engine
from genrev.reversible.sequential import ReversibleSequential

__all__ = ["FactorOut"]


class FactorOut(nn.Module):
    """Chains of blocks; half of the channels leave after each but the last.

    Args:
        stages: chains of one engine. Each is run by the engine on its
            own, so what is kept for the backward pass is the output of every stage.
        shapes: (C, H, W) of the output of every stage, before half of it leaves; C even.

    Raises:
        ValueError: no stage, or not one shape per stage.

    Example:
        >>> from genrev.reversible import CheckerboardSubsample
        >>> stages = [ReversibleSequential(CheckerboardSubsample()) for _ in range(2)]
        >>> net = FactorOut(stages, [(4, 2, 2), (8, 1, 1)])
        >>> x = torch.rand(3, 1, 4, 4)
        >>> z = net(x)
        >>> z.shape, torch.equal(net.inverse(z), x)
        (torch.Size([3, 16]), True)
    """

    def __init__(
        self, stages: Sequence[ReversibleSequential], shapes: Sequence[tuple[int, int, int]]
    ) -> None:
        super().__init__()
        if not stages or len(stages) != len(shapes):
            raise ValueError(f"{len(stages)} stages need as many shapes and got {len(shapes)}.")
        self.stages = nn.ModuleList(stages)
        self.shapes = [tuple(shape) for shape in shapes]

    def set_engine(self, engine: Engine) -> None:
        """Run all stages in another way from now on; see ``ReversibleSequential.set_engine``."""
        for stage in self._chains():
            stage.set_engine(engine)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to (N, D), D = C H W."""
        parts = []
        for stage in self._chains()[:-1]:
            x, leaving = stage(x).chunk(2, dim=1)
            parts.append(leaving.flatten(1))
        return torch.cat([*parts, self._chains()[-1](x).flatten(1)], dim=1)

    def forward_with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and log|det| of the Jacobian, (N,)."""
        parts, log_det = [], x.new_zeros(len(x))
        for stage in self._chains():
            x, change = stage.forward_with_log_det(x)
            log_det = log_det + change
            if stage is not self._chains()[-1]:
                x, leaving = x.chunk(2, dim=1)
                parts.append(leaving.flatten(1))
        return torch.cat([*parts, x.flatten(1)], dim=1), log_det

    def inverse(self, z: Tensor) -> Tensor:
        """Map (N, D) back to images (N, C, H, W)."""
        sizes = [c * h * w // 2 for c, h, w in self.shapes]
        sizes[-1] *= 2
        parts = z.split(sizes, dim=1)
        x = self._chains()[-1].inverse(_unflatten(parts[-1], self.shapes[-1]))
        for number in reversed(range(len(parts) - 1)):
            channels, height, width = self.shapes[number]
            leaving = _unflatten(parts[number], (channels // 2, height, width))
            x = self._chains()[number].inverse(torch.cat((x, leaving), dim=1))
        return x

    def _chains(self) -> list[ReversibleSequential]:
        return list(self.stages)  # type: ignore[arg-type]


def _unflatten(z: Tensor, shape: tuple[int, ...]) -> Tensor:
    return z.reshape(len(z), *shape)
