"""How a chain of blocks is computed, as opposed to what it computes."""

from genrev.options import Options
from genrev.reversible.sequential import Memory

__all__ = ["Engine"]


class Engine(Options):
    """Execution of a reversible network; no setting changes what is computed beyond rounding."""

    memory: Memory = "reversible"
    """Recompute activations in the backward pass (reversible), or keep them (stored), which is
    faster where they fit."""
    exact: bool = False
    """Keep the stream between the blocks in fixed point, so that what is recomputed is what was
    computed, bit for bit."""
    compile: bool = False
    """Let ``torch.compile`` work on f and g, on CUDA only; not together with ``exact``."""
