"""Data sources: what ``--data`` names. Each is one class in one file, registered in ``SOURCES``.

One registered as ``digits`` is named by this word, as ``hub:owner/name`` by what begins with
``hub:``, as ``.parquet`` by a file of this ending or a folder with some; ``folder/`` is any other.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from genrev.data.config import DataConfig
from genrev.data.decode import Record, is_image
from genrev.data.images import Inventory
from genrev.data.labels import NO_LABELS, encode_labels
from genrev.data.shards import Shards
from genrev.data.splits import find_split
from genrev.errors import GenrevError
from genrev.files.paths import expand, list_files
from genrev.registry import Registry
from genrev.words import spelled

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
"""The name of a repository of the hub, ``owner/name``."""
HUB_ADDRESSES = {"mnist": "ylecun/mnist", "celeba": "flwrlabs/celeba"}
"""Repositories of the hub by the sources that are named after them."""
CELEBA = {"crop": 140, "image_size": 64}
"""How faces are cropped and resized, as for the Wasserstein autoencoder of the paper."""


class Source:
    """One split of a data set, found but not yet read.

    One of your own needs ``splits`` and ``records``. All else has a default.

    Args:
        config: what the user asked for, with the defaults of this source.
        split: which split, spelled in any way.

    Raises:
        GenrevError: there is no such split or column of labels, or what is there cannot be used.

    Example:
        >>> class Stripes(Source):
        ...     '''Images of stripes, across or along.'''
        ...
        ...     splits = {"train": 80, "test": 20}
        ...
        ...     def records(self):
        ...         for number in range(self.splits[self.split] // 2):
        ...             across = np.zeros((8, 8), np.uint8)
        ...             across[::2] = 255 - number
        ...             yield Record(f"{number} across", across, "across")
        ...             yield Record(f"{number} along", across.T, "along")
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    """Fields of ``DataConfig`` that have other defaults here, instead of ``None``."""
    streamed_only: ClassVar[bool] = False
    """Whether the images are never decoded beforehand."""
    beside_images: ClassVar[bool] = True
    """Whether files of its endings are taken from a folder that has image files as well."""

    splits: Mapping[str, int | None] = {}
    """Images of every split, ``None`` where not known; without splits, the images serve as all."""
    total: int | None = None
    """Number of images in this split, if it is known and not in ``splits``."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes, where labels are numbers of them; by default labels are the names."""
    label_required: bool = False
    """Whether it is an error that no image has a label."""
    identity: Mapping[str, object] | None = None
    """What tells this content from another, in values that JSON can hold, such as names and times
    of files. Decoded images are kept in the cache by it; without it they never are."""
    kind: str = "images"
    """What files are read, for the line that describes the data."""
    skipped: tuple[str, ...] = ()
    """Files that are not read, since they are of no such kind."""
    note: str | None = None
    """What else that line should tell."""

    def __init__(self, config: DataConfig, split: str) -> None:
        self.config = config
        self.name = config.source
        self.split = find_split(self.splits, split, self.name)
        self.refuse_columns()

    def records(self) -> Iterator[Record]:
        """Go through the undecoded images of the split once, in an order that never changes."""
        raise NotImplementedError

    def shards(self) -> Shards:
        """Blocks of undecoded images that can be streamed; GenrevError where there are none."""
        raise GenrevError(f"{self.name} is never streamed; leave streaming out.")

    def encode(self, labels: list[object]) -> tuple[np.ndarray, tuple[str, ...]]:
        """Numbers of the labels of all records, int64 (N,), and names of the classes."""
        if self.config.label == NO_LABELS:
            labels = [None] * len(labels)
        return encode_labels(labels, self.name, self.class_names, self.label_required)

    def inventory(self) -> Inventory:
        """What else there is beside this split."""
        limit, notes = self.config.limit, [self.note] if self.note else []
        if limit is not None:
            notes.append(f"only the first {limit:,} of a split are used")
        note = "; ".join(notes) or None
        return Inventory(self.splits, self.total, self.kind, self.skipped, note)

    def refuse_columns(self, why: str = "") -> None:
        """Raise ``GenrevError`` where the user names a column of labels."""
        if self.config.label not in (None, "label", NO_LABELS):
            raise GenrevError(
                f'{self.name} has no label column "{self.config.label}"{why}; leave label out.'
            )

    @classmethod
    def with_defaults(cls, config: DataConfig) -> DataConfig:
        """The configuration with the defaults of this source."""
        unset = {key: v for key, v in cls.defaults.items() if getattr(config, key) is None}
        config = config.replace(**unset)
        return config.replace(crop=None) if config.crop == "none" else config


_FOLDER = "folder/"
_WORD = re.compile(r"[\w-]+")
SOURCES = Registry[type[Source]](
    "data source",
    {
        "digits": "genrev.data.sources.digits:Digits",
        "mnist": "genrev.data.sources.hub:Mnist",
        "celeba": "genrev.data.sources.hub:Celeba",
        "hub:owner/name": "genrev.data.sources.hub:Hub",
        _FOLDER: "genrev.data.sources.folder:Folder",
        ".parquet": "genrev.data.sources.parquet:Parquet",
        ".tar": "genrev.data.sources.tar:Tar",
        ".npz": "genrev.data.sources.npz:Npz",
    },
    Source,
)
"""All sources by what names them. Of several endings in one folder the first here counts."""


def open_source(config: DataConfig, split: str) -> Source:
    """What ``config.source`` means, not yet read; its ``config`` has the defaults of the source."""
    key, source = _source_of(config)
    if source.streamed_only and not config.streaming:
        raise GenrevError(
            f"{config.source} holds images in {key} files, which are streamed only; add "
            "--data.streaming true."
        )
    return source(source.with_defaults(config), split)


def is_streamed_only(config: DataConfig) -> bool:
    """Whether images of ``config.source`` are never decoded beforehand."""
    return _source_of(config)[1].streamed_only


def local_path(source: str) -> Path | None:
    """The path that ``DataConfig.source`` means, absolute; ``None`` where it is a name."""
    return None if _named(source) else expand(source, "--data").absolute()


def spellings() -> str:
    """What ``--data`` takes, for help and messages: ``digits, mnist, ...``."""
    return spelled(SOURCES)


def _source_of(config: DataConfig) -> tuple[str, type[Source]]:
    key = _named(config.source) or _key_of_path(config)
    return key, SOURCES[key]


def _named(text: str) -> str | None:
    """The key of a source that is named by a word or address; None for a path."""
    for key in SOURCES:
        prefix, colon, _ = key.partition(":")
        if text.startswith(prefix + colon) if colon else text == key and _WORD.fullmatch(key):
            return key
    return None


def _key_of_path(config: DataConfig) -> str:
    path = expand(config.source, "--data")
    if not config.source or not path.exists():
        raise GenrevError(
            f'No data set and no path is called "{config.source}"{_hint(config.source, path)}; '
            f"--data takes {spellings()}, or what a file adds that is loaded with --plugin FILE."
        )
    files = list_files(path)
    present = {file.suffix.lower() for file in files}
    known = [key for key in SOURCES if key.startswith(".")]
    endings = [ending for ending in known if ending in present]
    if path.is_file() and not endings:
        raise GenrevError(
            f"{path} is a file, but not one of {' or '.join(known)}; --data takes {spellings()}."
        )
    sources = {ending: SOURCES[ending] for ending in endings}
    usable = [e for e in endings if config.streaming or not sources[e].streamed_only]
    if first := next((e for e in usable if sources[e].beside_images), None):
        return first
    return [*usable, *endings][0] if endings and not any(map(is_image, files)) else _FOLDER


def _hint(source: str, path: Path) -> str:
    known = {name: name for name in SOURCES.names() if _WORD.fullmatch(name)}
    if path.parent.is_dir() and path.name:
        known |= {str(other): str(other) for other in path.parent.iterdir()}
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source):
        known[source] = f"hub:{source}"  # the likeliest of all: a name of the hub without hub:
    near = [n for s in (source, source.lower()) for n in difflib.get_close_matches(s, known)]
    return f' (did you mean "{known[near[0]]}"?)' if near else ""
