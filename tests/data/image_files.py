"""What several test modules write images with."""

import io
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def numbered(n: int, side: int = 4) -> np.ndarray:
    """n grey images whose first two pixels tell their number, uint8 (n, side, side)."""
    images = np.random.default_rng(n).integers(0, 256, (n, side, side)).astype(np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(n) & 255, np.arange(n) >> 8
    return images


def write_shards(
    folder: Path, sizes: Sequence[int], group: int = 5, labels: bool = True, side: int = 4
) -> np.ndarray:
    """Write parquet files of the given numbers of rows; returns all images, (n, side, side)."""
    images = numbered(sum(sizes), side)
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for number, size in enumerate(sizes):
        rows = range(start, start + size)
        columns = {"image": [{"bytes": png(images[row]), "path": None} for row in rows]}
        if labels:
            columns["label"] = [row % 3 for row in rows]
        table = pa.table(columns)
        pq.write_table(table, folder / f"part-{number:03}.parquet", row_group_size=group)
        start += size
    return images


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def one_sentence(error: Exception) -> str:
    """The message of an error, which must be one sentence of reasonable length."""
    message = str(error)
    assert "\n" not in message
    assert not re.search(r"\.\s+[A-Z]", message)
    assert not message.startswith(("the ", "none ", "no ", "there "))
    assert message.endswith(".")
    assert not message.endswith("..")
    assert len(message) < 500
    return message
