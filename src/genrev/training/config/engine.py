"""Options of the engine that computes gradients."""

from dataclasses import dataclass
from typing import Literal

from genrev.reversible import Memory

__all__ = ["EngineConfig"]


@dataclass(frozen=True)
class EngineConfig:
    """How gradients of the network are computed, and whether its round trip stays exact enough.

    This is the one place that decides: ``memory``, ``exact`` and ``compile`` of the network in
    the model are replaced by these.

    The default threshold is a quarter of a grey level. An error of half a grey level (2e-3) would
    turn a pixel into another one; from a quarter on, the error is about to get there on images
    that were not measured, and it grows exponentially with the size of the weights. float32
    starts at 1e-6.

    Args:
        memory: recompute activations in the backward pass (reversible), or keep them (stored),
            which is faster where they fit.
        exact: keep the stream between the blocks in fixed point, so that what is recomputed is
            what was computed, bit for bit; with 32-true and with bf16-mixed.
        compile: let ``torch.compile`` work on f and g, on CUDA only; not together with ``exact``.
        drift_every: steps between two measurements of the round trip's error; null for none.
        drift_threshold: largest absolute error of a pixel in [0, 1] that is accepted.
        on_drift: past the threshold warn, or keep activations from there on (stored).
    """

    memory: Memory = "reversible"
    exact: bool = False
    compile: bool = False
    drift_every: int | None = 500
    drift_threshold: float = 1e-3
    on_drift: Literal["warn", "stored"] = "warn"
