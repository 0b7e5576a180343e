"""Arrays of images as people have them become bytes with the channels last, as files have them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from genrev.errors import GenrevError

_SLACK = 1e-3  # values of resized images leave [0, 1] by as little


def as_pixels(images: Tensor | np.ndarray, what: str) -> np.ndarray:
    """Images in bytes: uint8 (N, H, W) if they are grey, or (N, H, W, 3).

    Args:
        images: uint8, or floats in [0, 1], which are rounded; (N, C, H, W) or (N, H, W, C) with one
            or three channels, or (N, H, W).
        what: what they are, for messages.

    Raises:
        GenrevError: another shape, another type, or numbers out of range.

    Example:
        >>> as_pixels(torch.ones(2, 1, 4, 6), "images").shape
        (2, 4, 6)
    """
    array = _as_array(images)
    if is_channels_last(array.shape, what):
        return _as_bytes(array, what).squeeze(3) if array.shape[3] == 1 else _as_bytes(array, what)
    if array.ndim == 3:
        return _as_bytes(array, what)
    pixels = _as_bytes(array, what)  # (N, C, H, W)
    return pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)


def is_channels_last(shape: tuple[int, ...], what: str) -> bool:
    """Whether a shape is (N, H, W, C), and not (N, C, H, W), as which both of them count."""
    if len(shape) == 4 and 0 not in shape:
        if shape[1] in (1, 3):
            return False
        if shape[3] in (1, 3):
            return True
    if len(shape) == 3 and 0 not in shape and shape[0] != 3:
        return False
    cure = "images[None] for a single image, " if len(shape) == 3 else ""
    raise GenrevError(
        f"{_capital(what)} have the shape {tuple(shape)}; give {cure}(N, C, H, W) or (N, H, W, C) "
        "with one or three channels, or (N, H, W)."
    )


def _as_array(images: Tensor | np.ndarray) -> np.ndarray:
    if not isinstance(images, Tensor):
        return np.asarray(images)
    images = images.detach().cpu()
    return (images.float() if images.dtype in (torch.bfloat16, torch.float16) else images).numpy()


def _as_bytes(array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise GenrevError(
            f"{_capital(what)} are {array.dtype}; give bytes (uint8, 0 to 255) or floats in [0, 1]."
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= -_SLACK and high <= 1 + _SLACK):  # not a number is neither
        raise GenrevError(
            f"{_capital(what)} have values from {low:.3g} to {high:.3g}; bring floats into [0, 1], "
            "or give bytes (uint8, 0 to 255)."
        )
    found: Any = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    return found


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
