"""From what the user calls the data to a source: the one place where spellings are read."""

import dataclasses
import difflib
from pathlib import Path

from genrev.data.config import DataConfig
from genrev.data.digits import digits_source
from genrev.data.folder import folder_source, list_files
from genrev.data.hub import CELEBA, MNIST, REPOSITORY, hub_source
from genrev.data.parquet import parquet_source
from genrev.data.source import Source
from genrev.errors import GenrevError

__all__ = ["SPELLINGS", "local_path", "open_source"]

NAMES = ("digits", "mnist", "celeba")
SPELLINGS = (
    "--data takes digits, mnist, celeba, hub:owner/name, a folder of images, "
    "or a folder or file of parquet"
)
CELEBA_CROP = 140  # of the Wasserstein autoencoder's experiments, which the paper follows
CELEBA_SIZE = 64


def _unknown(source: str) -> GenrevError:
    path = Path(source).expanduser()
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
    return Path(source).expanduser().absolute()


def _path_source(path: Path, split: str, label: str | None) -> Source:
    if path.is_file():
        if path.suffix.lower() != ".parquet":
            raise GenrevError(f"{path} is a file, but not one of parquet: {SPELLINGS}")
        return parquet_source(path, split, label, [path])
    files = list_files(path)
    tables = [file for file in files if file.suffix.lower() == ".parquet"]
    if tables:
        return parquet_source(path, split, label, tables)
    return folder_source(path, split, label, files)


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
    name = config.source
    if name == "celeba":
        config = dataclasses.replace(
            config, crop=config.crop or CELEBA_CROP, image_size=config.image_size or CELEBA_SIZE
        )
    if config.crop == "none":
        config = dataclasses.replace(config, crop=None)
    if name == "digits":
        return digits_source(split, config.label), config
    if name == "mnist":
        return hub_source(MNIST, name, split, config.label, SPELLINGS), config
    if name == "celeba":
        return hub_source(CELEBA, name, split, config.label, SPELLINGS), config
    if name.startswith("hub:"):
        address = name.removeprefix("hub:")
        short = address.partition("@")[0]
        return hub_source(address, short, split, config.label, SPELLINGS), config
    path = Path(name).expanduser()
    if not name or not path.exists():
        raise _unknown(name)
    return _path_source(path, split, config.label), config
