"""Which TorchScript files this user has allowed to run.

TorchScript is a program: loading it runs it, and it can write files. Where a person names a file on
the command line or hands it to a function, that is the permission. Where a configuration names one,
it may be a stranger's, with the file beside it. Such a file runs only if this user has named it
before, on this machine: the SHA-256 of what was named is kept below ``$GENREV_CACHE/trusted/``
(``~/.cache/genrev/trusted/`` when it is unset), which no configuration can change.
"""

import sys
from pathlib import Path

from genrev.evaluation.features import file_hash
from genrev.files.cache import cache_folder
from genrev.files.paths import expand

__all__ = ["is_trusted", "trust"]


def trust(path: str | Path) -> None:
    """Remember that the user has named this file; where this cannot be kept, it is told on stderr.

    Raises:
        GenrevError: the file cannot be read.
    """
    entry = _entry(file_hash(expand(path)))
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.touch()
    except OSError as error:
        print(
            f"It could not be kept that {path} may run: {entry} cannot be written "
            f"({error.strerror}); name the file again when you resume.",
            file=sys.stderr,
        )


def is_trusted(path: str | Path) -> bool:
    """Whether the user has named a file of the same content before.

    Raises:
        GenrevError: the file cannot be read.
    """
    return _entry(file_hash(expand(path))).is_file()


def _entry(sha256: str) -> Path:
    return cache_folder("trusted") / sha256
