"""A configuration may name a TorchScript file, which is a program: it runs if the user said so."""

from genrev.errors import GenrevError
from genrev.evaluation import is_trusted
from genrev.training import RunConfig

__all__ = ["require_trusted_features"]


def require_trusted_features(config: RunConfig, source: str, cure: str) -> None:
    """Check that this user has named the features of a configuration on a command line before.

    Args:
        config: what a file holds that may be a stranger's.
        source: that file.
        cure: how the user allows it.

    Raises:
        GenrevError: features that nobody has named, or that cannot be read.
    """
    features = config.trainer.frechet_features
    if features is None or config.trainer.frechet_every is None:
        return
    if not is_trusted(features):
        raise GenrevError(
            f"{source} names the features {features}, a program that you have not named yourself "
            f"on this machine; if it is yours or you trust it, {cure}."
        )
