"""A model on show: its name, the images to try it on, and the dimensions worth moving.

Test images may take seconds to find, or not be on this machine at all. So they are asked for only
when a tab needs them, once, and a model that has none shows samples of its own instead.
"""

import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from genrev.figures import widest_dims
from genrev.models.inference import inference
from genrev.models.protocol import GenerativeAutoencoder
from genrev.models.walks import largest_dims

__all__ = ["EXAMPLES", "SLIDERS", "Exhibit"]

EXAMPLES = 12
SLIDERS = 8
_SEED = 7  # of the model's own samples that stand in for test images


class Exhibit:
    """One model of the page.

    Args:
        name: how the page calls it.
        model: encoder, decoder and prior.
        class_names: one name per class of the prior.
        find_images: gives test images (N, C, H, W) in [0, 1] of the model's shape, or ``None``
            where there are none; called at most once, from any thread.

    Raises:
        ValueError: not one name per class.
    """

    def __init__(
        self,
        name: str,
        model: GenerativeAutoencoder,
        class_names: Sequence[str],
        find_images: Callable[[], Tensor | None] = lambda: None,
    ) -> None:
        if len(class_names) != model.prior.num_classes:
            raise ValueError(f"{len(class_names)} names for {model.prior.num_classes} classes.")
        self.name = name
        self.model = model
        self.class_names = tuple(class_names)
        self._find_images = find_images
        self._images: Tensor | None = None
        self._found = False
        self._lock = threading.Lock()

    @property
    def has_classes(self) -> bool:
        """Whether the prior tells classes apart."""
        return self.model.prior.num_classes > 1

    @property
    def has_rest(self) -> bool:
        """Whether the full latent space has dimensions that the restricted one pins."""
        return len(self.model.prior.active_dims) < self.model.prior.dim

    @property
    def shows_test_images(self) -> bool:
        """Whether the examples are images of the data; else they are samples of the model."""
        self._find()
        return self._images is not None

    def examples(self) -> Tensor:
        """Images to try the model on, (EXAMPLES or fewer, C, H, W) in [0, 1]."""
        self._find()
        if self._images is not None:
            return self._images[:EXAMPLES]
        with inference(self.model):
            generator = torch.Generator().manual_seed(_SEED)
            return self.model.sample(EXAMPLES, None, generator).cpu()

    def dims(self, label: int | None = None) -> list[int]:
        """The (at most SLIDERS) latent dimensions with the largest spread, largest first.

        A prior that learns its standard deviations tells them, per class; one that has the same
        everywhere leaves the choice to the encodings of images, see ``figures.widest_dims``.
        """
        if label is not None and self.has_classes:
            return largest_dims(self.model, SLIDERS, label)
        self._find()
        images = self.examples() if self._images is None else self._images
        return widest_dims(self.model, images, SLIDERS)

    def _find(self) -> None:
        with self._lock:
            if not self._found:
                self._images = self._find_images()
                self._found = True
