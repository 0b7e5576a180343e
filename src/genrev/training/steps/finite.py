"""Losses that stop being finite, noticed without waiting for the device in every step.

On the CPU a loss is looked at before anything is changed by it. Elsewhere that would make the host
wait, so losses are kept on the device and looked at every few steps, and always before anything is
written: no checkpoint holds weights that came after a loss that was not finite, and the error names
the step at which it happened.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from genrev.errors import GenrevError
from genrev.reversible.stream import Deferred

_EVERY = 16  # steps


class Finiteness:
    """What is still to be looked at, for one process."""

    def __init__(self) -> None:
        self._losses: list[tuple[int, list[str], Tensor]] = []
        self._exact: list[Deferred] = []

    def note(
        self,
        parts: dict[str, Tensor],
        exact: list[Deferred],
        number: int,
        anywhere: Callable[[bool], bool],
    ) -> None:
        """Remember losses, which have no graph, and what exact chains reached, of a step."""
        values = torch.stack([part.float() for part in parts.values()])
        self._losses.append((number, list(parts), values))
        self._exact += exact
        if len(self._losses) >= _EVERY:
            self.settle(anywhere)

    def settle(self, anywhere: Callable[[bool], bool] = bool) -> None:
        """Look at all that was noted; on all ranks at the same time.

        Raises:
            GenrevError: a loss was not finite, or an exact chain left its range.
        """
        losses, exact, self._losses, self._exact = self._losses, self._exact, [], []
        if not losses or losses[0][2].device.type == "meta":
            return
        finite = torch.stack([torch.isfinite(values).all() for _, _, values in losses]).tolist()
        if anywhere(not all(finite)):
            number, names, values = losses[finite.index(False)] if not all(finite) else losses[-1]
            raise not_finite(names, torch.isfinite(values).tolist(), number)
        require_exact(exact, anywhere)


def require_exact(chains: list[Deferred], anywhere: Callable[[bool], bool] = bool) -> None:
    """Raise ``GenrevError`` where an exact chain left its range, on whichever rank.

    Args:
        chains: what exact chains reached, as many on every rank.
        anywhere: see ``require_finite``.
    """
    errors = [error for chain in chains if (error := chain.error())]
    if chains and anywhere(bool(errors)):
        raise next(iter(errors), GenrevError("An exact chain left its range on another process."))


def require_finite(
    parts: dict[str, Tensor], number: int, anywhere: Callable[[bool], bool] = bool
) -> None:
    """Raise ``GenrevError`` where a loss is not finite.

    Args:
        parts: losses by name.
        number: of the step.
        anywhere: tells whether something holds on any rank. One that stopped alone would leave the
            others waiting.
    """
    finite = torch.isfinite(torch.stack([part.detach().float() for part in parts.values()]))
    if anywhere(not bool(finite.all())):
        raise not_finite(list(parts), finite.tolist(), number)


def not_finite(names: list[str], finite: list[bool], number: int) -> GenrevError:
    """The error of a step whose losses of these names are finite or not."""
    bad = [name for name, good in zip(names, finite, strict=True) if not good]
    name = next((name for name in bad if name != "loss"), "loss")
    words = {"loss": "loss", "discriminator": "loss of the discriminator"}
    what = words.get(name, f"{name} loss")
    return GenrevError(
        f"The {what} stopped being finite at step {number}, so training stopped; start again "
        "in another folder with a lower --optimizer.lr, or gradients clipped lower "
        "(--optimizer.clip)."
    )
