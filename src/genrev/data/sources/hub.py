"""Data sets of the Hugging Face hub: downloaded by ``datasets``, or streamed as parquet."""

import difflib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from datasets import Features, Image, load_dataset, load_dataset_builder

from genrev.data.config import DataConfig
from genrev.data.shards import Shards
from genrev.data.sources import CELEBA, HUB_ADDRESSES, REPOSITORY, Record, Source, spellings
from genrev.data.sources.parquet import choose_columns, features_of, parquet_shards, table_records
from genrev.data.splits import find_split
from genrev.errors import GenrevError
from genrev.files.network import hub_or_cache

_ADDRESS = re.compile(rf"({REPOSITORY.pattern})(?:@([\w./-]+))?", re.ASCII)


class Hub(Source):
    """Any data set of the hub, by its address ``hub:owner/name`` or ``hub:owner/name@revision``."""

    address: str | None = None  # ``owner/name``; by default that of the configuration

    def __init__(self, config: DataConfig, split: str) -> None:
        self.config = config
        address = self.address or config.source.removeprefix("hub:")
        self.name = config.source if self.address else address.partition("@")[0]
        self.repository, revision = _parse(address)
        self.where = f'"{self.repository}" on the hub'
        find = self._find_files if config.streaming else self._download
        self.columns = choose_columns(self, find(revision, split), self.where)

    def records(self) -> Iterator[Record]:
        """The rows, whose images are left undecoded."""
        table = self.table.select_columns([name for name in self.columns if name])
        if isinstance(table.features[self.columns.image], Image):
            table = table.cast_column(self.columns.image, Image(decode=False))
        batches = table.iter(batch_size=256)
        return table_records(batches, self.columns, f"{self.where} ({self.split})")

    def shards(self) -> Shards:
        """The row groups of the parquet files, read from where they are."""
        identity = {"files": self.paths, "classes": self.class_names}
        return parquet_shards(self, self.paths, self.columns, identity, self.paths)

    def _download(self, revision: str | None, split: str) -> Features:
        tables = self._ask(load_dataset, revision)
        self.splits = {name: len(table) for name, table in tables.items()}
        self.split = find_split(self.splits, split, self.where)
        self.table = tables[self.split]
        self.total = len(self.table)
        # Computed by `datasets` from repository, revision and split, and stable between runs.
        self.identity = {"hub": self.repository, "fingerprint": self.table._fingerprint}
        return self.table.features

    def _find_files(self, revision: str | None, split: str) -> Features:
        builder = self._ask(load_dataset_builder, revision)
        files = {str(split): paths for split, paths in (builder.config.data_files or {}).items()}
        self.splits = dict.fromkeys(files)
        self.split = find_split(self.splits, split, self.where)
        self.paths = [str(path) for path in files[self.split]]  # each with its commit
        if not all(path.endswith(".parquet") for path in self.paths):
            raise GenrevError(
                f"{self.where} is not stored as parquet, which is what can be streamed; leave "
                "streaming out, or try the hub's own conversion, "
                f"hub:{self.repository}@refs/convert/parquet."
            )
        return builder.info.features or features_of(self.paths[0])

    def _ask(self, load: Callable[..., Any], revision: str | None) -> Any:
        try:
            with hub_or_cache():
                return load(self.repository, revision=revision)
        except Exception as error:  # the libraries below raise several unrelated kinds
            near = difflib.get_close_matches(self.repository, HUB_ADDRESSES.values(), n=1)
            other = near and near != [self.repository]
            hint = f' (did you mean "hub:{near[0]}"?)' if other else ""
            reason = str(error).strip().partition("\n")[0]
            raise GenrevError(
                f'"{self.repository}" could not be loaded from the Hugging Face hub, because there '
                "is no network, no such data set, or nothing in it that can be read "
                f"[{reason}]{hint}; check the name, or use local data, since --data takes "
                f"{spellings()}."
            ) from error


class Mnist(Hub):
    """Handwritten digits: 60,000 and 10,000 grey images of 28x28."""

    address = HUB_ADDRESSES["mnist"]


class Celeba(Hub):
    """Faces of 178x218, cropped and resized."""

    address = HUB_ADDRESSES["celeba"]
    defaults = CELEBA


def _parse(address: str) -> tuple[str, str | None]:
    """Split ``owner/name@revision``, checked so that no local path leaves the machine."""
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise GenrevError(
            f'"hub:{address}" is not the name of a data set on the hub; '
            "write hub:owner/name or hub:owner/name@revision, and a local path without hub:."
        )
    repository, revision = parts.groups()
    if Path(repository).exists():  # load_dataset would prefer it to the hub
        raise GenrevError(
            f'"hub:{address}" is ambiguous, since {repository} is also a path here; '
            f"write ./{repository} for the path, or start from another folder."
        )
    return repository, revision
