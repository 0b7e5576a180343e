"""From what the user calls the data to a source: the one place where spellings are read."""

import dataclasses
import difflib
from pathlib import Path

from genrev.data.config import DataConfig
from genrev.data.digits import digits_source
from genrev.data.files import list_files
from genrev.data.folder import folder_source
from genrev.data.formats import is_image
from genrev.data.hub import CELEBA, MNIST, REPOSITORY, hub_source
from genrev.data.parquet import parquet_source
from genrev.data.source import Source
from genrev.data.streaming.hub import hub_shards
from genrev.data.streaming.local import TAR, local_shards
from genrev.data.streaming.shards import Shards
from genrev.errors import GenrevError
from genrev.files.paths import expand

__all__ = ["SPELLINGS", "local_path", "open_shards", "open_source"]

NAMES = ("digits", "mnist", "celeba")
SPELLINGS = (
    "--data takes digits, mnist, celeba, hub:owner/name, a folder of images, "
    "or a folder or file of parquet or (streaming) tar"
)
CELEBA_CROP = 140  # of the Wasserstein autoencoder's experiments, which the paper follows
CELEBA_SIZE = 64


def _unknown(source: str) -> GenrevError:
    path = expand(source, "--data")
    known = {name: name for name in NAMES}
    if path.parent.is_dir() and path.name:
        known |= {str(other): str(other) for other in path.parent.iterdir()}
    if REPOSITORY.fullmatch(source):
        known[source] = f"hub:{source}"  # the likeliest of all: a name of the hub without hub:
    close = difflib.get_close_matches(source, known, n=1) or difflib.get_close_matches(
        source.lower(), known, n=1
    )
    hint = f' (did you mean "{known[close[0]]}"?)' if close else ""
    return GenrevError(f'no data set and no path is called "{source}"{hint}: {SPELLINGS}')


def local_path(source: str) -> Path | None:
    """The path that ``DataConfig.source`` means, absolute; ``None`` where it is a name."""
    if source in NAMES or source.startswith("hub:"):
        return None
    return expand(source, "--data").absolute()


def _path_source(path: Path, split: str, label: str | None) -> Source:
    if path.is_file():
        if path.suffix.lower() == TAR:
            raise _must_be_streamed(path)
        if path.suffix.lower() != ".parquet":
            raise GenrevError(f"{path} is a file, but not one of parquet: {SPELLINGS}")
        return parquet_source(path, split, label, [path], [])
    files = list_files(path)
    tables = [file for file in files if file.suffix.lower() == ".parquet"]
    if tables:
        others = [file for file in files if file.suffix.lower() != ".parquet"]
        return parquet_source(path, split, label, tables, others)
    if any(file.suffix.lower() == TAR for file in files) and not any(map(is_image, files)):
        raise _must_be_streamed(path)
    return folder_source(path, split, label, files)


def _must_be_streamed(path: Path) -> GenrevError:
    return GenrevError(
        f"{path} holds images in tar files, which are streamed only; add --data.streaming true"
    )


def _with_defaults(config: DataConfig) -> DataConfig:
    """The configuration with the defaults of its source."""
    if config.source == "celeba":
        config = dataclasses.replace(
            config, crop=config.crop or CELEBA_CROP, image_size=config.image_size or CELEBA_SIZE
        )
    return dataclasses.replace(config, crop=None) if config.crop == "none" else config


def _hub_names(source: str) -> tuple[str, str] | None:
    """Address on the hub, and short name, of a source that is there."""
    if source.startswith("hub:"):
        address = source.removeprefix("hub:")
        return address, address.partition("@")[0]
    known = {"mnist": MNIST, "celeba": CELEBA}
    return (known[source], source) if source in known else None


def _existing(source: str) -> Path:
    path = expand(source, "--data")
    if not source or not path.exists():
        raise _unknown(source)
    return path


def open_source(config: DataConfig, split: str) -> tuple[Source, DataConfig]:
    """Find what ``config.source`` means.

    Args:
        config: What the user asked for.
        split: Which split, usually ``train`` or ``test``.

    Returns:
        The source, not yet read, and the configuration with the defaults of that source.

    Raises:
        GenrevError: If there is no such source, or it does not have the split or label column.
    """
    name, label = config.source, config.label
    config = _with_defaults(config)
    if name == "digits":
        return digits_source(split, label), config
    if hub := _hub_names(name):
        return hub_source(*hub, split, label, SPELLINGS), config
    return _path_source(_existing(name), split, label), config


def open_shards(config: DataConfig, split: str) -> tuple[Shards, DataConfig]:
    """Find what ``config.source`` means, to be streamed.

    Args:
        config: What the user asked for.
        split: Which split, usually ``train`` or ``test``.

    Returns:
        Its shards, of which little or nothing has been read yet, and the configuration with the
        defaults of that source.

    Raises:
        GenrevError: As ``open_source``, and if it cannot be streamed.
    """
    name, label = config.source, config.label
    config = _with_defaults(config)
    if name == "digits":
        raise GenrevError("digits is small and always in memory; leave streaming out")
    if hub := _hub_names(name):
        return hub_shards(*hub, split, label, config.cache, SPELLINGS), config
    path = _existing(name)
    files = [path] if path.is_file() else list_files(path)
    return local_shards(path, split, label, config.cache, files), config
