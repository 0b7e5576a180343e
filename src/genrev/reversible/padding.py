"""Zero padding: injective, not bijective, so it has a one-sided inverse only."""

from torch import Tensor, nn
from torch.nn import functional

from genrev.reversible.coupling import check_image_batch

__all__ = ["ZeroPad"]


class ZeroPad(nn.Module):
    """Surround images by ``padding`` zero pixels on every side.

    Cropping undoes padding, ``left_inverse(forward(x)) == x``. The reverse does not hold:
    ``forward(left_inverse(y))`` equals y only where the border of y is zero. A network that
    starts with padding therefore encodes every image without loss, but not every latent is the
    encoding of an image.

    Example:
        >>> import torch
        >>> pad = ZeroPad(2)
        >>> x = torch.rand(1, 1, 28, 28)
        >>> pad(x).shape, torch.equal(pad.left_inverse(pad(x)), x)
        (torch.Size([1, 1, 32, 32]), True)
    """

    def __init__(self, padding: int) -> None:
        super().__init__()
        if padding < 0:
            raise ValueError(f"padding must be 0 or more and is {padding}.")
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H + 2 padding, W + 2 padding)."""
        check_image_batch(x, "ZeroPad")
        return functional.pad(x, (self.padding,) * 4)

    def left_inverse(self, y: Tensor) -> Tensor:
        """Crop (N, C, H + 2 padding, W + 2 padding) to (N, C, H, W), whatever the border holds."""
        check_image_batch(y, "ZeroPad.left_inverse")
        height, width = (size - 2 * self.padding for size in y.shape[2:])
        if min(height, width) < 0:
            raise ValueError(
                f"cannot crop {self.padding} pixels off every side of {y.shape[2]}x{y.shape[3]}."
            )
        return y[:, :, self.padding : self.padding + height, self.padding : self.padding + width]
