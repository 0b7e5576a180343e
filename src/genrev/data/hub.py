"""Data sets of the Hugging Face hub, downloaded and kept by the ``datasets`` library.

A local path must never get here: names are checked before the hub is asked, so that what a
user called a folder does not leave the machine as a request.
"""

import difflib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from datasets import Dataset, DatasetDict, Image, load_dataset

from genrev.data.source import Inventory, Record, Source
from genrev.data.splits import split_of_hub
from genrev.data.table import ROWS_AT_ONCE, Columns, find_columns, table_records
from genrev.errors import GenrevError

__all__ = ["CELEBA", "MNIST", "REPOSITORY", "hub_source", "parse_address", "unreachable"]

MNIST = "ylecun/mnist"
CELEBA = "flwrlabs/celeba"  # aligned images of 178x218, splits train, valid and test
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
REVISION = re.compile(r"[\w./-]+", re.ASCII)


def parse_address(address: str) -> tuple[str, str | None]:
    """Split ``owner/name@revision``.

    Raises:
        GenrevError: If it is no such address, or the name of a path as well.
    """
    repository, _, revision = address.partition("@")
    wrong_revision = "@" in address and not REVISION.fullmatch(revision)
    if not REPOSITORY.fullmatch(repository) or wrong_revision:
        raise GenrevError(
            f'"hub:{address}" is not the name of a data set on the hub; '
            "write hub:owner/name or hub:owner/name@revision, and a local path without hub:"
        )
    if Path(repository).exists():  # load_dataset would prefer it to the hub
        raise GenrevError(
            f'"hub:{address}" is ambiguous, for {repository} is also a path here; '
            f"write ./{repository} for the path, or start from another folder"
        )
    return repository, revision or None


def unreachable(repository: str, error: Exception, spellings: str) -> GenrevError:
    """Say why a data set of the hub was not delivered."""
    close = difflib.get_close_matches(repository, [MNIST, CELEBA], n=1)
    hint = f' (did you mean "hub:{close[0]}"?)' if close and close[0] != repository else ""
    reason = str(error).strip().partition("\n")[0]
    return GenrevError(
        f'"{repository}" could not be loaded from the Hugging Face hub, because there is no '
        f"network, no such data set, or nothing in it that can be read [{reason}]{hint}: "
        f"check the name or use local data, for {spellings}"
    )


def _download(repository: str, revision: str | None, spellings: str) -> DatasetDict:
    try:
        return load_dataset(repository, revision=revision)
    except Exception as error:  # the libraries below raise several unrelated kinds
        raise unreachable(repository, error, spellings) from error


def _records(table: Dataset, columns: Columns, where: str) -> Iterator[Record]:
    table = table.select_columns(columns.names)
    if isinstance(table.features[columns.image], Image):
        table = table.cast_column(columns.image, Image(decode=False))
    return table_records(table.iter(batch_size=ROWS_AT_ONCE), columns, where)


def hub_source(address: str, name: str, split: str, label: str | None, spellings: str) -> Source:
    """Open a split of a data set on the hub, downloading it unless that was done before.

    Args:
        address: ``owner/name`` or ``owner/name@revision``.
        name: Short name of the data set.
        split: Which split.
        label: Name of the label column, ``none`` for none; None takes the usual one.
        spellings: What ``--data`` takes, for the message when the hub does not deliver.

    Raises:
        GenrevError: If the name is none, the hub is out of reach or does not have it, or there
            is no such split, no image column or no such label column.
    """
    repository, revision = parse_address(address)
    splits = _download(repository, revision, spellings)
    where = f'"{repository}" on the hub'
    split = split_of_hub(splits, split, where)
    table: Dataset = splits[split]
    columns = find_columns(table.features, label, where)
    return Source(
        name=name,
        # Computed by `datasets` from repository, revision and split, and stable between runs.
        identity={"hub": repository, "fingerprint": table._fingerprint},
        records=partial(_records, table, columns, f"{where} ({split})"),
        total=len(table),
        class_names=columns.class_names,
        label_required=columns.required,
        inventory=Inventory({n: len(table) for n, table in splits.items()}, note=columns.note),
    )
