"""Parquet files of a data set on the hub, found by ``datasets`` and read from where they are."""

from functools import partial

from datasets import Features, load_dataset_builder

from genrev.data.hub import parse_address, unreachable
from genrev.data.source import Inventory
from genrev.data.splits import split_of_hub
from genrev.data.streaming.parquet import features_of, parquet_index, read_parquet
from genrev.data.streaming.shards import Shards, stored_index
from genrev.data.table import find_columns
from genrev.errors import GenrevError

__all__ = ["hub_shards"]


def _find(
    repository: str, revision: str | None, spellings: str
) -> tuple[dict[str, list[str]], Features | None]:
    """Addresses of the files of every split, each with its commit, and the declared columns."""
    try:
        builder = load_dataset_builder(repository, revision=revision)
    except Exception as error:  # the libraries below raise several unrelated kinds
        raise unreachable(repository, error, spellings) from error
    files = builder.config.data_files or {}
    return {str(split): [str(path) for path in paths] for split, paths in files.items()}, (
        builder.info.features
    )


def hub_shards(
    address: str, name: str, split: str, label: str | None, cache: str | None, spellings: str
) -> Shards:
    """Open a split of a data set of parquet files on the hub, downloading their footers.

    Args:
        address: ``owner/name`` or ``owner/name@revision``.
        name: Short name of the data set.
        split: Which split.
        label: Name of the label column, ``none`` for none; None takes the usual one.
        cache: As ``DataConfig.cache``.
        spellings: What ``--data`` takes, for the message when the hub does not deliver.

    Raises:
        GenrevError: If the name is none, the hub is out of reach or does not have it, its files
            are not parquet, or there is no such split, no image column or no such label column.
    """
    repository, revision = parse_address(address)
    files, features = _find(repository, revision, spellings)
    where = f'"{repository}" on the hub'
    split = split_of_hub(files, split, where)
    paths = files[split]
    if not all(path.endswith(".parquet") for path in paths):
        raise GenrevError(
            f"{where} is not stored as parquet, which is what can be streamed; leave streaming "
            f"out, or try the hub's own conversion, hub:{repository}@refs/convert/parquet"
        )
    columns = find_columns(features or features_of(paths[0]), label, where)
    index = stored_index(
        name,
        {"files": paths, "classes": columns.class_names},
        columns.label,
        cache,
        partial(parquet_index, paths, columns, where),
    )
    rows = int(index.blocks[:, 3].sum())
    counts = {name: rows if name == split else None for name in files}
    read = partial(read_parquet, paths, index, columns.image)
    return Shards(name, paths, index, read, Inventory(counts, note=columns.note))
