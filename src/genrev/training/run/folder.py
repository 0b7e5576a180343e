"""What a run leaves on disk, and where.

==================  ==========================================================================
config.yaml         the resolved configuration
environment.json    versions, commit, seed, command, machine
metrics.csv         one row per logged step
events.out.*        the same and sample images, for TensorBoard
checkpoints/        training state, the last two, and that of the last step
config.json,
model.safetensors   the trained model, as ``genrev.load`` reads it
best/               the model of the lowest Fréchet distance, with ``trainer.keep_best``
arrays/             the images, of a run that was given them as arrays
init/               the model that it began from, of a run that was given one
samples/            small sample sheets, from before the first step on
figures/            pictures
.lock               which process writes all this, while one does
==================  ==========================================================================
"""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import genrev
from genrev.errors import GenrevError
from genrev.files.locking import NAME_ANOTHER, is_first_process, locked, require_free
from genrev.files.paths import expand, reason, writing
from genrev.files.readers import dump_yaml, read_json_object, read_yaml_mapping
from genrev.files.writing import write_text
from genrev.models.saving import CONFIG_FILE, RUN_CONFIG, WEIGHTS_FILE, model_info

_LARGEST_ENVIRONMENT = 2**24  # bytes; every resumption adds about a thousand, and class names
_PACKAGES = ("lightning", "numpy", "scipy", "datasets", "pillow")


class RunFolder:
    """Paths of one run, whose folder need not exist yet, and the small files in it.

    Args:
        path: the folder.
        kept: whether it will be there when the training is over.
    """

    def __init__(self, path: str | Path, kept: bool = True) -> None:
        self.path, self.kept = expand(path), kept
        self.config = self.path / RUN_CONFIG
        self.environment = self.path / "environment.json"
        self.metrics = self.path / "metrics.csv"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.path / "best"
        self.arrays = self.path / "arrays"
        self.init = self.path / "init"
        self.samples = self.path / "samples"
        self.figures = self.path / "figures"

    @contextmanager
    def held(self, new: bool = False) -> Iterator[None]:
        """Keep other processes out, or raise ``GenrevError``; a ``new`` folder has to be empty."""
        if not is_first_process():
            yield
            return
        another = NAME_ANOTHER if new else None
        with locked(self.path, another or "wait until it has ended, or end it", another):
            if new:  # it was free when its data were being loaded
                require_free(self.path, held=True)
            yield

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.yaml, unless it says so already, maybe with comments of its reader."""
        with suppress(OSError, ValueError):
            if read_yaml_mapping(self.config) == config:
                return
        with writing(self.path):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            write_text(self.config, dump_yaml(config))

    def recorded_threads(self) -> int | None:
        """CPU threads that config.yaml tells; ``None`` without one."""
        try:
            threads = read_yaml_mapping(self.config)["trainer"]["threads"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return threads if isinstance(threads, int) and threads > 0 else None

    def write_environment(self, seed: int, data: dict[str, Any]) -> None:
        """Write environment.json, with the fingerprint of the data; a resumed run appends."""
        entry = {**describe_environment(seed), "data": data}
        history = self._recorded("history") if self.environment.is_file() else []
        if not isinstance(history, list):
            raise GenrevError(
                f"{self.environment} was not written by genrev, or was edited since; move it away."
            )
        with writing(self.path):
            text = json.dumps({**entry, "history": [*history, entry]}, indent=2)
            write_text(self.environment, text + "\n")

    def _recorded(self, key: str) -> Any:
        """A value of environment.json, ``None`` where there is none to be read."""
        try:
            return read_json_object(self.environment, _LARGEST_ENVIRONMENT).get(key)
        except (OSError, ValueError):
            return None

    def data_before(self) -> dict[str, Any]:
        """The data that a run without a readable checkpoint began with; empty for a new run."""
        data = self._recorded("data")
        return {"data": data} if isinstance(data, dict) else {}

    def beginning(self) -> dict[str, Any]:
        """Configuration and data of the run, as ``genrev.training.run.beginning`` compares them."""
        try:
            config = read_yaml_mapping(self.config)
            data = read_json_object(self.environment, _LARGEST_ENVIRONMENT).get("data", {})
        except (OSError, ValueError) as error:
            raise GenrevError(
                f"{self.path} has no {self.config.name} or {self.environment.name} of genrev "
                f"({reason(error)}); name another folder."
            ) from error
        return {"config": config, "data": data if isinstance(data, dict) else {}}

    @property
    def finished(self) -> bool:
        """Whether the trained model has been written."""
        return (self.path / WEIGHTS_FILE).is_file() and (self.path / CONFIG_FILE).is_file()

    def steps_of_checkpoints(self) -> list[tuple[int, Path]]:
        """Complete checkpoints, oldest first."""
        files = ((re.fullmatch(r"step(\d+)", p.stem), p) for p in self.checkpoints.glob("*.ckpt"))
        return sorted((int(match[1]), path) for match, path in files if match)

    def newest_checkpoint(self, but: int | None = None) -> tuple[int, Path | None]:
        """Step and file of the newest checkpoint that can be read; (0, None) without one.

        One of the step ``but`` does not count.
        """
        found = (one for one in reversed(self.steps_of_checkpoints()) if one[0] != but)
        return next((one for one in found if _damage(one[1]) is None), (0, None))

    def damaged_checkpoints(self, after: int) -> dict[Path, str]:
        """Those of later steps, newest first, that cannot be read, each with what is wrong."""
        later = [path for step, path in reversed(self.steps_of_checkpoints()) if step > after]
        return {path: why for path in later if (why := _damage(path)) is not None}

    def steps_of_model(self) -> int:
        """Steps that the trained model has had; 0 without one."""
        steps = model_info(self.path).get("steps") if self.finished else 0
        return steps if isinstance(steps, int) else 0


def describe_environment(seed: int) -> dict[str, Any]:
    """Versions, commit, command, machine and seed of this process."""
    # torch itself tells the build as well, for a CPU or a version of CUDA.
    packages = {"genrev": genrev.__version__, "torch": torch.__version__}
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "seed": seed,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": packages | {name: _version(name) for name in _PACKAGES},
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def _version(package: str) -> str | None:
    """Its version, ``None`` where it is not installed as one."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _damage(path: Path) -> str | None:
    """Why a file is no zip archive as torch.save writes it, or one made to fill the memory."""
    try:
        with zipfile.ZipFile(path) as archive:  # parts may be compressed, or one inside another
            if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
                return "it unpacks to more than it is"
    except (OSError, zipfile.BadZipFile) as error:
        return reason(error)
    return None


def _commit() -> str | None:
    """The commit of the source tree genrev runs from, with a mark when it was changed since."""
    source = Path(genrev.__file__).resolve().parent

    def git(folder: Path, *words: str) -> str:
        line = ["git", "-C", str(folder), *words]
        return subprocess.check_output(
            line, stderr=subprocess.DEVNULL, encoding="utf-8", timeout=10
        ).strip()

    try:
        root = Path(git(source, "rev-parse", "--show-toplevel"))
        if root / "src" / "genrev" != source:
            return None  # installed inside somebody else's repository
        head = git(root, "rev-parse", "HEAD")
        return f"{head}-dirty" if git(root, "status", "--porcelain", "--", "src") else head
    except (OSError, UnicodeError, subprocess.SubprocessError):
        return None
