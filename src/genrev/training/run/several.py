"""A phase that several runs share, then the rest with several seeds: how much is luck (Figure 10)?

==============  ===============================================
seeds.yaml      how many, and the configuration
reconstruction  run folder of the reconstruction phase
seed0, seed1..  run folders of the matching phases
==============  ===============================================
"""

from pathlib import Path

from genrev.data import load_images, open_stream
from genrev.errors import GenrevError
from genrev.files.locking import is_first_process, require_free
from genrev.files.paths import quoted, writing
from genrev.files.readers import dump_yaml, read_yaml_mapping
from genrev.files.writing import write_text
from genrev.models.saving import CONFIG_FILE, model_info
from genrev.training.config import RunConfig
from genrev.training.methods.method import build_method
from genrev.training.run import beginning
from genrev.training.run.folder import RunFolder
from genrev.training.run.train import resume, train
from genrev.training.start import fit_data
from genrev.words import counted

SEEDS_FILE = "seeds.yaml"
_SHARED = "reconstruction"


def train_several(config: RunConfig, out: str | Path, seeds: int) -> bool:
    """Train what is missing of a folder of runs, ``out``; it need not exist yet.

    The ``seeds`` are so many, that of the configuration (of one run) and the numbers after it; all
    noise of the rest follows from them. The phase that they share is trained first, unless the
    configuration names a run that has it. The result of seed 0 is that of an ordinary run (but for
    ``optimizer.ema``, whose average starts anew with each phase).

    Returns:
        Whether all are finished; False when a signal stopped the training.

    Raises:
        GenrevError: as ``train``; nothing to share in the configuration; another sort of folder.
    """
    folder = RunFolder(out)
    parts = _parts(config.with_absolute_paths(), folder.path.absolute(), seeds)
    new = not (folder.path / SEEDS_FILE).is_file()
    if new and is_first_process():
        require_free(folder.path)
    with folder.held(new=new):
        if is_first_process():
            _claim(folder.path, config, seeds)
        runs = {name: RunFolder(folder.path / name) for name in parts}
        _require_same_runs(parts, runs)
        for name, part in parts.items():
            run = runs[name]
            if not run.finished:
                go_on = resume if run.path.exists() else train
                if go_on(part, run.path) is None:
                    return False
            if name == _SHARED:
                _require_whole(run, part)
    return True


def _require_same_runs(parts: dict[str, RunConfig], runs: dict[str, RunFolder]) -> None:
    """Refuse where what is to be trained is no more what was trained before."""
    finished = [name for name, run in runs.items() if run.finished and run.config.is_file()]
    if len(finished) == len(parts):
        return
    now = None
    for name in finished:
        part, path, began = parts[name], runs[name].path, runs[name].beginning()
        beginning.require_same_config(began, part, path, finished=True)
        if now is None:  # all have the same data
            part = fit_data(part)
            images = open_stream(part.data) if part.data.streaming else load_images(part.data)
            now = beginning.describe(part, images, None)
        beginning.require_same_data(began, now, part, path)


def _parts(config: RunConfig, folder: Path, seeds: int) -> dict[str, RunConfig]:
    """Configurations of all runs, in the order in which they are trained."""
    shared, rest = build_method(config).shared(config, str(folder / _SHARED))
    parts = {} if shared is None else {_SHARED: shared}
    parts |= {f"seed{number}": rest.replace(seed=config.seed + number) for number in range(seeds)}
    for part in parts.values():
        build_method(part)  # refuses what no run can have
    return parts


def _require_whole(run: RunFolder, part: RunConfig) -> None:
    """Raise ``GenrevError`` when a time limit has ended the phase that the seeds are to share."""
    steps = model_info(run.path).get("steps")
    if not isinstance(steps, int):
        raise GenrevError(f"{run.path / CONFIG_FILE} does not tell the steps; was it edited?")
    if steps < part.trainer.max_steps:
        raise GenrevError(
            f"The phase in {run.path} was ended after {steps} of "
            f"{counted(part.trainer.max_steps, 'step')} by "
            "--trainer.max_minutes, which holds for each phase by itself; allow more time, or set "
            "--method.reconstruction_steps to what fits, and start in another folder."
        )


def _claim(folder: Path, config: RunConfig, seeds: int) -> None:
    """Write seeds.yaml, or see that the one that is there asks for the same but their number."""
    plan = folder / SEEDS_FILE
    values = config.with_absolute_paths().plain()
    if plan.is_file():
        try:
            asked = read_yaml_mapping(plan)
            old = asked["config"]
        except (OSError, ValueError, KeyError) as error:
            raise GenrevError(
                f"{plan} is not what `genrev train --seeds` writes; name another folder with --out."
            ) from error
        if not isinstance(old, dict) or beginning.filled_in(old, config) != values:
            raise GenrevError(
                f"{folder} holds seeds of another configuration, see {plan}; name another folder "
                f"with --out, or go on with it by `genrev resume {quoted(folder)}`."
            )
        if asked == {"seeds": seeds, "config": values}:
            return
    with writing(folder):
        write_text(plan, dump_yaml({"seeds": seeds, "config": values}))
