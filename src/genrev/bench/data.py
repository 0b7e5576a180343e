"""Feeding images: the decoded cache against decoding PNG files, and streams against their peers.

Streams are whole epochs of local shards of the same JPEG files, shuffled in a buffer of one size
and decoded in one thread to the same uint8 batches. The five seconds that ``datasets`` (5.2) sleeps
after an epoch are left out, which with many images nobody would notice.
"""

import io
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import parquet
from torch import Tensor

from genrev.bench.measuring import interleaved_seconds, machine
from genrev.data import BatchLoader, DataConfig, ImageData, StreamLoader, open_stream
from genrev.data.images import fingerprint

BATCH, SHARDS = 256, 4
_IMAGES = 2048
_BUFFER = 1024
_ROW_GROUP = 100  # what the datasets library writes for images

Epoch = Callable[[], Iterator[Tensor]]
"""Batches (N, 3, H, W) of uint8 that hold every image once."""


def run(repeats: int = 5, side: int = 64) -> dict[str, Any]:
    """Images per second from cache and files, and of streams by kind of shard, with ratios."""
    rng = np.random.default_rng(0)
    # Smooth images compress as photographs do; noise would not.
    coarse = rng.integers(0, 256, (_IMAGES, side // 8, side // 8, 3), dtype=np.uint8)
    pictures = [Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC) for c in coarse]
    encoded = [_encoded(picture, "PNG") for picture in pictures]
    pixels = np.stack([np.asarray(p).transpose(2, 0, 1) for p in pictures])
    labels = np.zeros(_IMAGES, np.int64)
    data = ImageData(pixels, labels, ("all",), "bench", fingerprint(pixels, labels))
    batches = iter(BatchLoader(data, BATCH, steps=1_000_000, seed=0, balanced=False))
    order = iter(torch.randint(_IMAGES, (1_000_000,)).tolist())

    def cached() -> Tensor:
        return next(batches)["image"].float() / 255

    def decoded() -> Tensor:
        chosen = [np.asarray(Image.open(io.BytesIO(encoded[next(order)]))) for _ in range(BATCH)]
        return torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).float() / 255

    seconds = interleaved_seconds({"genrev": cached, "png": decoded}, repeats)
    rates = {name: BATCH / s for name, s in seconds.items()}
    return {
        "benchmark": "data",
        "machine": machine(),
        "image": f"{side}x{side} RGB",
        "images_per_second": rates,
        "speedup": rates["genrev"] / rates["png"],
        "streaming": _streaming(pictures, repeats),
    }


def format_result(result: dict[str, Any]) -> str:
    """The result as lines of text."""
    rates = result["images_per_second"]
    lines = [
        f"{result['image']}, float batches of {BATCH}: cache {rates['genrev']:,.0f} images/s, "
        f"decoding PNG {rates['png']:,.0f} images/s, ratio {result['speedup']:.1f}"
    ]
    for kind, stream in result["streaming"].items():
        rates = stream["images_per_second"]
        told = [f"genrev {rates['genrev']:,.0f} images/s"]
        for peer, ratio in stream["speedup"].items():
            told.append(f"{peer} {rates[peer]:,.0f} images/s, ratio {ratio:.2f}")
        lines.append(f"streaming JPEG from {kind}, decoded in one thread: {', '.join(told)}")
    return "\n".join(lines)


def _streaming(pictures: list[Image.Image], repeats: int) -> dict[str, Any]:
    """Images per second of genrev and its peers, and genrev's ratio to each, by kind of shard."""
    results = {}
    with TemporaryDirectory(prefix="genrev-bench-") as name:
        folder = Path(name)
        write_shards(folder, pictures)
        for kind, epochs in candidates(folder, len(pictures)).items():
            calls = {n: (lambda epoch=e: deque(epoch(), maxlen=0)) for n, e in epochs.items()}
            seconds = interleaved_seconds(calls, repeats)
            rates = {peer: len(pictures) / s for peer, s in seconds.items()}
            ratios = {peer: rates["genrev"] / rates[peer] for peer in rates if peer != "genrev"}
            results[kind] = {"images_per_second": rates, "speedup": ratios}
    return results


def write_shards(folder: Path, pictures: list[Image.Image]) -> None:
    """Write the same images to ``folder/parquet`` and to ``folder/tar``, as JPEG."""
    jpegs = [_encoded(picture, "JPEG", quality=95) for picture in pictures]
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    (folder / "parquet").mkdir()
    (folder / "tar").mkdir()
    for shard in range(SHARDS):
        part = jpegs[shard::SHARDS]
        column = pa.array([{"bytes": jpeg, "path": None} for jpeg in part], image)
        path = folder / f"parquet/train-{shard}.parquet"
        parquet.write_table(pa.table({"image": column}), path, row_group_size=_ROW_GROUP)
        with tarfile.open(folder / f"tar/train-{shard}.tar", "w") as tar:
            for number, jpeg in enumerate(part):
                member = tarfile.TarInfo(f"{shard}{number:06d}.jpg")
                member.size = len(jpeg)
                tar.addfile(member, io.BytesIO(jpeg))


def candidates(folder: Path, images: int) -> dict[str, dict[str, Epoch]]:
    """For both kinds of shards, everybody who is installed, by name."""
    tar = sorted(map(str, (folder / "tar").iterdir()))
    rows = sorted(map(str, (folder / "parquet").iterdir()))
    epochs = {"parquet": {"datasets": _datasets("parquet", rows, "image")}}
    epochs["tar"] = {"datasets": _datasets("webdataset", tar, "jpg")}
    if find_spec("webdataset") is not None:
        epochs["tar"]["webdataset"] = _webdataset(tar)
    return {kind: {"genrev": _genrev(folder, kind, images), **epochs[kind]} for kind in epochs}


def _genrev(folder: Path, kind: str, images: int) -> Epoch:
    config = DataConfig(source=str(folder / kind), cache=str(folder / "cache"), workers=0)
    stream = open_stream(config.replace(streaming=True, shuffle_buffer=_BUFFER))
    seeds = count()

    def epoch() -> Iterator[Tensor]:
        loader = StreamLoader(stream, BATCH, images // BATCH, next(seeds))
        return (batch["image"] for batch in loader)

    return epoch


def _datasets(builder: str, files: list[str], column: str) -> Epoch:
    import datasets

    stream = datasets.load_dataset(builder, data_files=files, split="train", streaming=True)
    stream = stream.cast_column(column, datasets.Image())
    seeds = count()

    def epoch() -> Iterator[Tensor]:
        shuffled = stream.shuffle(seed=next(seeds), buffer_size=_BUFFER)
        with patch.object(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0, create=True):
            yield from _batches(np.asarray(row[column]) for row in shuffled)

    return epoch


def _webdataset(files: list[str]) -> Epoch:
    import webdataset

    def epoch() -> Iterator[Tensor]:
        stream = webdataset.WebDataset(files, shardshuffle=len(files))
        decoded = stream.shuffle(_BUFFER).decode("rgb8").to_tuple("jpg")
        return _batches(pixels for (pixels,) in decoded)

    return epoch


def _batches(images: Iterable[np.ndarray]) -> Iterator[Tensor]:
    """Batches (N, 3, H, W) of images (H, W, 3)."""
    rest = iter(images)
    while chosen := list(islice(rest, BATCH)):
        yield torch.from_numpy(np.stack(chosen).transpose(0, 3, 1, 2).copy())


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
