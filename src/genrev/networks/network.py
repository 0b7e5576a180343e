"""What a network has to be for a generative model to be built on it, and the networks there are."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from genrev import options
from genrev.registry import Registry
from genrev.reversible import Engine
from genrev.reversible.context import one_hot


class Network(nn.Module, ABC):
    """Encoder and decoder between images and latent vectors; what a model adds a prior to.

    A subclass names its options and its presets, and is registered in ``NETWORKS``. It must build
    on the meta device, where ``load`` first sees how large it is.

    Args:
        config: the network's shape, an instance of ``Options``.
        engine: how it is computed, for networks of reversible blocks; others ignore it.

    Raises:
        TypeError: a ``config`` that is no such instance.
    """

    Options: ClassVar[type[options.Options]]
    """The options of ``config``."""
    presets: ClassVar[Mapping[str, options.Options]] = {}
    """Configurations by name; names are unique over all networks."""
    reversible: ClassVar[bool] = False
    """Whether ``decode`` inverts ``encode`` and an ``Engine`` says how both are computed."""

    def __init__(self, config: options.Options, engine: Engine | None = None) -> None:
        wanted = getattr(type(self), "Options", options.Options)
        if not isinstance(config, wanted):
            name = type(self).__name__
            raise TypeError(
                f"{name} takes a {wanted.__name__}, such as a value of {name}.presets, and got "
                f"{config!r}."
            )
        super().__init__()
        self.config: Any = config
        self.engine = engine or Engine()

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape (C, H, W) of an image, by default the ``config``'s.

        Of signals it is (C, L) and of volumes (C, D, H, W).
        """
        return self.config.image_shape

    @property
    def latent_dim(self) -> int:
        """Number D of latent dimensions, by default the ``config``'s."""
        return self.config.latent_dim

    @property
    def context(self) -> int:
        """Number of features, or of classes, of the context that it takes; 0 for none."""
        return int(getattr(self.config, "context", 0))

    @property
    def coarse_dims(self) -> int:
        """Number of latent dimensions that pass through the whole network; they come last."""
        return self.latent_dim

    def set_engine(self, engine: Engine) -> None:
        """Compute it in another way from now on; ``OptionError`` where that is impossible."""
        self.engine = engine

    @property
    def bijective(self) -> bool:
        """Whether every latent is the encoding of one image, so that images have a density."""
        return False

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to latents (N, D).

        A network with ``context`` features takes a context as its second argument, here and below.
        """

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W), not clipped to [0, 1]."""

    def encode_with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents, and log|det| of ``encode``'s Jacobian at every image, (N,), if bijective."""
        raise ValueError(f"A {type(self).__name__} is not bijective and has no log-determinant.")

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """The same as ``encode``."""
        return self.encode(x, *context)

    def checked(self, x: Tensor, what: Literal["images", "latents"]) -> Tensor:
        """A batch in the number format of the parameters; errors as in ``check_floats``."""
        check_floats(x, what, self.image_shape if what == "images" else (self.latent_dim,))
        return x.to(next(self.parameters(), x).dtype)  # a replica of nn.DataParallel has none

    def features(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """The context of a batch x, (N, ...), as features (N, K) or a map of them (N, K, H, W).

        Args:
            context: classes, whole numbers (N,) or one for all, ``()``; features (N, K) as floats;
                or a map of features as large as the images, (N, K, H, W).
            x: the batch, whose number format the features get.

        Raises:
            TypeError: a context that is no tensor.
            ValueError: one for a network that takes none, none for a network that takes one,
                another shape than these, or no such class.
        """
        n, shape = x.shape[0], tuple(context.shape) if isinstance(context, Tensor) else None
        if not self.context:
            if context is None:
                return None
            raise ValueError("This network takes no context; leave it out, or build it with one.")
        if isinstance(context, Tensor) and context.is_floating_point():
            sizes = (n, self.context), (n, self.context, *self.image_shape[1:])
            if shape in sizes:
                return context.to(x.dtype)
        elif isinstance(context, Tensor) and context.dtype != torch.bool and shape in ((), (n,)):
            return one_hot(context, self.context, x.dtype).expand(n, self.context)
        got = "none" if context is None else f"{context!r:.40}"
        if isinstance(context, Tensor):
            got = f"{context.dtype} of shape {shape} for {n} images"
        each = ", ".join(map(str, self.image_shape[1:]))
        raise (ValueError if context is None or isinstance(context, Tensor) else TypeError)(
            f"This network takes a context and got {got}; give classes (N,) below {self.context}, "
            f"or floats (N, {self.context}) or (N, {self.context}, {each})."
        )


NETWORKS: Registry[type[Network]] = Registry(
    "network",
    {
        "revnet": "genrev.networks.revnet:RevNet",
        "conv-autoencoder": "genrev.networks.conv_autoencoder:ConvAutoencoder",
        "jet": "genrev.networks.jet:Jet",
    },
    Network,
)
"""Networks by the name that ``--network.kind`` takes."""


def check_floats(x: Tensor, what: str, shape: tuple[int, ...]) -> None:
    """``TypeError`` or ``ValueError`` unless ``what`` is a batch (N, *shape) of floats."""
    if not isinstance(x, Tensor):
        kind = f"{type(x).__module__}.{type(x).__name__}".removeprefix("builtins.")
        raise TypeError(
            f"{what} must be a torch tensor, not a {kind}; convert with torch.as_tensor."
        )
    if not x.is_floating_point():
        pixels = x.dtype != torch.bool and what not in ("latents", "vectors")
        cure = "x.float() / 255 for 8-bit pixels" if pixels else "their .float()"
        in_range = "" if what in ("latents", "vectors") else " in [0, 1]"
        raise TypeError(f"{what} must be floats{in_range} and are {x.dtype}; give {cure}.")
    if x.dim() != len(shape) + 1 or tuple(x.shape[1:]) != tuple(shape):
        expected = ", ".join(map(str, shape))
        raise ValueError(
            f"{what} must be of shape (N, {expected}), which is what the model takes, and got "
            f"{tuple(x.shape)}."
        )
