r"""Lifting: a fixed linear change of channels, taken apart into shears that can be undone exactly.

The channels are cut into equal groups, and each step shifts one group by a multiple of another,

    x_i <- x_i + c x_j,        undone by        x_i <- x_i - c x_j,

which is an additive coupling whose network is multiplication by a number. Hence everything an
additive coupling offers: volumes are preserved, and in fixed point the shift is rounded and the
inverse has no error at all, even where the matrix as a whole has irrational entries.

* ``HaarBands`` after a subsampling turns the four pixels of a 2x2 patch into their mean (times 2)
  and three differences: the first level of the Haar wavelet.
* ``LumaChroma`` turns red, green and blue into brightness and two colour differences.

Natural images are smooth, and their colours vary less than their brightness does. In pixels, a
smooth image has four equal numbers in each patch, all of which have to be right; errors that
differ between them are grain. In these coordinates it has zeros, which is what clamped latents are.

References: Daubechies and Sweldens, "Factoring wavelet transforms into lifting steps" (1998);
Malvar and Sullivan, "YCoCg-R: a color space with RGB reversibility and low dynamic range" (2003).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.autograd import Function

from genrev.reversible.block import Block, check_dims
from genrev.reversible.engine.execution import batched, transformed
from genrev.reversible.engine.replay import Replay
from genrev.reversible.shapes import positions
from genrev.reversible.stream import (
    CHANNELS_LAST,
    CONTIGUOUS,
    FixedPoint,
    Halves,
    as_parts,
    halves,
    joined,
    parts,
    shaped,
    shifted,
    value,
    whole,
)

_Pairs: TypeAlias = Sequence[tuple[int, int]]  # of groups of channels


class Shear(NamedTuple):
    """One step: group ``target`` plus ``factor`` times group ``source``."""

    target: int
    source: int
    factor: float


class Lifting(Block):
    """Shear groups of channels, one step after the other.

    Args:
        groups: number of equal groups that the channels are cut into.
        steps: the shears, in the order in which ``forward`` does them; each between two groups.

    Example:
        >>> import torch
        >>> block = Lifting(2, [Shear(1, 0, -1.0), Shear(0, 1, 0.5)])  # mean and difference
        >>> block(torch.tensor([3.0, 7.0]).reshape(1, 2, 1, 1)).flatten().tolist()
        [5.0, 4.0]
    """

    preserves_volume = preserves_grid = repeatable = True  # every shear has determinant 1
    least, most = 2, 5  # dimensions of a stream

    def __init__(self, groups: int, steps: Sequence[Shear]) -> None:
        super().__init__()
        for step in steps:
            pair = {step.target, step.source}
            if len(pair) < 2 or not pair <= set(range(groups)):
                raise ValueError(f"{step} needs two different groups out of {groups}.")
        self.groups = groups
        self.steps = tuple(steps)
        # Where no step crosses from one half of the channels into the other, they stay apart.
        sides = [{target < groups // 2, source < groups // 2} for target, source, _ in self.steps]
        self._in_halves = groups % 2 == 0 and all(len(side) == 1 for side in sides)

    def forward(self, x: Any) -> Any:
        """Map x (N, C, ...) to y of the same shape; C must be a multiple of ``groups``."""
        return whole(self._halved(x, inverse=False))

    def inverse(self, y: Any) -> Any:
        """Map y (N, C, ...) back to x of the same shape."""
        return whole(self._halved(y, inverse=True))

    def worth_keeping(self, values: int) -> None:
        """``None``: the gradient of a linear map needs no activations; see ``Block``."""

    def backtrack(
        self, y: Any, grad: Any, replay: Replay, inverse: bool, grad_log_det: Tensor | None = None
    ) -> tuple[Any, Any]:
        """Undo ``forward`` (or ``inverse``) and pull a gradient back; see ``AdditiveCoupling``.

        The transpose of a shear is the shear the other way round::

            given y_i = x_i + c x_j         dx_j = dy_j + c dy_i
        """
        grad = as_parts(grad, len(parts(grad)))
        grads = self._cut(grad)
        for target, source, factor in self.steps if inverse else self.steps[::-1]:
            grads[source] = grads[source] + (-factor if inverse else factor) * grads[target]
        return self._halved(y, not inverse), self._together(grads, grad)

    def _halved(self, x: Any, inverse: bool) -> Any:
        x = as_parts(x, len(parts(x)))
        groups = self._cut(x)
        for target, source, factor in self.steps[::-1] if inverse else self.steps:
            shift = factor * value(groups[source])
            groups[target] = shifted(groups[target], shift, -1 if inverse else 1)
        return self._together(groups, x)

    def _cut(self, x: Any) -> list[Any]:
        """The groups of channels of a stream, be it in halves."""
        name, halves = type(self).__name__, parts(x)
        for part in halves:
            check_dims(shaped(part), name, self.least, self.most)
        channels = sum(shaped(part).shape[1] for part in halves)
        if channels % self.groups:
            raise ValueError(
                f"{name} takes a multiple of {self.groups} channels and got {channels}."
            )
        return [group for part in halves for group in part.chunk(self.groups // len(halves), 1)]

    def _together(self, groups: list[Any], x: Any) -> Any:
        if not isinstance(x, Halves):
            return joined(groups, CONTIGUOUS)
        middle = self.groups // 2
        return halves([joined(groups[:middle], CONTIGUOUS), joined(groups[middle:], CONTIGUOUS)])


class HaarBands(Lifting):
    r"""Turn the four pixels of every 2x2 patch, after a subsampling, into bands of a Haar wavelet.

    Of a patch with rows (a, b) and (c, d), which ``CheckerboardSubsample`` delivers as a, d, b, c:

    .. math:: \tfrac12 \begin{pmatrix} 1&1&1&1\\ 1&1&-1&-1\\ -1&1&1&-1\\ -1&1&-1&1 \end{pmatrix}
              \begin{pmatrix} a\\d\\b\\c \end{pmatrix}

    which are twice the mean, then the diagonal, the horizontal and the vertical difference. The
    matrix is orthogonal: it is four rotations by 45 degrees. In fixed point a rotation is three
    shears; in floating point it is a sum and a difference, and its inverse the transpose.

    Signals and volumes have one and three axes: sums and differences along each.

    Args:
        channels: of the map before the subsampling; like there, an even number is two halves that
            are transformed by themselves.
        dims: number of axes: 1, 2 or 3.

    Example:
        >>> import torch
        >>> from genrev.reversible import CheckerboardSubsample
        >>> patch = torch.tensor([1.0, 3.0, 1.0, 3.0]).reshape(1, 1, 2, 2)  # slopes to the right
        >>> HaarBands(1)(CheckerboardSubsample()(patch)).flatten().round(decimals=5).tolist()
        [4.0, 0.0, 2.0, 0.0]
    """

    repeatable = True

    def __init__(self, channels: int, dims: int = 2) -> None:
        places = positions(dims)
        sides = 2 if channels % 2 == 0 else 1
        pairs = []  # along the last axis first: rows, then columns of their sums and differences
        for axis in reversed(range(dims)):
            for i, place in enumerate(places):
                if place[axis] == 0:
                    other = (*place[:axis], 1, *place[axis + 1 :])
                    pairs.append((i, places.index(other)))
        count = len(places)
        both = [(count * half + i, count * half + j) for half in range(sides) for i, j in pairs]
        self.least = self.most = 2 + dims
        super().__init__(count * sides, [shear for pair in both for shear in _rotation(*pair)])
        self._pairs = {count * sides: both, count: pairs}  # by the number of groups in a tensor

    def backtrack(
        self, y: Any, grad: Any, replay: Replay, inverse: bool, grad_log_det: Tensor | None = None
    ) -> tuple[Any, Any]:
        """Undo ``forward`` (or ``inverse``) and pull a gradient back; see ``Lifting.backtrack``."""
        if isinstance(parts(y)[0], FixedPoint):
            return super().backtrack(y, grad, replay, inverse, grad_log_det)
        return self._halved(y, not inverse), self._halved(grad, not inverse)

    def _halved(self, x: Any, inverse: bool) -> Any:
        if isinstance(parts(x)[0], FixedPoint):
            return super()._halved(x, inverse)
        x = as_parts(x, len(parts(x)) if self._in_halves else 1)
        pairs = self._pairs[len(self._cut(x)) // len(parts(x))]
        rotated = [_rotated(value(part), pairs, inverse) for part in parts(x)]
        return halves(rotated) if isinstance(x, Halves) else rotated[0]


class LumaChroma(Lifting):
    """Turn red, green, blue into brightness and two differences of colours, YCoCg-R.

    With R, G, B in [0, 1]: Y = (R + 2 G + B) / 4 in [0, 1], Co = R - B and
    Cg = G - (R + B) / 2, both in [-1, 1]; the channels are Co, Cg, Y.

    Example:
        >>> import torch
        >>> LumaChroma()(torch.full((1, 3, 1, 1), 0.25)).flatten().tolist()  # grey has no colour
        [0.0, 0.0, 0.25]
    """

    repeatable = True

    def __init__(self) -> None:
        red, green, blue = range(3)  # become Co, Cg, Y
        steps = (red, blue, -1.0), (blue, red, 0.5), (green, blue, -1.0), (blue, green, 0.5)
        super().__init__(3, [Shear(*step) for step in steps])


def _rotation(i: int, j: int) -> list[Shear]:
    """Groups i and j become (i + j) / sqrt 2 and (j - i) / sqrt 2."""
    half, sine = math.tan(math.pi / 8), math.sin(math.pi / 4)
    return [Shear(i, j, half), Shear(j, i, -sine), Shear(i, j, half)]


class _Rotated(Function):
    """Rotations, of which nothing has to be kept: the gradient is rotated back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, pairs: _Pairs, inverse: bool) -> Tensor:
        ctx.pairs, ctx.inverse = pairs, inverse
        return _sums_and_differences(x, pairs, inverse)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _rotated(grad, ctx.pairs, not ctx.inverse), None, None


def _rotated(x: Tensor, pairs: _Pairs, inverse: bool) -> Tensor:
    """Rotate pairs of groups of channels by 45 degrees, one pair after the other, or back."""
    looks_on = transformed() or torch.compiler.is_compiling()
    if x.requires_grad and torch.is_grad_enabled() and not looks_on:
        return _Rotated.apply(x, pairs, inverse)
    return _sums_and_differences(x, pairs, inverse)


def _sums_and_differences(x: Tensor, pairs: _Pairs, inverse: bool) -> Tensor:
    count = 1 + max(place for pair in pairs for place in pair)
    groups = list(x.chunk(count, 1))
    for i, j in reversed(pairs) if inverse else pairs:
        a, b = groups[i], groups[j]
        groups[i], groups[j] = (a - b, a + b) if inverse else (a + b, b - a)
    order = CONTIGUOUS
    if x.dim() == 4 and not (transformed() or batched(x)):  # whose strides cannot be asked for
        order = CHANNELS_LAST if x.is_contiguous(memory_format=torch.channels_last) else order
    times = 2 * len(pairs) // count  # that a group was rotated
    return joined(groups, order).mul_(2 ** (-times / 2))
