"""A model on show, and what the controls of the page compute with it.

Test images may take seconds to find. So they are asked for only when a tab needs them, once, and a
model that has none shows samples of its own instead. A slider counts standard deviations of the
prior: ``z = start + sum_i offset_i scale_i e_i``.
"""

import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from genrev.errors import GenrevError
from genrev.figures import widest_dims
from genrev.models import GenerativeAutoencoder
from genrev.models.checks import num_classes_of, prior_label, require_images
from genrev.models.conditions import contexts_for, one_class, takes_labels
from genrev.models.inference import inference
from genrev.models.walks import largest_dims
from genrev.reversible.context import one_hot

EXAMPLES = 12
SLIDERS = 8
_SEED = 7  # of the model's own samples that stand in for test images


class Exhibit:
    """One model of the page, under a name, with one name per class.

    ``find_images`` gives test images (N, C, H, W) in [0, 1] of the model's shape, or ``None`` where
    there are none; it is called at most once, from any thread. ``GenrevError`` for a model of
    anything but square images.
    """

    def __init__(
        self,
        name: str,
        model: GenerativeAutoencoder,
        class_names: Sequence[str],
        find_images: Callable[[], Tensor | None] = lambda: None,
    ) -> None:
        prior = model.prior
        _, height, width = require_images(model.image_shape, "The explorer shows")
        if height != width:
            raise GenrevError(
                f"The explorer shows square images, and those of {name} are {height}x{width}; draw "
                "them with `genrev sample`, `reconstruct`, `interpolate` and `traverse`."
            )
        classes = num_classes_of(model)
        if len(class_names) != classes:
            raise ValueError(f"{len(class_names)} names for {classes} classes.")
        self.name = name
        self.model = model
        self.class_names = tuple(class_names)
        self.has_classes = classes > 1
        self.has_rest = len(prior.active_dims) < prior.dim  # dimensions that the clamp pins
        self._find_images = find_images
        self._images: Tensor | None = None
        self._found = False
        self._lock = threading.Lock()

    def examples(self) -> Tensor:
        """Images to try the model on, (EXAMPLES or fewer, C, H, W) in [0, 1]."""
        images = self._test_images()
        if images is not None:
            return images[:EXAMPLES]
        with inference(self.model):
            generator = torch.Generator().manual_seed(_SEED)
            return self.model.sample(EXAMPLES, None, generator).cpu()

    def dims(self, label: int | None = None) -> list[int]:
        """The (at most SLIDERS) latent dimensions with the largest spread, largest first.

        A prior with classes tells them; otherwise encodings do, see ``figures.widest_dims``.
        """
        if label is not None and self.model.prior.num_classes > 1:
            return largest_dims(self.model, SLIDERS, label)
        images = self._test_images()
        return widest_dims(self.model, self.examples() if images is None else images, SLIDERS)

    def _test_images(self) -> Tensor | None:
        with self._lock:
            if not self._found:
                self._images, self._found = self._find_images(), True
            return self._images


def from_sample(model: GenerativeAutoencoder, label: int | None = None, seed: int = 0) -> Tensor:
    """A draw from the prior or from one class, shape (D,)."""
    with inference(model):
        generator = torch.Generator().manual_seed(seed)
        if label is None and model.prior.num_classes > 1:  # else every seed would give class 0
            label = int(torch.randint(model.prior.num_classes, (1,), generator=generator))
        return model.prior.sample(1, prior_label(model, label), generator)[0]


def encoded(model: GenerativeAutoencoder, x: Tensor, restricted: bool) -> Tensor:
    """The encodings (N, D) of images; unrestricted they keep all, so moving one edits the image."""
    with inference(model) as device:
        z = model.encode(x.to(device), *contexts_for(model, x))
        return model.prior.clamp(z) if restricted else z


def shown_class(
    model: GenerativeAutoencoder, label: int | None, seed: int, x: Tensor | None = None
) -> int | None:
    """The class that is decoded: the one chosen, and where none is, one that the network is told.

    That is the likely one of an image (1, C, H, W), or one that depends on the seed.
    """
    if label is not None or not takes_labels(model):
        return label
    if x is not None:
        return int(contexts_for(model, x)[0][0])
    return seed % num_classes_of(model)


def told(model: GenerativeAutoencoder, x: Tensor) -> Tensor | None:
    """The context of images (N, C, H, W) for a class-conditional network, as features (N, K)."""
    if not takes_labels(model):
        return None
    return one_hot(contexts_for(model, x)[0], num_classes_of(model), x.dtype)


def moved(
    model: GenerativeAutoencoder,
    start: Tensor,
    dims: Sequence[int],
    offsets: Sequence[float],
    label: int | None = None,
) -> Tensor:
    """Decode the start (D,) after moving it along ``dims``; image (C, H, W), not clipped."""
    with inference(model) as device:
        z = shifted(model, start, dims, offsets, label).to(device)
        return model.decode(z.unsqueeze(0), *one_class(model, label, 1))[0].cpu()


def shifted(
    model: GenerativeAutoencoder,
    start: Tensor,
    dims: Sequence[int],
    offsets: Sequence[float],
    label: int | None = None,
) -> Tensor:
    """The start (D,) after moving it along ``dims``."""
    with inference(model):
        scale = model.prior.scale(prior_label(model, label))
        z = start.to(scale).clone()
        for dim, offset in zip(dims, offsets, strict=True):
            z[dim] += offset * scale[dim]
        return z


def between(
    model: GenerativeAutoencoder, z: Tensor, t: float, features: Tensor | None = None
) -> Tensor:
    """Decode ``(1 - t) z[0] + t z[1]``, t from 0 to 1; image (C, H, W), not clipped.

    ``features`` are what ``told`` gives of both ends, which are mixed alike.
    """
    with inference(model) as device:
        ends = [z] if features is None else [z, features]
        mixed = [((1 - t) * a + t * b).unsqueeze(0) for a, b in (pair.to(device) for pair in ends)]
        return model.decode(*mixed)[0].cpu()


def reconstructions(model: GenerativeAutoencoder, x: Tensor) -> dict[str, tuple[Tensor, float]]:
    """One image (1, C, H, W) in [0, 1] restored both ways, and the mean absolute error of each."""
    with inference(model) as device:
        given = contexts_for(model, x)
        z = model.encode(x.to(device), *given)
        ways = {"Restricted": model.prior.clamp(z), "Full": z}
        restored = {way: model.decode(z, *given)[0].clamp(0, 1).cpu() for way, z in ways.items()}
    return {way: (y, float((x[0].cpu() - y).abs().mean())) for way, y in restored.items()}
