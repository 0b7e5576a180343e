"""Feature extractors: what turns images into the vectors that distances are computed from.

A distance between sets of images means nothing without the name of its features, so an extractor
carries a name, the SHA-256 of its weights and the way it resizes, and every result repeats them.
The package brings no Inception network; a user who wants FID's gives a TorchScript file, such as
the one StyleGAN3 published. TorchScript is loaded by ``torch.jit.load``, never by
unpickling, but it is a program all the same: see ``trust``.
"""

import hashlib
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from genrev.errors import GenrevError
from genrev.files.paths import expand

__all__ = ["FeatureExtractor", "TorchScriptFeatures", "file_hash", "require_bytes"]

PROBE_SIZE = 64


class FeatureExtractor(Protocol):
    """Maps uint8 images (N, C, H, W) to float32 features (N, D) on the CPU."""

    @property
    def name(self) -> str:
        """Name under which numbers are printed, e.g. ``fid768``."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of the weights, hexadecimal."""
        ...

    @property
    def dim(self) -> int:
        """Number D of features."""
        ...

    @property
    def resize(self) -> str:
        """How images are resized before the network sees them, "none" or "inside extractor"."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 images (N, C, H, W) to float32 features (N, D)."""
        ...


class TorchScriptFeatures:
    """A TorchScript file that maps uint8 images (N, 3, H, W) of any size to features (N, D).

    Grey images are repeated to three channels where the file needs that; a file may also take
    one channel only. The name is ``fid`` and the number of features where the file is called after
    Inception, else that of the file: numbers are comparable with published FID for ``fid2048`` of
    the 2015-12-05 Inception weights alone.

    Args:
        path: The file.
        device: Where to run it; images and features are moved there and back.

    Raises:
        GenrevError: If there is no such file, it is not TorchScript, or it does not map two
            images to two feature vectors.
    """

    resize = "inside extractor"

    def __init__(self, path: str | Path, device: torch.device | str = "cpu") -> None:
        self.path = expand(path)
        self.device = torch.device(device)
        self.sha256 = file_hash(self.path)
        try:
            self._module = torch.jit.load(str(self.path), map_location=self.device).eval()
        except (RuntimeError, ValueError) as error:
            raise GenrevError(
                f"the feature extractor {self.path} is no TorchScript file; "
                "save it with torch.jit.save"
            ) from error
        self.channels, self.dim = self._probe()
        stem = self.path.stem
        self.name = f"fid{self.dim}" if "inception" in stem.lower() else stem

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 images (N, C, H, W) with one or three channels to features (N, D).

        Raises:
            GenrevError: If the images have a number of channels the file cannot take, or the
                output is not (N, D).
            TypeError: If the images are not uint8.
        """
        require_bytes(images)
        if images.shape[1] == 1 and self.channels == 3:
            images = images.expand(-1, 3, -1, -1)
        if images.shape[1] != self.channels:
            raise GenrevError(
                f"the feature extractor {self.path} takes images with {self.channels} channels and "
                f"the data has {images.shape[1]}; choose another extractor"
            )
        features = self._module(images.contiguous().to(self.device))
        self._check(features, len(images), self.dim)
        return features.float().cpu()

    @torch.no_grad()
    def _probe(self) -> tuple[int, int]:
        """Find out how many channels go in and how many features come out."""
        failure: RuntimeError | None = None
        for channels in (3, 1):
            blank = torch.zeros(
                2, channels, PROBE_SIZE, PROBE_SIZE, dtype=torch.uint8, device=self.device
            )
            try:
                features = self._module(blank)
            except RuntimeError as error:
                failure = failure or error
                continue
            self._check(features, len(blank), None)
            return channels, features.shape[1]
        reason = str(failure).strip().rpartition("\n")[2]
        raise GenrevError(
            f"the feature extractor {self.path} fails on a uint8 tensor of shape "
            f"(2, 3, {PROBE_SIZE}, {PROBE_SIZE}) ({reason}); it has to take images of any size"
        ) from failure

    def _check(self, features: object, count: int, dim: int | None) -> None:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        right = isinstance(features, Tensor) and features.dim() == 2 and len(features) == count
        if not right or (dim is not None and shape != (count, dim)):
            raise GenrevError(
                f"the feature extractor {self.path} returns {shape} for {count} images and has to "
                f"return a tensor of shape ({count}, {dim or 'D'})"
            )


def require_bytes(images: Tensor) -> None:
    """Check that images are as files have them.

    Raises:
        TypeError: they are not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(
            f"images are measured as files have them, in uint8, and these are {images.dtype}; give "
            "(255 * images).round().to(torch.uint8) for values in [0, 1]."
        )


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        GenrevError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise GenrevError(
            f"cannot read the feature extractor {path} ({error.strerror}); "
            "give the path of a TorchScript file"
        ) from error
