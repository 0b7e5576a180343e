"""Which of several processes this one is, before Lightning has connected them."""

import os

__all__ = ["is_first_process"]


def is_first_process() -> bool:
    """Whether this is rank 0, by what torchrun, SLURM or Lightning have put in the environment."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if name in os.environ:
            return os.environ[name] == "0"
    return True
