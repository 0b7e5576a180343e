"""How a checkpoint gets to the disk and back: straight, under the very name it is given.

Lightning stages checkpoints in the system's folder for temporary files, which may be small, and
reads names such as ``a::b`` or ``http-run`` as addresses.
"""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

__all__ = ["CheckpointFiles"]


class CheckpointFiles(CheckpointIO):
    """Files of ``torch.save``; one that could not be written whole is removed."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write a file, and have it on the disk.

        Raises:
            OSError: it could not be written.
        """
        del storage_options
        Path(path).unlink(missing_ok=True)
        try:
            with Path(path).open("xb") as file:  # nothing is written through a link
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException as error:
            Path(path).unlink(missing_ok=True)
            # The archive that could not be written complains when it is closed.
            if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a file."""
        loaded: dict[str, Any] = torch.load(path, map_location, weights_only=weights_only)
        return loaded

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a file."""
        Path(path).unlink(missing_ok=True)
