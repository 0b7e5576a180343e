"""What f and g of a conditional coupling take beside their stream, and a pair of layers that does.

A **context** says what is known of an image: a vector of features (N, K), the same for all pixels,
or a map of them (N, K, H, W). It adds a learned combination of its features to the hidden channels,

.. math:: f(x, c) = W_2 * \\mathrm{relu}(W_1 * x + b_1 + V c) + b_2 ,

at every pixel that of this pixel. For a vector that is a bias for every hidden channel: what it
would compute as further channels of the input, for one small product in place of a wider
convolution. Subsampling makes streams smaller from stage to stage; a map is averaged down to their
size.

References: Ardizzone et al., "Guided image generation with conditional invertible neural networks"
(2019); Winkler et al., "Learning likelihoods with conditional normalizing flows" (2019).
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from genrev.reversible.engine.execution import transformed

_POOLS = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


class ContextPair(nn.Sequential):
    """Two layers with a ReLU between them, and a context: f or g of a conditional coupling.

    Args:
        first: from the stream to the hidden channels, ``out_channels`` of them: a convolution of
            signals, images or volumes that keeps their size.
        last: from the hidden channels to the output.
        features: number K of features of the context.

    Example:
        >>> from genrev.reversible import AdditiveCoupling, SmallMapConv2d
        >>> f, g = (
        ...     ContextPair(SmallMapConv2d(2, 8), SmallMapConv2d(8, 2), features=5) for _ in "fg"
        ... )
        >>> block = AdditiveCoupling(f, g, conditional=True)
        >>> x, context = torch.rand(3, 4, 8, 8), torch.rand(3, 5)
        >>> torch.allclose(block.inverse(block(x, context), context), x, atol=1e-6)
        True
    """

    repeatable: ClassVar[bool] = True

    def __init__(self, first: nn.Module, last: nn.Module, features: int) -> None:
        super().__init__(first, nn.ReLU(), last)
        self.context = nn.Linear(features, int(first.out_channels), bias=False)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor) -> Tensor:  # type: ignore[override]
        """Map (N, in_channels, ...) to (N, out_channels, ...), with a context (N, K) or a map."""
        modules: Any = self._modules
        hidden = modules["0"](x)
        context = self.context(at_size(context, x).movedim(1, -1)).movedim(-1, 1)
        return modules["2"](modules["1"](hidden + context))


def at_size(context: Tensor, x: Tensor) -> Tensor:
    """A context that can be added to the channels of x, (N, C, ...): (N, K, 1, ...), or pooled.

    Raises:
        ValueError: a map that is no whole number of times as large as x.
    """
    sizes, wanted = context.shape[2:], x.shape[2:]
    if not sizes:
        return context.reshape(*context.shape, *[1] * len(wanted))
    fits = len(sizes) == len(wanted) and not any(map(lambda a, b: a % b, sizes, wanted))
    if not fits:
        raise ValueError(
            f"A map of {'x'.join(map(str, sizes))} cannot be averaged to one of "
            f"{'x'.join(map(str, wanted))}; give a context as large as the images."
        )
    ratios = [a // b for a, b in zip(sizes, wanted, strict=True)]
    pool: Any = _POOLS[len(sizes) - 1]
    return pool(context, ratios) if set(ratios) != {1} else context


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Classes (N,), or one (), as features (N, K) or (K,).

    On a device the host does not look at them: a number that is no class then is no feature.

    Raises:
        ValueError: a number that is no class.
    """
    looks = not (torch.compiler.is_compiling() or transformed())
    if looks and labels.device.type == "cpu" and labels.numel():
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            raise ValueError(
                f"context has labels from {low} to {high}, and the network knows classes from 0 to "
                f"{classes - 1}."
            )
    return (labels.unsqueeze(-1) == torch.arange(classes, device=labels.device)).to(dtype)
