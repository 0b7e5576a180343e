r"""Affine coupling: shift and stretch each half of the channels by functions of the other half.

::

    forward                                inverse
    y1 = x1 exp(s_f(x2)) + t_f(x2)         x2 = (y2 - t_g(y1)) exp(-s_g(y1))
    y2 = x2 exp(s_g(y1)) + t_g(y1)         x1 = (y1 - t_f(x2)) exp(-s_f(x2))

The Jacobian is a product of two triangular matrices with :math:`\exp(s)` on their diagonals, so

.. math:: \log |\det J| = \sum s_f(x_2) + \sum s_g(y_1) .

Unlike the additive coupling, the block can make room where images are frequent and take it where
they are not. The price: its log-determinant depends on the input, and products do not stay on a
fixed-point grid, so ``exact=True`` is not for it.

**Bounded stretching.** :math:`s = a \tanh(r)` with r from the network and a learned factor per
channel, so that one unlucky step cannot blow the stream up.

References: Dinh et al., "Density estimation using Real NVP" (2017), Sections 3.2 to 3.4.
"""

import torch
from torch import Tensor, nn

from genrev.reversible.coupling import preferred_order, refuse_batch_norm, split_channels
from genrev.reversible.layout import Order, cat_channels
from genrev.reversible.stream import value

__all__ = ["AffineCoupling"]


class AffineCoupling(nn.Module):
    """Shift and stretch each half of the channels by functions of the other half.

    Args:
        f: network from the second stream, (N, C/2, H, W), to log-scales (before they are bounded)
            and shifts of the first, (N, C, H, W), log-scales first.
        g: the same from the first stream to the second.
        channels: number C of channels of the whole stream, even.

    Raises:
        ValueError: ``f`` or ``g`` contains batch normalisation, or an odd number of channels.

    Example:
        >>> block = AffineCoupling(nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1), 4).double()
        >>> x = torch.rand(3, 4, 8, 8, dtype=torch.float64)
        >>> y, log_det = block.forward_with_log_det(x)
        >>> torch.allclose(block.inverse(y), x, atol=1e-12), log_det.shape
        (True, torch.Size([3]))
    """

    def __init__(self, f: nn.Module, g: nn.Module, channels: int) -> None:
        super().__init__()
        refuse_batch_norm(f, "f")
        refuse_batch_norm(g, "g")
        if channels % 2 or channels < 2:
            raise ValueError(f"AffineCoupling needs an even number of channels, not {channels}.")
        self.f = f
        self.g = g
        self.f_bound = nn.Parameter(torch.ones(channels // 2, 1, 1))
        self.g_bound = nn.Parameter(torch.ones(channels // 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, C, H, W) to y of the same shape."""
        return self.forward_with_log_det(x)[0]

    def forward_with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x to y, (N, C, H, W), and give log|det| of the Jacobian there, (N,)."""
        order = preferred_order(self.f, value(x))
        x1, x2 = split_channels(x, order, "AffineCoupling")  # (N, C/2, H, W) each
        s_f, t_f = self._scale_and_shift("f", x2, order)
        y1 = x1 * s_f.exp() + t_f
        s_g, t_g = self._scale_and_shift("g", y1, order)
        y2 = x2 * s_g.exp() + t_g
        log_det = s_f.sum((1, 2, 3)) + s_g.sum((1, 2, 3))
        return cat_channels([y1, y2], order), log_det

    def inverse(self, y: Tensor) -> Tensor:
        """Map y (N, C, H, W) back to x of the same shape."""
        order = preferred_order(self.f, value(y))
        y1, y2 = split_channels(y, order, "AffineCoupling")  # (N, C/2, H, W) each
        s_g, t_g = self._scale_and_shift("g", y1, order)
        x2 = (y2 - t_g) * (-s_g).exp()
        s_f, t_f = self._scale_and_shift("f", x2, order)
        x1 = (y1 - t_f) * (-s_f).exp()
        return cat_channels([x1, x2], order)

    def _scale_and_shift(self, name: str, stream: Tensor, order: Order) -> tuple[Tensor, Tensor]:
        """Log-scales and shifts of the other stream, (N, C/2, H, W) each."""
        outputs = self.get_submodule(name)(stream)
        n, half, height, width = stream.shape
        if outputs.shape != (n, 2 * half, height, width):
            raise ValueError(
                f"{name} maps {tuple(stream.shape)} to {tuple(outputs.shape)}; in an affine "
                "coupling it must double the channels and keep the rest."
            )
        # The stream's precision, whatever autocast gives f: errors of s are multiplied.
        raw, shift = split_channels(outputs.to(stream.dtype), order, "AffineCoupling")
        bound = self.f_bound if name == "f" else self.g_bound
        return bound * raw.tanh(), shift
