"""How a chain of blocks is computed, as opposed to what it computes."""

from typing import Literal, Self

from pydantic import model_validator

from genrev.options import OptionError, Options

__all__ = ["Engine", "Memory"]

Memory = Literal["reversible", "stored"]
"""What becomes of activations, see ``Engine``."""


class Engine(Options):
    """Execution of a reversible network; no setting changes what is computed beyond rounding.

    Raises:
        OptionError: an unknown mode, or ``compile`` and ``exact`` together.
    """

    memory: Memory = "reversible"
    """Recompute activations in the backward pass (reversible), or keep them (stored), which is
    faster where they fit."""
    exact: bool = False
    """Keep the stream between the blocks in fixed point, so that what is recomputed is what was
    computed, bit for bit."""
    compile: bool = False
    """Let ``torch.compile`` work on f and g, on CUDA only; not together with ``exact``."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.exact and self.compile:
            raise OptionError(
                "exact needs f and g to give the same bits with and without gradients, which "
                "torch.compile does not promise; choose one of exact and compile."
            )
        return self
