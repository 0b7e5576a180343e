"""The store of a search, which several processes and later calls share.

==============  ===========================================================================
search.yaml     recipe and what is searched: a later call has to ask for the same
journal.log     Optuna's JournalStorage: values, measurements and states of all trials
trials/NNN      run folders
==============  ===========================================================================

A trial belongs to the process that has its lock. One that nobody has and that has not ended was
interrupted, and the next process that looks for work goes on with it.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrev.errors import GenrevError
from genrev.files.locking import locked
from genrev.files.paths import quoted, writing
from genrev.files.readers import dump_yaml, read_yaml_mapping
from genrev.files.writing import write_text
from genrev.searching.results import DONE, FAILED, STOPPED, UNFINISHED, Row, in_order
from genrev.searching.space import Parameter

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

_PLAN, _JOURNAL, _TRIALS = "search.yaml", "journal.log", "trials"
_FACTOR = 3  # of so many trials at a length, the best one goes on to this multiple of it
_SECONDS, _ERROR, _REPEATED = "seconds", "error", "repeated"
_PATIENCE = 60  # seconds that another process may take to choose what it does
_TRIES = 100  # suggestions before a search has no new ones


class Study:
    """All trials of a folder; made with Optuna if they are not there yet.

    Args:
        folder: of the search.
        space: what is searched.
        every: steps between two measurements, the shortest length at which trials are compared.
        seed: of the suggestions.

    Raises:
        MissingExtra: Optuna is not installed.
    """

    def __init__(self, folder: Path, space: list[Parameter], every: int, seed: int) -> None:
        import optuna
        import optuna.storages.journal

        self.folder, self.space, self.seed = folder, space, seed
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        backend = optuna.storages.journal.JournalFileBackend(str(folder / _JOURNAL))
        self.study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name="search",
            load_if_exists=True,
            pruner=optuna.pruners.SuccessiveHalvingPruner(every, _FACTOR),
        )

    def run(self, trial: "Trial | FrozenTrial") -> Path:
        """The run folder of a trial."""
        return self.folder / _TRIALS / f"{trial.number:03d}"

    @contextmanager
    def work(self, own: dict[str, Any], most: int | None) -> Iterator["Trial | None"]:
        """A trial for this process alone, interrupted or new; ``None`` where all has been tried.

        Args:
            own: values of the recipe itself, as Optuna keeps them, which the first trial has.
            most: trials in all; ``None`` has no limit.
        """
        with ExitStack() as held:
            with _turn(self.folder):
                trial = self._interrupted(held) or self._new(held, own, most)
            yield trial

    def options(self, trial: "Trial | FrozenTrial") -> dict[str, str]:
        """The values of a trial by key, as the command line has them."""
        kept = trial.params
        return {p.key: p.text(kept[p.key]) if p.key in kept else "" for p in self.space}

    def add_seconds(self, trial: "Trial", seconds: float) -> None:
        """Count time that was spent on a trial."""
        trial.set_user_attr(_SECONDS, trial.user_attrs.get(_SECONDS, 0.0) + seconds)

    def end(self, trial: "Trial", state: str, value: float | None = None, error: str = "") -> None:
        """Write down how a trial ended: done with a value, stopped early, or failed."""
        from optuna.trial import TrialState

        states = {DONE: TrialState.COMPLETE, STOPPED: TrialState.PRUNED, FAILED: TrialState.FAIL}
        if error:
            trial.set_user_attr(_ERROR, error)
        self.study.tell(trial, value, states[state])

    def rows(self) -> list[Row]:
        """All trials, the best first."""
        trials = self.study.get_trials(deepcopy=False)
        return in_order([self._row(t) for t in trials if _REPEATED not in t.user_attrs])

    def _row(self, trial: "FrozenTrial") -> Row:
        curve = dict(sorted(trial.intermediate_values.items()))
        state = {"COMPLETE": DONE, "PRUNED": STOPPED, "FAIL": FAILED}.get(trial.state.name)
        last = next(reversed(curve.values()), None)
        return Row(
            number=trial.number,
            state=state or UNFINISHED,
            value=last if trial.value is None else trial.value,
            steps=max(curve, default=0),
            seconds=trial.user_attrs.get(_SECONDS, 0.0),
            options=self.options(trial),
            curve=curve,
            run=self.run(trial),
            error=trial.user_attrs.get(_ERROR, ""),
        )

    def _lock(self, number: int) -> Any:
        return locked(self.folder / _TRIALS, name=f".lock{number:03d}")

    def _interrupted(self, held: ExitStack) -> "Trial | None":
        """A trial that has not ended and that no process has, which is then held."""
        from optuna.trial import Trial, TrialState

        for left in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            try:
                held.enter_context(self._lock(left.number))
            except GenrevError:  # another process has it
                continue
            trial = Trial(self.study, left._trial_id)
            self._ask(trial)
            return trial
        return None

    def _new(self, held: ExitStack, own: dict[str, Any], most: int | None) -> "Trial | None":
        """The next suggestion that no trial had before, which is then held."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        trials = self.study.get_trials(deepcopy=False)
        counted = [t for t in trials if _REPEATED not in t.user_attrs]
        seen = [self.options(t) for t in counted if t.state != TrialState.WAITING]
        size = 1.0
        for parameter in self.space:
            size *= parameter.size
        if len(seen) >= (size if most is None else min(size, most)):
            return None
        if not trials and own:
            self.study.enqueue_trial(own)
        for number in range(len(trials), len(trials) + _TRIES):
            # Each trial has noise of its own, whichever process and call it comes from.
            self.study.sampler = TPESampler(seed=(self.seed + number) % 2**32)
            trial = self.study.ask()
            self._ask(trial)
            if self.options(trial) not in seen:
                held.enter_context(self._lock(trial.number))
                return trial
            trial.set_user_attr(_REPEATED, True)
            self.study.tell(trial, state=TrialState.FAIL)
        return None

    def _ask(self, trial: "Trial") -> None:
        for parameter in self.space:
            parameter.ask(trial)


def claim(folder: Path, plan: dict[str, Any]) -> None:
    """Write search.yaml, or see that the one that is there asks for the same."""
    path, another = folder / _PLAN, "name another folder with --out"
    if folder.exists() and not folder.is_dir():
        raise GenrevError(f"{folder} is no folder; {another}.")
    with _turn(folder):
        if not path.is_file():
            if any(not file.name.startswith(".") for file in folder.iterdir()):
                raise GenrevError(f"{folder} exists already and is no search; {another}.")
            with writing(folder, another):
                write_text(path, dump_yaml(plan))
        try:
            before = read_yaml_mapping(path)
        except (OSError, ValueError) as error:
            raise GenrevError(f"{path} is not what `genrev search` writes; {another}.") from error
    if before != plan:
        raise GenrevError(
            f"{folder} holds a search of other settings, see {quoted(path)}; {another}, or repeat "
            "its settings to go on."
        )


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Look around and choose what to do while no other process does."""
    end = time.monotonic() + _PATIENCE
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(folder, name=".choosing"))
                break
            except GenrevError as error:
                if isinstance(error.__cause__, OSError) or time.monotonic() > end:
                    raise
                time.sleep(0.2)
        yield
