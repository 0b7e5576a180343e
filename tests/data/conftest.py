from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import png

collect_ignore = ["stripes_source.py"]  # a plugin: importing it registers a source


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch) -> Path:
    """A cache of its own for every test, so that none reads what another has decoded."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GENREV_CACHE", str(folder))
    return folder / "data"


@pytest.fixture
def pixels() -> np.ndarray:
    """12 grey images of 7 rows and 5 columns, uint8 (12, 7, 5)."""
    return np.random.default_rng(0).integers(0, 256, (12, 7, 5)).astype(np.uint8)


@pytest.fixture
def write_folder(tmp_path) -> Callable[..., Path]:
    """Write arrays as PNG files, into the subfolders given by ``places``."""

    def write(name: str, arrays: Sequence[np.ndarray], places: Sequence[str] = ()) -> Path:
        root = tmp_path / name
        for number, array in enumerate(arrays):
            folder = root / (places[number] if places else "")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:03}.png").write_bytes(png(array))
        return root

    return write


@pytest.fixture
def write_parquet(tmp_path) -> Callable[..., Path]:
    """Write arrays as a parquet file with struct{bytes, path} and further columns."""

    def write(name: str, arrays: Sequence[np.ndarray], **columns: Sequence[object]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        images = [{"bytes": png(array), "path": f"{n}.png"} for n, array in enumerate(arrays)]
        pq.write_table(pa.table({"image": images, **columns}), path)
        return path

    return write
