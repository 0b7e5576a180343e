"""Feeding images: the decoded cache against decoding PNG files, and streams against their peers."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image

from genrev.bench.measuring import interleaved_seconds, machine
from genrev.bench.streaming import measure
from genrev.data import BatchLoader, ImageData
from genrev.data.images import fingerprint

__all__ = ["format_result", "run"]

_BATCH, _IMAGES = 256, 2048


def run(repeats: int = 5, side: int = 64) -> dict[str, Any]:
    """Time batches of RGB images from cache and files, and epochs of streams.

    Args:
        repeats: rounds; the median counts.
        side: height and width of the images.

    Returns:
        Images per second of both and their ratio, and under ``streaming`` what ``measure`` returns.
    """
    rng = np.random.default_rng(0)
    # Smooth images compress as photographs do; noise would not.
    coarse = rng.integers(0, 256, (_IMAGES, side // 8, side // 8, 3), dtype=np.uint8)
    pictures = [Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC) for c in coarse]
    encoded = [_png(picture) for picture in pictures]
    pixels = np.stack([np.asarray(p).transpose(2, 0, 1) for p in pictures])
    labels = np.zeros(_IMAGES, np.int64)
    data = ImageData(pixels, labels, ("all",), "bench", fingerprint(pixels, labels))
    loader = BatchLoader(data, _BATCH, steps=1_000_000, seed=0, balanced=False)
    batches = iter(loader)
    order = iter(torch.randint(_IMAGES, (1_000_000,)).tolist())

    def cached() -> torch.Tensor:
        return next(batches)["image"].float() / 255

    def decoded() -> torch.Tensor:
        chosen = [np.asarray(Image.open(io.BytesIO(encoded[next(order)]))) for _ in range(_BATCH)]
        return torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).float() / 255

    seconds = interleaved_seconds({"genrev": cached, "png": decoded}, repeats)
    rates = {name: _BATCH / s for name, s in seconds.items()}
    return {
        "benchmark": "data",
        "machine": machine(),
        "image": f"{side}x{side} RGB",
        "images_per_second": rates,
        "speedup": rates["genrev"] / rates["png"],
        "streaming": measure(pictures, repeats),
    }


def format_result(result: dict[str, Any]) -> str:
    """The result as lines of text."""
    rates = result["images_per_second"]
    lines = [
        f"{result['image']}, float batches of {_BATCH}: cache {rates['genrev']:,.0f} images/s, "
        f"decoding PNG {rates['png']:,.0f} images/s, ratio {result['speedup']:.1f}"
    ]
    for kind, stream in result["streaming"].items():
        rates = stream["images_per_second"]
        peers = ", ".join(
            f"{peer} {rates[peer]:,.0f} images/s, ratio {ratio:.2f}"
            for peer, ratio in stream["speedup"].items()
        )
        lines.append(
            f"streaming JPEG from {kind}, decoded in one thread: "
            f"genrev {rates['genrev']:,.0f} images/s, {peers}"
        )
    return "\n".join(lines)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
