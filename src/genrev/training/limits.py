"""Limits of single options, each told in a sentence that names the option."""

from genrev.errors import GenrevError

__all__ = ["require_at_least", "require_batch_multiple", "require_betas", "require_positive"]

_LARGEST_NUMBER = 1e30  # of a rate or a norm, before float32 ends


def require_at_least(values: object, prefix: str, smallest: int, *names: str) -> None:
    """Raise ``GenrevError`` where an option is below ``smallest``; null is always allowed.

    Args:
        values: dataclass of options.
        prefix: of their names on the command line, as ``"model."``.
        smallest: the limit.
        names: the options to look at.
    """
    for name in names:
        value = getattr(values, name)
        if value is not None and not value >= smallest:
            raise GenrevError(f"--{prefix}{name} must be {smallest} or more and is {value}.")


def require_positive(
    values: object, prefix: str, *names: str, largest: float = _LARGEST_NUMBER
) -> None:
    """Raise ``GenrevError`` where an option is not above 0; arguments as ``require_at_least``."""
    for name in names:
        value = getattr(values, name)
        if value is not None and not 0 < value <= largest:
            raise GenrevError(
                f"--{prefix}{name} must be positive, {largest:g} or less, and is {value}."
            )


def require_betas(betas: tuple[float, float]) -> None:
    """Raise ``GenrevError`` for decay rates that Adam cannot have."""
    if not all(0 <= beta < 1 for beta in betas):
        raise GenrevError(
            f"--model.betas takes two numbers from 0 to below 1 and is {list(betas)}."
        )


def require_batch_multiple(batch_size: int, unit: int, reason: str) -> None:
    """Raise ``GenrevError`` for a batch that cannot be divided as ``reason`` tells it has to."""
    if batch_size < 1 or batch_size % unit:
        nearest = max(1, round(batch_size / unit)) * unit
        raise GenrevError(
            f"--batch_size is {batch_size} and must be a multiple of {unit} for {reason}; take "
            f"{nearest}."
        )
