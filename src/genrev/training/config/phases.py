"""Options of the two phases of the method ``matching``."""

from dataclasses import dataclass

__all__ = ["PhasesConfig"]


@dataclass(frozen=True)
class PhasesConfig:
    """First reconstruction from few dimensions alone, then the prior as well.

    The reconstruction phase teaches the active dimensions to tell what is in an image. Only then
    is their distribution drawn to the prior, from fresh states of the optimiser. The phase can
    be had from another run, which saves its time: this run then begins with the step
    ``reconstruction_steps``, on the images that would have been next, and its reports count from
    there.

    Args:
        reconstruction_steps: steps of the reconstruction phase, among those of ``max_steps``.
        reconstruction: run whose network and active dimensions are taken over, in place of a
            reconstruction phase of this run's own.
        clamp_weight: ``model.clamp_weight`` in the reconstruction phase; null for the same.
    """

    reconstruction_steps: int = 0
    reconstruction: str | None = None
    clamp_weight: float | None = None
