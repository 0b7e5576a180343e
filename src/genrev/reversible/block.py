"""The contract of an invertible block.

A block of one's own needs ``forward`` and ``inverse`` and is run and differentiated in every way
that a chain can be. What else it says of itself allows more: log-determinants, and an exact stream.

>>> class Flip(Block):
...     '''Mirror images.'''
...
...     is_permutation = True
...
...     def forward(self, x):
...         return x.flip(3)
...
...     def inverse(self, y):
...         return y.flip(3)
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from torch import Tensor, nn

from genrev.reversible.engine.replay import Replay
from genrev.reversible.stream import FixedPoint, moved, value, whole


class Block(nn.Module, ABC):
    """An invertible map, with what a chain has to know of it.

    Attributes:
        is_permutation: it moves numbers about and changes none but their signs. Volume and grid
            are then preserved, and gradients move as the numbers do.
        preserves_volume: the log-determinant of its Jacobian is 0 everywhere.
        preserves_grid: ``forward`` and ``inverse`` take a ``FixedPoint`` as well, and undo each
            other on it without error, as its ``shifted`` does. ``exact=True`` needs it.
        conditional: ``forward``, ``inverse`` and ``forward_with_log_det`` take a context, a tensor,
            as their second argument. An instance may set it for itself.
        repeatable: what the class itself computes draws no random numbers and changes no buffer,
            so that the engine need not look. It is not inherited.
    """

    is_permutation: ClassVar[bool] = False
    preserves_volume: ClassVar[bool] = False
    preserves_grid: ClassVar[bool] = False
    repeatable: ClassVar[bool] = False
    conditional: bool = False
    _in_halves: bool = False  # ``_halved`` and ``backtrack`` take, and may give, ``Halves``

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if not {"forward", "inverse"}.isdisjoint(vars(cls)) and "_halved" not in vars(cls):
            cls._in_halves = False  # what it inherits computes something else
        if cls.is_permutation:
            cls.preserves_volume = cls.preserves_grid = True

    @abstractmethod
    def forward(self, x: Any) -> Any:
        """Map x to y; it may not change x."""

    @abstractmethod
    def inverse(self, y: Any) -> Any:
        """Map y back to x."""

    def forward_with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x to y, and give log|det| of the Jacobian there, (N,).

        Raises:
            TypeError: a block that neither preserves volume nor overrides it.
        """
        if not self.preserves_volume:
            raise TypeError(
                f"The log-determinant of a {type(self).__name__} is not known; set "
                "preserves_volume = True where it is 0, or define forward_with_log_det."
            )
        return self(x), x.new_zeros(len(x))

    def given(self, context: Tensor | None) -> tuple[Tensor, ...]:
        """Arguments beside the stream: ``(context,)``, or ``()`` of a block that takes none.

        Raises:
            ValueError: a context is missing, or given to a block that takes none.
        """
        if self.conditional == (context is None):
            told = "needs a context and got none" if self.conditional else "takes no context"
            cure = (
                "give one" if self.conditional else "leave it out, or build conditional couplings"
            )
            raise ValueError(f"This {type(self).__name__} {told}; {cure}.")
        return () if context is None else (context,)

    def backtrack(
        self, y: Any, grad: Any, replay: Replay, inverse: bool, grad_log_det: Tensor | None = None
    ) -> tuple[Any, Any]:
        """Undo ``forward`` (or ``inverse``): give its input and the gradient with respect to it.

        By default the block is inverted, then run again with gradients. Blocks that can do both in
        one pass override it, see ``AdditiveCoupling.backtrack``.

        Args:
            y: output.
            grad: gradient with respect to the output, same shape.
            replay: runs the block and its networks as they were run, and collects the gradients
                of their parameters.
            inverse: y is the output of ``inverse``.
            grad_log_det: gradient with respect to the log-determinant, (N,), where
                ``forward_with_log_det`` was run.
        """
        if self.is_permutation:  # it is orthogonal
            return self.run(y, not inverse), self.run(grad, not inverse)
        with replay.autocast(), replay.randomness(""):
            x = self.run(y, not inverse, *replay.context)

        def again(leaf: Tensor, *context: Tensor) -> Any:
            if grad_log_det is not None:
                dense: Any = self.forward_with_log_det
                return dense(leaf, *context)
            again_x = x._replace(traced=leaf) if isinstance(x, FixedPoint) else leaf
            return value(self.run(again_x, inverse, *context))

        grads = grad if grad_log_det is None else (grad, grad_log_det)
        return x, replay.pull_back("", value(x), grads, again)[1]

    def run(self, x: Any, inverse: bool, *context: Tensor) -> Any:
        """``forward`` or ``inverse`` of a stream, on the grid or in halves too where x is.

        ``context`` is one tensor where the block is ``conditional``, and nothing otherwise.
        """
        halved: Any = self._halved
        if self.takes_halves:
            return halved(x, inverse, *context)
        function: Any = self.inverse if inverse else self
        return moved(whole(x), function) if self.is_permutation else function(whole(x), *context)

    @property
    def takes_halves(self) -> bool:
        """Whether ``run`` keeps the halves of a stream apart; hooks want to see tensors."""
        return self._in_halves and not (self._forward_hooks or self._forward_pre_hooks)

    def _halved(self, x: Any, inverse: bool) -> Any:
        """``run``, where it works on halves."""
        raise NotImplementedError

    def worth_keeping(self, values: int) -> bool | None:
        """Whether a reversible chain keeps this block's activations instead of recomputing them.

        True where they are known to be few beside the parameters, whose gradients a block holds
        while it is recomputed. ``None`` of a block that keeps none; it goes with the one before it.
        ``values`` is the number of values in the stream.
        """
        return None if self.is_permutation else False

    def networks(self) -> Iterable[nn.Module]:
        """The networks that ``Engine.compile`` compiles; none by default."""
        return ()


class ModuleBlock(Block):
    """A block out of a module that has ``forward`` and ``inverse`` and is none by itself.

    Raises:
        TypeError: a module without ``inverse``.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        if not callable(getattr(module, "inverse", None)):
            raise TypeError(f"A {type(module).__name__} has no inverse, so it is no block.")
        self.module: Any = module

    def forward(self, x: Tensor) -> Tensor:
        """Run the module."""
        return self.module(x)

    def inverse(self, y: Tensor) -> Tensor:
        """Run its inverse."""
        return self.module.inverse(y)


def check_dims(x: Tensor, block: str, least: int = 2, most: int = 5) -> None:
    """Raise ``ValueError`` unless x is (N, C, ...) with as many dimensions as are allowed."""
    if not least <= x.dim() <= most:
        sizes = ["(N, C)", "(N, C, L)", "(N, C, H, W)", "(N, C, D, H, W)"][least - 2 : most - 1]
        raise ValueError(f"{block} takes {' or '.join(sizes)} and got shape {tuple(x.shape)}.")
