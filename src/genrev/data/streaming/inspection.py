"""Look at many files at once, with a progress bar."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

__all__ = ["inspect_all"]

AT_ONCE = 16  # more than cores: a file on the hub is waited for
SILENT_SECONDS = 2.0

File = TypeVar("File")
Found = TypeVar("Found")


def inspect_all(inspect: Callable[[File], Found], files: Sequence[File], name: str) -> list[Found]:
    """Apply ``inspect`` to all files, in parallel threads; the results are in their order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = tqdm(
            pool.map(inspect, files),
            total=len(files),
            desc=f"looking at {name}",
            unit=" files",
            delay=SILENT_SECONDS,
            leave=False,
            disable=None,
        )
        return list(found)
