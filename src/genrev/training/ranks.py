"""Which of several processes this one is, before Lightning has connected them."""

import os

__all__ = ["is_first_process"]


def is_first_process() -> bool:
    """Whether this is rank 0, by what torchrun, SLURM or Lightning have put in the environment."""
    if "RANK" in os.environ:  # torchrun's; its LOCAL_RANK is 0 once on every machine
        return os.environ["RANK"] == "0"
    # SLURM_PROCID is 0 in all processes that Lightning starts within an interactive job.
    places = ("SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")
    return all(os.environ.get(place, "0") == "0" for place in places)
