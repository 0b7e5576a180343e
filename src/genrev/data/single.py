"""Single image files, for commands that are handed a picture instead of a data set."""

from pathlib import Path

import torch
from torch import Tensor

from genrev.data.config import DataConfig
from genrev.data.decode import decode
from genrev.data.files import find_images, list_files
from genrev.data.source import Record

__all__ = ["image_files", "read_image"]


def image_files(folder: Path) -> list[Path]:
    """All image files below a folder, sorted.

    Raises:
        GenrevError: a folder that cannot be read, or a link that leads nowhere.
    """
    return find_images(list_files(folder))[0]


def read_image(path: Path, config: DataConfig) -> Tensor:
    """Read one image file.

    Args:
        path: the file.
        config: channels, crop and size to bring it to.

    Returns:
        Float tensor (C, H, W) in [0, 1].

    Raises:
        GenrevError: a file that is damaged, no image, or enormous.
    """
    pixels = decode(Record(str(path), path, None), config)
    return torch.from_numpy(pixels.copy()).float() / 255
