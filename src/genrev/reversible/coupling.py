"""Additive coupling: the invertible block of the RevNet.

The input is split along its channels into two streams x1 and x2, and each stream is
shifted by a function of the other one::

    forward                     inverse
    y1 = x1 + f(x2)             x2 = y2 - g(y1)
    y2 = x2 + g(y1)             x1 = y1 - f(x2)

No inverse of ``f`` or ``g`` is needed, so both may be arbitrary networks. The Jacobian is a
product of two unit triangular matrices: its determinant is 1, volumes are preserved.

References: Dinh et al., "NICE" (2015); Gomez et al., "The Reversible Residual Network" (2017);
Schirrmeister et al., "Training Generative Reversible Networks" (2018), Section 2.1.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["AdditiveCoupling", "check_image_batch"]


class AdditiveCoupling(nn.Module):
    r"""Shift each half of the channels by a function of the other half.

    .. math:: y_1 = x_1 + f(x_2), \qquad y_2 = x_2 + g(y_1)

    x1 and y1 are the first half of the channels.

    Args:
        f: network from the second stream to the first, (N, C/2, H, W) to (N, C/2, H, W).
        g: network from the first stream to the second, same shapes.

    Raises:
        ValueError: ``f`` or ``g`` contains batch normalisation.

    Example:
        >>> block = AdditiveCoupling(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)).double()
        >>> x = torch.rand(3, 4, 8, 8, dtype=torch.float64)
        >>> torch.allclose(block.inverse(block(x)), x, atol=1e-12)
        True
    """

    def __init__(self, f: nn.Module, g: nn.Module) -> None:
        super().__init__()
        _refuse_batch_norm(f, "f")
        _refuse_batch_norm(g, "g")
        self.f = f
        self.g = g

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, C, H, W) to y of the same shape; C must be even."""
        x1, x2 = self._split(x)  # (N, C/2, H, W) each
        y1 = x1 + self._shift(self.f, x2, "f")
        y2 = x2 + self._shift(self.g, y1, "g")
        return torch.cat((y1, y2), dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """Map y (N, C, H, W) back to x of the same shape; C must be even."""
        y1, y2 = self._split(y)  # (N, C/2, H, W) each
        x2 = y2 - self._shift(self.g, y1, "g")
        x1 = y1 - self._shift(self.f, x2, "f")
        return torch.cat((x1, x2), dim=1)

    @staticmethod
    def _split(x: Tensor) -> tuple[Tensor, Tensor]:
        check_image_batch(x, "AdditiveCoupling")
        if x.shape[1] % 2:
            raise ValueError(
                f"AdditiveCoupling splits the channels in two halves and got {x.shape[1]} of them; "
                "subsample first or pad to an even number of channels."
            )
        x1, x2 = x.chunk(2, dim=1)
        return x1, x2

    @staticmethod
    def _shift(network: nn.Module, stream: Tensor, name: str) -> Tensor:
        shift = network(stream)
        # A shift that broadcasts would still invert, but it is never what was meant.
        if shift.shape != stream.shape:
            raise ValueError(
                f"{name} maps {tuple(stream.shape)} to {tuple(shift.shape)}; "
                "in an additive coupling it must keep the shape."
            )
        return shift


def check_image_batch(x: Tensor, block: str) -> None:
    """Raise ``ValueError`` unless x has the four dimensions (N, C, H, W)."""
    if x.dim() != 4:
        raise ValueError(f"{block} takes images (N, C, H, W) and got shape {tuple(x.shape)}.")


def _refuse_batch_norm(network: nn.Module, name: str) -> None:
    for path, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            where = f"{name}.{path}" if path else name
            raise ValueError(
                f"{where} is a {type(module).__name__}: batch statistics differ between the "
                "forward and the inverse pass, so the block would not be invertible; use "
                "GroupNorm or LayerNorm instead."
            )
