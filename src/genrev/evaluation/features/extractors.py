"""Feature extractors: what turns images into the vectors that distances are computed from.

A distance means nothing without the name of its features, so every result repeats it, with the
SHA-256 of the weights and how images were resized. FID's own features are those of the Inception
network of 2015-12-05, which the extra ``genrev[fid]`` has from torch-fidelity; without it a
TorchScript file does, such as the one StyleGAN3 published.

**Trust.** TorchScript is a program that loading runs, and it can write files. Where a person names
a file, that is the permission. One that a configuration names, which may be a stranger's, runs only
if this user has named it before, on this machine: its SHA-256 is kept below
``$GENREV_CACHE/trusted/`` (or ``~/.cache/genrev/trusted/``), which no configuration can change.
"""

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save
from torch import Tensor, nn

from genrev.errors import GenrevError
from genrev.files.cache import cache_folder
from genrev.files.paths import expand, reason


class FeatureExtractor(Protocol):
    """Maps uint8 images (N, C, H, W) to float32 features (N, D) on the CPU.

    Numbers are printed with its ``name``, e.g. ``fid768``, the hexadecimal ``sha256`` of its
    weights and how it resizes images, "none" or "inside extractor"; ``dim`` is D.
    """

    name: str
    sha256: str
    dim: int
    resize: str

    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 images (N, C, H, W) to float32 features (N, D)."""


class TorchScriptFeatures:
    """A TorchScript file that maps uint8 images (N, 3, H, W) of any size to features (N, D).

    Grey images are repeated to three channels unless the file takes one channel only. The name is
    that of the file; if it has Inception in it, ``fid`` and the number of features: numbers are
    comparable with published FID for ``fid2048`` of the 2015-12-05 weights alone.

    Raises:
        GenrevError: there is no such file, it is no TorchScript, or returns anything else.
    """

    resize = "inside extractor"

    def __init__(self, path: str | Path, device: torch.device | str = "cpu") -> None:
        self.path = expand(path)
        self.device = torch.device(device)
        self.sha256 = _file_hash(self.path)
        try:
            self._module = torch.jit.load(str(self.path), map_location=self.device).eval()
        except (RuntimeError, ValueError) as error:
            raise GenrevError(
                f"The feature extractor {self.path} is no TorchScript file that PyTorch "
                f"{torch.__version__} can load ({reason(error)}); save it with torch.jit.save "
                "of a PyTorch that is not newer."
            ) from error
        self.channels, self.dim = self._probe()
        stem = self.path.stem
        self.name = f"fid{self.dim}" if "inception" in stem.lower() else stem

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 images (N, C, H, W) with one or three channels to features (N, D)."""
        images = _in_colour(images) if self.channels == 3 else require_bytes(images)
        if images.shape[1] != self.channels:
            raise GenrevError(
                f"The feature extractor {self.path} takes images with {self.channels} channels and "
                f"the data has {images.shape[1]}; choose another extractor."
            )
        return self._run(images, self.dim).float().cpu()

    @torch.no_grad()
    def _probe(self) -> tuple[int, int]:
        """How many channels go in and how many features come out."""
        failures = []
        for channels in (3, 1):
            try:
                found = self._run(torch.zeros(2, channels, 64, 64, dtype=torch.uint8))
                return channels, found.shape[1]
            except RuntimeError as error:
                failures.append(error)
        why = str(failures[0]).strip().rpartition("\n")[2]
        raise GenrevError(
            f"The feature extractor {self.path} fails on a uint8 tensor of shape (2, 3, 64, 64) "
            f"({why}); it has to take images of any size."
        ) from failures[0]

    def _run(self, images: Tensor, dim: int | None = None) -> Tensor:
        found = self._module(images.contiguous().to(self.device))
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        right = isinstance(found, Tensor) and found.dim() == 2 and len(found) == len(images)
        if not right or (dim is not None and found.shape[1] != dim):
            raise GenrevError(
                f"The feature extractor {self.path} returns {shape} for {len(images)} images and "
                f"has to return a tensor of shape ({len(images)}, {dim or 'D'})."
            )
        return found


class InceptionFeatures:
    """The 2,048 features of FID, of the weights that published ones have; grey becomes colour.

    torch-fidelity fetches the weights (about 90 MB) the first time and keeps them in torch's hub
    folder. It needs torchvision, so it is an extra.

    Raises:
        GenrevError: torch-fidelity cannot be imported, or its weights cannot be fetched.
    """

    name, dim, resize = "fid2048", 2048, "inside extractor"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except (ImportError, RuntimeError) as error:  # torchvision that does not fit raises either
            raise GenrevError(
                f"The features of FID need torch-fidelity, which cannot be imported ({error}); "
                'install it with `pip install "genrev[fid]"`, or give a TorchScript file with '
                "--features FILE."
            ) from error
        try:
            network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        except (OSError, RuntimeError) as error:
            raise GenrevError(
                f"torch-fidelity could not fetch the weights of its Inception network ({error}); "
                "connect to the network once, or give a TorchScript file with --features FILE."
            ) from error
        self.sha256 = hashlib.sha256(serialised(network)).hexdigest()
        self._network = network.eval().to(self.device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 images (N, C, H, W) with one or three channels to features (N, 2048)."""
        (features,) = self._network(_in_colour(images).contiguous().to(self.device))
        return features.float().cpu()


def has_inception() -> bool:
    """Whether the extra is installed; nothing is imported or fetched."""
    return importlib.util.find_spec("torch_fidelity") is not None


def trust(path: str | Path) -> None:
    """Remember that the user has named this file; tells on stderr if it cannot be written down."""
    entry = _trust_entry(path)
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.touch()
    except OSError as error:
        told = f"{entry} cannot be written ({error.strerror}); name the file again when you resume."
        print(f"It could not be kept that {path} may run: {told}", file=sys.stderr)


def require_trusted(path: str | Path, source: str, cure: str) -> None:
    """Refuse a file that the configuration ``source`` names and this user has never named."""
    if not _trust_entry(path).is_file():
        raise GenrevError(
            f"{source} names the features {path}, a program that you have not named yourself "
            f"on this machine; if it is yours or you trust it, {cure}."
        )


def require_bytes(images: Tensor) -> Tensor:
    """The images, which have to be uint8, as files have them; else a ``TypeError``."""
    if images.dtype != torch.uint8:
        raise TypeError(
            f"images are measured as files have them, in uint8, and these are {images.dtype}; give "
            "(255 * images).round().to(torch.uint8) for values in [0, 1]."
        )
    return images


def serialised(module: nn.Module) -> bytes:
    """The weights as a safetensors file has them."""
    return save({name: t.cpu().contiguous() for name, t in module.state_dict().items()})


def _in_colour(images: Tensor) -> Tensor:
    images = require_bytes(images)
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _trust_entry(path: str | Path) -> Path:
    return cache_folder("trusted") / _file_hash(expand(path))


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise GenrevError(
            f"Cannot read the feature extractor {path} ({error.strerror}); "
            "give the path of a TorchScript file."
        ) from error
