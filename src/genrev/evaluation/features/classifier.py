"""A small image classifier, trained by the project itself, as judge and as feature extractor.

The layer before its last one gives features that suit the data better than those of photographs do
(of hand-written digits, Inception sees little but strokes). It has at most about a hundred thousand
parameters, to train on one core in minutes and fit into the package. Distances in its features rank
models on the same data; they are not comparable with published FID, and never printed as such.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn import functional as F

from genrev.errors import GenrevError
from genrev.evaluation.features.extractors import require_bytes, serialised
from genrev.files.paths import expand
from genrev.files.writing import write_bytes, write_text
from genrev.models.devices import batch_size_on, in_batches

FEATURES, MAX_CHANNELS, SMALLEST_MAP = 64, 64, 4
SCORING_BATCH = 500


@dataclass(frozen=True)
class ClassifierInfo:
    """What is known about a trained classifier, with its accuracy on images that it never saw."""

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    data: str
    train_fingerprint: str
    test_fingerprint: str
    train_count: int
    test_count: int
    accuracy: float
    parameters: int
    seed: int
    steps: int


class Classifier(nn.Module):
    """Convolutions with batch norm and pooling, a feature layer of 64 units, a linear layer.

    ``info`` is what is known about the training; None before it.

    Example:
        >>> classifier = Classifier((1, 28, 28), 10)
        >>> classifier(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 10])
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        info: ClassifierInfo | None = None,
    ) -> None:
        super().__init__()
        if min(image_shape[1:]) < 2:
            raise ValueError(f"images must be at least 2 pixels wide and high, got {image_shape}")
        self.image_shape, self.num_classes, self.info = image_shape, num_classes, info
        channels, height, width = image_shape
        layers: list[nn.Module] = []
        hidden = MAX_CHANNELS // 4
        while min(height, width) > SMALLEST_MAP or not layers:
            convolution = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(hidden), nn.ReLU(), nn.MaxPool2d(2)]
            channels, hidden = hidden, min(2 * hidden, MAX_CHANNELS)
            height, width = height // 2, width // 2
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(channels * height * width, FEATURES)
        self.output = nn.Linear(FEATURES, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Activations of the layer before the last: images (N, C, H, W) in [0, 1] to (N, 64)."""
        if not x.is_floating_point():
            raise TypeError(
                f"the classifier takes floats in [0, 1], got {x.dtype}; give x.float() / 255 for "
                "8-bit pixels, or use predict"
            )
        if x.shape[1:] != self.image_shape:
            raise ValueError(
                f"the classifier takes images of shape {self.image_shape}, got {tuple(x.shape[1:])}"
            )
        return F.relu(self.hidden(self.convolutions(2 * x - 1).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits: images (N, C, H, W) in [0, 1] to (N, num_classes)."""
        return self.output(self.features(x))

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Most likely class of uint8 images (N, C, H, W), int64 (N,), where the images are."""
        size = batch_size_on(self.device, SCORING_BATCH)
        found = in_batches(
            lambda batch: self(batch.to(self.device).float() / 255).argmax(1).to(images.device),
            require_bytes(images),
            size,
            "classes of images",
        )
        return torch.cat([*found])

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.output.weight.device

    @property
    def sha256(self) -> str:
        """Hash of the file that ``save`` writes."""
        return hashlib.sha256(serialised(self)).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the weights to ``path`` (.safetensors) and ``info`` to the same name with .json."""
        if self.info is None:
            raise ValueError("only a trained classifier can be saved")
        path = expand(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, serialised(self))
        # The JSON comes last: whoever finds it finds the weights too.
        write_text(path.with_suffix(".json"), json.dumps(asdict(self.info), indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Classifier":
        """Read what ``save`` wrote, in evaluation mode; GenrevError if a file is damaged."""
        path = expand(path)
        try:
            fields = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            tuples = {name: tuple(fields[name]) for name in ("image_shape", "class_names")}
            info = ClassifierInfo(**{**fields, **tuples})
            classifier = cls(info.image_shape, len(info.class_names), info)
            classifier.load_state_dict(load_tensors(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise GenrevError(
                f"Cannot read the classifier {path} and its .json ({error}); "
                "delete both and they will be trained again."
            ) from error
        return classifier.eval()


class ClassifierFeatures:
    """The penultimate layer of a trained classifier in evaluation mode, as ``FeatureExtractor``."""

    resize = "none"

    def __init__(self, classifier: Classifier) -> None:
        data = classifier.info.data if classifier.info else "untrained"
        self.classifier, self.dim, self.sha256 = classifier, FEATURES, classifier.sha256
        self.name = f"{data}-classifier{FEATURES}"
        self.device = classifier.device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 images (N, C, H, W) to float32 features (N, 64) on the CPU."""
        images = require_bytes(images).to(self.device)
        return self.classifier.features(images.float() / 255).cpu()
