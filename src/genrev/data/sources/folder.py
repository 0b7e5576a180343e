"""A folder of image files, labelled by its subfolders where that is possible without doubt."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from genrev.data.config import DataConfig
from genrev.data.decode import find_images
from genrev.data.labels import NO_LABELS, order_classes
from genrev.data.sources import Record, Source
from genrev.data.splits import Placed, find_split, split_files
from genrev.errors import GenrevError
from genrev.files.paths import expand, list_files

_COMPRESSED = (".tgz", ".gz", ".bz2", ".xz", ".zst")


class FileSource(Source):
    """Files in a folder, sorted into ``genrev.data.splits``, or a single file as every split."""

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        self.path = expand(config.source, "--data")
        self.name = f"The folder {self.path}"

    def find_by_ending(self, ending: str, split: str) -> None:
        """As ``find``, for all files that have an ending."""
        files, self.kind = list_files(self.path), ending.removeprefix(".")
        found = [path for path in files if path.suffix.lower() == ending]
        others = [path for path in files if path.suffix.lower() != ending]
        self.find(split, found, others, tables=True)

    def find(
        self, split: str, found: Sequence[Path], others: Sequence[Path], *, tables: bool
    ) -> None:
        """Sort files into splits (see ``split_files``) and choose one; the others are not read."""
        single, real = self.path.is_file(), self.path.resolve()
        self.root = self.path.parent if single else self.path
        self.name = real.stem if single else real.name
        self.groups = split_files(self.path, found, tables=tables)
        self.splits = {name: None for name in self.groups if name}
        cure = "rename one of them, or name as data the folder or file of one"
        self.split = find_split(self.splits, split, f"The folder {self.path}", cure)
        self.placed = self.groups[self.split if self.splits else ""]
        self.files = [path for path, _ in self.placed]
        self.skipped = tuple(path.relative_to(self.root).as_posix() for path in others)
        state = list(map(self._state, self.files))
        self.identity: dict[str, object] = {"root": str(self.root.resolve()), "files": state}

    def content(self) -> list[list[object]]:
        """Names and sizes of the files: the same files elsewhere are the same content."""
        return [self._state(path)[:2] for path in self.files]

    def _state(self, path: Path) -> list[object]:
        """Name, size and time of last change: what the cache takes for the content of a file."""
        name = path.relative_to(self.root).as_posix()
        try:
            stat = path.stat()
        except OSError:  # a link that leads nowhere, which is reported when it is read
            return [name, None, None]
        return [name, stat.st_size, stat.st_mtime_ns]


class Folder(FileSource):
    """Image files; subfolders are classes if each image of the split is in just one, no deeper."""

    def __init__(self, config: DataConfig, split: str) -> None:
        super().__init__(config)
        files = list_files(self.path)
        if config.streaming:
            packed = any(path.suffix.lower() in _COMPRESSED for path in files)
            cure = "unpack its compressed tar files" if packed else "leave streaming out"
            raise GenrevError(
                f"{self.name} cannot be streamed, since it has no .parquet or .tar files; {cure}, "
                "or name another source."
            )
        images, others = find_images(files)
        if not images:
            endings = ", ".join(sorted({path.suffix.lower() or "no ending" for path in others})[:5])
            found = f", only files with {endings}," if endings else ""
            raise GenrevError(
                f"{self.name} has no images in it{found} that can be read; "
                "name one with .png, .jpg, .webp or other image files, or with .parquet files."
            )
        self.refuse_columns(", since images in folders are labelled by their subfolders")
        self.find(split, images, others, tables=False)
        self.splits = {name: len(group) for name, group in self.groups.items() if name}
        self.total = len(self.files)
        if _is_labelled(self.placed) and config.label != NO_LABELS:
            labelled = [placed for placed in self.groups.values() if _is_labelled(placed)]
            self.class_names = order_classes(folders[0] for g in labelled for _, folders in g)
        self.identity = {**self.identity, "classes": self.class_names}

    def records(self) -> Iterator[Record]:
        """The files, sorted by their paths."""
        numbers = {name: number for number, name in enumerate(self.class_names or ())}
        for path, folders in self.placed:
            yield Record(str(path), path, numbers[folders[0]] if numbers else None)


def _is_labelled(placed: Sequence[Placed]) -> bool:
    """Whether every image is in exactly one folder, that of its class."""
    return all(len(folders) == 1 for _, folders in placed)
