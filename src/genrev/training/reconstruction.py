"""Take the reconstruction phase of another run over."""

from typing import Any

from genrev.errors import GenrevError
from genrev.models import GenerativeRevNet, load
from genrev.networks import RevNet

__all__ = ["take_over"]


def take_over(model: GenerativeRevNet, run: str) -> None:
    """Copy network weights and active dimensions of a run's model into this one.

    Kind and bound of the prior stay as they are.

    Args:
        model: an untrained model of the same network and as many active dimensions.
        run: what ``genrev.load`` takes.

    Raises:
        GenrevError: no finished run there, or one that does not fit.
    """
    trained = load(run)
    if not isinstance(trained.net, RevNet):
        raise GenrevError(
            f"--phases.reconstruction {run} is not a RevNet; name a run of --method matching."
        )
    if _shape(trained.net.config) != _shape(model.net.config):
        raise GenrevError(
            f"--phases.reconstruction {run} has another network than this run; set --model.network "
            "to the one of its config.yaml."
        )
    have, want = len(trained.prior.active_dims), len(model.prior.active_dims)
    if have != want:
        raise GenrevError(
            f"--phases.reconstruction {run} has {have} active dimensions and this run {want}; set "
            f"--model.active_dims {have}."
        )
    model.net.load_state_dict(trained.net.state_dict())
    model.prior.active_dims.copy_(trained.prior.active_dims)


def _shape(config: Any) -> Any:
    """What decides which weights there are and what they compute."""
    return config.replace(init="torch")
