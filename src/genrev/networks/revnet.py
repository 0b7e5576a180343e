"""The RevNet: one network that is encoder (forward) and decoder (inverse) at once.

Stages of couplings with a checkerboard subsampling before each of them, from the image down to
a map of 1x1 or a few pixels, flattened to a vector: as many latent dimensions as (padded)
pixels (Schirrmeister et al. 2018, Section 2.1).
"""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from genrev.networks.network import Network, check_images, check_latents
from genrev.reversible import (
    AdditiveCoupling,
    AffineCoupling,
    CheckerboardSubsample,
    DiagonalScaling,
    FactorOut,
    HaarBands,
    LumaChroma,
    Memory,
    Offset,
    ReversibleSequential,
    SmallMapConv2d,
    ZeroPad,
)

__all__ = ["Init", "RevNet", "RevNetConfig"]


Init = Literal["torch", "xavier", "identity"]
"""How the weights of a RevNet start, see ``RevNetConfig``."""

_CHOICES = {
    "init": get_args(Init),
    "coupling": ("additive", "affine"),
    "bands": ("pixels", "haar"),
    "colours": ("rgb", "luma-chroma"),
}


@dataclass(frozen=True)
class RevNetConfig:
    """Shape of a RevNet. The three tuples have one entry per stage.

    Args:
        image_size: height and width of the (square) images.
        channels: channels of the images, 1 or 3 (any positive number works).
        padding: zero pixels added on every side, so that the padded size can be halved
            once per stage.
        hidden_channels: width of f and g in every stage.
        blocks: number of couplings in every stage.
        kernel_sizes: side of the kernels of f and g in every stage.
        coupling: ``"additive"`` as in the paper, or ``"affine"`` as in Real NVP, for which f and g
            have twice as many outputs.
        bands: ``"pixels"`` hands the four pixels of a patch on as they are after a subsampling, as
            in the paper; ``"haar"`` turns them into twice their mean and three differences first,
            see ``genrev.reversible.lifting``.
        colours: ``"rgb"`` as in the paper, or ``"luma-chroma"`` for brightness and two differences
            of colours, with three channels only.
        centred: subtract 1/2 from all pixels first, those of the padding too, so that they lie in
            [-1/2, 1/2].
        factor_out: half of the channels leave after every stage but the last, as in Real NVP:
            latents then go from fine to coarse, see ``genrev.reversible.FactorOut``.
        scaling: end with a learned shift and scale of every latent dimension, as in NICE.
        init: ``"torch"`` leaves PyTorch's default initialisation, ``"xavier"`` is what the
            authors' code uses for MNIST (Glorot uniform weights, zero biases), ``"identity"`` sets
            the last convolution of f and g to zero, so that every coupling starts as the identity.
        memory: ``"reversible"`` recomputes activations block by block in the backward pass,
            ``"stored"`` keeps them; see ``ReversibleSequential``.
        exact: keep the stream in fixed point, so that inverses are exact; see there.
        compile: let ``torch.compile`` work on f and g where that pays; see there.

    Raises:
        ValueError: tuples of different lengths, values that are not positive, a padded size
            that cannot be halved once per stage, or ``exact`` with affine couplings or scaling.
    """

    image_size: int
    channels: int
    hidden_channels: tuple[int, ...]
    blocks: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    padding: int = 0
    coupling: Literal["additive", "affine"] = "additive"
    bands: Literal["pixels", "haar"] = "pixels"
    colours: Literal["rgb", "luma-chroma"] = "rgb"
    centred: bool = False
    factor_out: bool = False
    scaling: bool = False
    init: Init = "torch"
    memory: Memory = "reversible"
    exact: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        # YAML and JSON know lists only.
        for name in ("hidden_channels", "blocks", "kernel_sizes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        stages = len(self.blocks)
        if not stages or not len(self.hidden_channels) == len(self.kernel_sizes) == stages:
            raise ValueError(
                "hidden_channels, blocks and kernel_sizes need one entry per stage and have "
                f"{len(self.hidden_channels)}, {stages} and {len(self.kernel_sizes)}."
            )
        positive = (self.image_size, self.channels, *self.hidden_channels, *self.blocks)
        if min(positive) < 1 or self.padding < 0:
            raise ValueError(
                "image_size, channels, hidden_channels and blocks of a RevNet must be positive, "
                "and padding 0 or more."
            )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                told = " or ".join(map(repr, choices))
                raise ValueError(f"{name} must be {told} and is {getattr(self, name)!r}.")
        if self.colours == "luma-chroma" and self.channels != 3:
            raise ValueError(
                f"colours='luma-chroma' needs red, green and blue and has {self.channels} channels."
            )
        if self.exact and not self.allows_exact:
            raise ValueError("exact needs additive couplings and no scaling.")
        if self.padded_size % 2**stages:
            raise ValueError(
                f"{stages} stages halve the image {stages} times, so its padded size must be a "
                f"multiple of {2**stages} and is {self.padded_size}; change padding or stages."
            )

    @property
    def allows_exact(self) -> bool:
        """Whether the network can run in fixed point."""
        return self.coupling == "additive" and not self.scaling

    @property
    def padded_size(self) -> int:
        """Height and width after zero padding."""
        return self.image_size + 2 * self.padding

    @property
    def latent_dim(self) -> int:
        """Number D of latent dimensions, which is all padded pixels of all channels."""
        return self.channels * self.padded_size**2

    @property
    def coarse_dims(self) -> int:
        """Number of latent dimensions that pass through all stages; they are the last ones."""
        early_exits = len(self.blocks) - 1 if self.factor_out else 0
        return self.latent_dim // 2**early_exits

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        return self.channels, self.image_size, self.image_size


class RevNet(Network):
    """Invertible network between images and latent vectors.

    ``decode(encode(x)) == x`` up to rounding for every image. ``encode(decode(z)) == z`` holds
    as well unless the network pads: zero padding is injective only, and decoding crops what a
    latent puts into the border.

    Args:
        config: shape of the network.

    Example:
        >>> import torch
        >>> net = RevNet(RevNetConfig(8, 1, hidden_channels=(8, 8), blocks=(1, 1),
        ...                           kernel_sizes=(3, 3)))
        >>> x = torch.rand(5, 1, 8, 8)
        >>> z = net.encode(x)
        >>> z.shape, torch.allclose(net.decode(z), x, atol=1e-5)
        (torch.Size([5, 64]), True)
    """

    Options = RevNetConfig  # type: ignore[assignment]
    reversible = True
    config: RevNetConfig  # type: ignore[assignment]

    def __init__(self, config: RevNetConfig) -> None:
        super().__init__(config)  # type: ignore[arg-type]
        self.pad = ZeroPad(config.padding)
        self.blocks = _blocks(config)
        side = config.padded_size // 2 ** len(config.blocks)
        self.latent_shape: tuple[int, ...] = (config.latent_dim // side**2, side, side)
        if config.factor_out:
            self.latent_shape = (config.latent_dim,)  # maps of several sizes, one after the other
        self.scaling = DiagonalScaling(config.latent_dim) if config.scaling else None
        if config.init == "xavier":
            self.apply(_xavier)
        elif config.init == "identity":
            self.apply(_identity)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W) of the images."""
        return self.config.image_shape

    @property
    def latent_dim(self) -> int:
        """Number D of latent dimensions."""
        return self.config.latent_dim

    @property
    def coarse_dims(self) -> int:
        """Number of latent dimensions that pass through all stages; they come last."""
        return self.config.coarse_dims

    @property
    def bijective(self) -> bool:
        """Whether nothing is padded."""
        return self.config.padding == 0

    def encode(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W), values around [0, 1], to latents (N, D).

        Raises:
            TypeError: images that are no tensor of floats.
            ValueError: images of another shape than the network was built for.
        """
        x = check_images(x, self.config.image_shape, self)
        y = self.blocks(self.pad(x)).flatten(1)
        return y if self.scaling is None else self.scaling(y)

    def encode_with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images, and give log|det| of the Jacobian of ``encode`` at each of them, (N,).

        With additive couplings the engine runs as in ``encode``; with affine ones all activations
        are kept, see ``ReversibleSequential.forward_with_log_det``.

        Raises:
            TypeError: images that are no tensor of floats.
            ValueError: images of another shape, or a network that pads: it has no square Jacobian.
        """
        x = check_images(x, self.config.image_shape, self)
        if self.config.padding:
            raise ValueError("a RevNet with padding is not bijective and has no log-determinant.")
        y, log_det = self.blocks.forward_with_log_det(x)
        y = y.flatten(1)
        if self.scaling is None:
            return y, log_det
        return self.scaling(y), log_det + self.scaling.log_det()

    def decode(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W); values are not clipped to [0, 1].

        Raises:
            TypeError: latents that are no tensor of floats.
            ValueError: latents of another shape than (N, D).
        """
        z = check_latents(z, self.config.latent_dim, self)
        y = z if self.scaling is None else self.scaling.inverse(z)
        return self.pad.left_inverse(self.blocks.inverse(y.unflatten(1, self.latent_shape)))

    def forward(self, x: Tensor) -> Tensor:
        """The same as ``encode``."""
        return self.encode(x)


def _blocks(config: RevNetConfig) -> ReversibleSequential | FactorOut:
    stages: list[list[nn.Module]] = []
    shapes = []
    channels, side = config.channels, config.padded_size
    widths = zip(config.hidden_channels, config.blocks, config.kernel_sizes, strict=True)
    for hidden, blocks, kernel_size in widths:
        stage = _subsampling(config, channels)
        channels, side = 4 * channels, side // 2
        stage += [_coupling(config, channels, hidden, kernel_size) for _ in range(blocks)]
        stages.append(stage)
        shapes.append((channels, side, side))
        if config.factor_out:
            channels //= 2
    stages[0] = _pixels(config) + stages[0]
    if config.factor_out:
        return FactorOut([_chain(config, stage) for stage in stages], shapes)
    return _chain(config, [block for stage in stages for block in stage])


def _pixels(config: RevNetConfig) -> list[nn.Module]:
    """What is done to the pixels before the first stage."""
    offset = [Offset(-0.5)] if config.centred else []
    colours = [LumaChroma()] if config.colours == "luma-chroma" else []
    return [*offset, *colours]


def _subsampling(config: RevNetConfig, channels: int) -> list[nn.Module]:
    bands = [HaarBands(channels)] if config.bands == "haar" else []
    return [CheckerboardSubsample(), *bands]


def _chain(config: RevNetConfig, blocks: list[nn.Module]) -> ReversibleSequential:
    return ReversibleSequential(
        *blocks, memory=config.memory, exact=config.exact, compile=config.compile
    )


def _coupling(config: RevNetConfig, channels: int, hidden: int, kernel_size: int) -> nn.Module:
    half, affine = channels // 2, config.coupling == "affine"
    outputs = channels if affine else half
    f, g = (_network(half, hidden, outputs, kernel_size) for _ in range(2))
    return AffineCoupling(f, g, channels) if affine else AdditiveCoupling(f, g)


def _network(inputs: int, hidden: int, outputs: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        SmallMapConv2d(inputs, hidden, kernel_size),
        nn.ReLU(),
        SmallMapConv2d(hidden, outputs, kernel_size),
    )


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _identity(module: nn.Module) -> None:
    if isinstance(module, AdditiveCoupling | AffineCoupling):
        for network in (module.f, module.g):
            assert isinstance(network, nn.Sequential)
            for parameter in network[-1].parameters():
                nn.init.zeros_(parameter)
