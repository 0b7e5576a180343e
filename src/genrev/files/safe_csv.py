"""CSV from a stranger, read within limits.

A row that lacks cells is filled up to the header, so a file of a few megabytes with a header of a
hundred thousand names stands for 10^10 cells. Here the number of columns and the size of a file
are limited, and memory stays in proportion to them.
"""

import csv
from pathlib import Path

__all__ = ["read_csv"]

LARGEST_FILE = 2**28  # bytes; a million rows of measurements
MOST_COLUMNS = 200


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    """Read a file with a header.

    Args:
        path: the file, in UTF-8.

    Returns:
        The names of the columns, and the rows; a cell that a cut off row lacks is ``None``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large, has too many columns, is not in UTF-8 or no CSV.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"it has more than {LARGEST_FILE:,} bytes")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            if len(names) > MOST_COLUMNS:
                raise ValueError(f"it has {len(names):,} columns, and {MOST_COLUMNS} are allowed")
            return names, list(reader)
    except csv.Error as error:
        raise ValueError(str(error)) from error
