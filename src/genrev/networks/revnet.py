"""The RevNet: one network that is encoder (forward) and decoder (inverse) at once.

Stages of couplings with a checkerboard subsampling before each, from the image down to a map of
1x1 or a few pixels, flattened: as many latent dimensions as (padded) pixels (Schirrmeister et al.
2018, Section 2.1). Signals and volumes are images of one and three axes; f and g are then
convolutions along these.
"""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from genrev import reversible
from genrev.errors import GenrevError
from genrev.networks.network import Network
from genrev.options import ONE_FOR_SQUARE, Count, OptionError, Options
from genrev.reversible import Block, Engine

Init = Literal["torch", "xavier", "identity"]
"""How the weights of a RevNet start, see ``RevNetConfig``."""

_Pixels = Annotated[int, Field(ge=0)]


class RevNetConfig(Options):
    """Shape of a RevNet. The three tuples have one entry per stage."""

    image_size: Annotated[Count | tuple[Count, ...], ONE_FOR_SQUARE]
    """Side of square images; or a list of sizes: height and width of other images, the length of
    signals, or depth, height and width of volumes."""
    channels: Count
    """Channels of the images, 1 or 3 (any positive number works)."""
    hidden_channels: tuple[Count, ...]
    """Width of f and g in every stage."""
    blocks: tuple[Count, ...]
    """Number of couplings in every stage."""
    kernel_sizes: tuple[Count, ...]
    """Side of the kernels of f and g in every stage, odd."""
    padding: _Pixels | tuple[_Pixels, ...] = 0
    """Zero pixels added on every side, so that the padded size can be halved once per stage; or a
    list of them, one for each size."""
    coupling: Literal["additive", "affine"] = "additive"
    """Additive as in the paper, or affine as in Real NVP, for which f and g have twice as many
    outputs."""
    bands: Literal["pixels", "haar"] = "pixels"
    """Hand the four pixels of a patch on as they are after a subsampling, as in the paper
    (pixels), or turn them into twice their mean and three differences first (haar). A patch of a
    signal has two pixels, one of a volume eight."""
    colours: Literal["rgb", "luma-chroma"] = "rgb"
    """As in the paper (rgb), or brightness and two differences of colours, with three channels
    only (luma-chroma)."""
    centred: bool = False
    """Subtract 1/2 from all pixels first, those of the padding too, so that they lie in
    [-1/2, 1/2]."""
    factor_out: bool = False
    """Half of the channels leave after every stage but the last, as in Real NVP; latents then go
    from fine to coarse."""
    scaling: bool = False
    """End with a learned shift and scale of every latent dimension, as in NICE."""
    context: Annotated[int, Field(ge=0)] = 0
    """Number of features, or of classes, that every f and g is told beside its stream, see
    ``ContextPair``; 0 for none. In training these are the classes of the data, as many as they
    have."""
    init: Init = "torch"
    """PyTorch's default initialisation (torch), Glorot uniform weights and zero biases as in the
    authors' code for MNIST (xavier), or the last convolution of f and g at zero, so that every
    coupling starts as the identity (identity)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self._sizes_fit()
        stages = len(self.blocks)
        if not stages or not len(self.hidden_channels) == len(self.kernel_sizes) == stages:
            raise OptionError(
                "hidden_channels, blocks and kernel_sizes need one entry per stage and have "
                f"{len(self.hidden_channels)}, {stages} and {len(self.kernel_sizes)}."
            )
        if not all(size % 2 for size in self.kernel_sizes):
            raise OptionError(
                f"kernel_sizes must be odd to be centred and are {list(self.kernel_sizes)}."
            )
        if self.colours == "luma-chroma" and self.channels != 3:
            raise OptionError(
                f"colours='luma-chroma' needs red, green and blue and has {self.channels} channels."
            )
        for size in self.padded_sizes:
            if size % 2**stages:
                raise OptionError(
                    f"{stages} stages halve the image {stages} times, so its padded size must be a "
                    f"multiple of {2**stages} and is {size}; change padding or stages."
                )
        return self

    def _sizes_fit(self) -> None:
        """Raise ``OptionError`` unless there are one to three sizes, and padding for each."""
        count = len(self.sizes)
        if not 1 <= count <= 3:
            raise OptionError(
                "image_size takes one size for signals, two for images or three for volumes and "
                f"got {count}."
            )
        if isinstance(self.padding, tuple) and len(self.padding) != count:
            raise OptionError(
                f"For image_size of {count} numbers padding takes one number, or as many, and has "
                f"{len(self.padding)}."
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Height and width of images, length of signals, or depth, height and width of volumes."""
        return (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size

    @property
    def padded_sizes(self) -> tuple[int, ...]:
        """The same after zero padding."""
        padding = self.padding
        each = (padding,) * len(self.sizes) if isinstance(padding, int) else padding
        return tuple(size + 2 * pad for size, pad in zip(self.sizes, each, strict=True))

    @property
    def latent_dim(self) -> int:
        """Number D of latent dimensions, which is all padded pixels of all channels."""
        return self.channels * math.prod(self.padded_sizes)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of an image (C, H, W), of a signal (C, L) or of a volume (C, D, H, W)."""
        return self.channels, *self.sizes


PRESETS: dict[str, RevNetConfig] = {
    # 60,409,572 parameters, 12,288 latent dimensions (Section 3.1).
    "celeba64": RevNetConfig(
        image_size=64, channels=3, hidden_channels=(25, 50, 100, 200, 400, 400),
        blocks=(2, 2, 2, 2, 2, 1), kernel_sizes=(3, 3, 3, 3, 3, 1),
    ),
    # 2,108,180 parameters, 1,024 latent dimensions (Section 3.2): 28x28 padded to 32x32.
    "mnist": RevNetConfig(
        image_size=28, channels=1, padding=2, hidden_channels=(25, 50, 100, 200),
        blocks=(2, 2, 2, 2), kernel_sizes=(3, 3, 3, 3),
    ),
    # 64 latent dimensions; scikit-learn's 8x8 digits, for demos and tests.
    "digits": RevNetConfig(
        image_size=8, channels=1, hidden_channels=(32, 64, 128),
        blocks=(2, 2, 2), kernel_sizes=(3, 3, 1),
    ),
    # 2,118,168 parameters, 3,072 latent dimensions; 32x32 photographs on a CPU.
    "faces32": RevNetConfig(
        image_size=32, channels=3, hidden_channels=(32, 64, 128, 40),
        blocks=(2, 2, 2, 2), kernel_sizes=(3, 3, 3, 3),
    ),
}  # fmt: skip
# The same with bands (and colours) in place of pixels: restricted reconstructions without grain.
PRESETS["mnist-haar"] = PRESETS["mnist"].replace(bands="haar")
PRESETS["faces32-haar"] = PRESETS["faces32"].replace(
    bands="haar", colours="luma-chroma", centred=True
)


class RevNet(Network):
    """Invertible network between images, signals or volumes and latent vectors.

    ``decode(encode(x)) == x`` up to rounding for every image. ``encode(decode(z)) == z`` holds as
    well unless the network pads: decoding crops what a latent puts into the border.

    Args:
        config: shape of the network.
        engine: how it is computed, which changes nothing but rounding; ``set_engine`` changes it.

    Raises:
        OptionError: ``engine.exact`` with affine couplings or scaling.

    Example:
        >>> import torch
        >>> net = RevNet(PRESETS["digits"], engine=Engine(memory="stored"))
        >>> x = torch.rand(5, 1, 8, 8)
        >>> z = net.encode(x)
        >>> z.shape, torch.allclose(net.decode(z), x, atol=1e-5)
        (torch.Size([5, 64]), True)

        Signals of 32 numbers in two channels:

        >>> shape = {"hidden_channels": (16, 16), "blocks": (2, 2), "kernel_sizes": (3, 3)}
        >>> net = RevNet(RevNetConfig(image_size=(32,), channels=2, **shape))
        >>> net.encode(torch.rand(5, 2, 32)).shape
        torch.Size([5, 64])
    """

    Options = RevNetConfig
    presets = PRESETS
    reversible = True
    config: RevNetConfig

    def __init__(self, config: RevNetConfig, engine: Engine | None = None) -> None:
        super().__init__(config, engine)
        self.pad = reversible.ZeroPad(config.padding)
        self.blocks = _blocks(config)
        sizes = [size // 2 ** len(config.blocks) for size in config.padded_sizes]
        self.latent_shape: tuple[int, ...] = (config.latent_dim // math.prod(sizes), *sizes)
        if config.factor_out:
            self.latent_shape = (config.latent_dim,)  # maps of several sizes, one after the other
        self.scaling = reversible.DiagonalScaling(config.latent_dim) if config.scaling else None
        convs: list[Any] = [m for m in self.modules() if isinstance(m, _ConvNd)]
        # There are two in every f and g, and the last of them makes the identity.
        chosen = {"torch": [], "xavier": convs, "identity": convs[1::2]}[config.init]
        fill = nn.init.xavier_uniform_ if config.init == "xavier" else nn.init.zeros_
        for conv in chosen:
            fill(conv.weight)
            nn.init.zeros_(conv.bias)
        self.set_engine(self.engine)

    @property
    def coarse_dims(self) -> int:
        """Number of latent dimensions that pass through all stages; they come last."""
        early_exits = len(self.config.blocks) - 1 if self.config.factor_out else 0
        return self.latent_dim // 2**early_exits

    @property
    def bijective(self) -> bool:
        """Whether nothing is padded."""
        return self.config.padded_sizes == self.config.sizes

    def set_engine(self, engine: Engine) -> None:
        """Compute it in another way; ``exact`` excludes affine couplings and scaling."""
        if engine.exact and (self.config.coupling != "additive" or self.config.scaling):
            raise OptionError(
                "Exact arithmetic needs additive couplings without scaling, since products do not "
                "stay on the fixed-point grid; leave exact out."
            )
        self.blocks.set_engine(engine)
        super().set_engine(engine)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map images (N, C, H, W), values around [0, 1], to latents (N, D).

        Args:
            x: the images; or signals (N, C, L), or volumes (N, C, D, H, W).
            context: what ``features`` takes, if the network has ``context`` in its configuration:
                classes (N,), features (N, K), or a map of them (N, K, H, W).

        Raises:
            TypeError: images that are no tensor of floats, or a context that is no tensor.
            ValueError: images or a context of another shape than the network was built for, or a
                context too many or too few.
        """
        x = self.checked(x, "images")
        y = self.blocks(self.pad(x), self._padded(self.features(context, x))).flatten(1)
        return y if self.scaling is None else self.scaling(y)

    def encode_with_log_det(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Latents, and log|det| of the Jacobian at each image, (N,); ``ValueError`` if it pads."""
        x = self.checked(x, "images")
        if not self.bijective:
            raise ValueError("A RevNet with padding is not bijective and has no log-determinant.")
        y, log_det = self.blocks.forward_with_log_det(x, self.features(context, x))
        if self.scaling is None:
            return y.flatten(1), log_det
        z, change = self.scaling.forward_with_log_det(y.flatten(1))
        return z, log_det + change

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W), not clipped; it raises as ``encode`` does."""
        z = self.checked(z, "latents")
        given = self._padded(self.features(context, z))
        y = z if self.scaling is None else self.scaling.inverse(z)
        return self.pad.left_inverse(self.blocks.inverse(y.unflatten(1, self.latent_shape), given))

    def _padded(self, features: Tensor | None) -> Tensor | None:
        """A map as large as padded images."""
        return features if features is None or features.dim() == 2 else self.pad(features)


def revnet_config(preset: str, *, init: Init = "torch") -> RevNetConfig:
    """Configuration of a preset; ``GenrevError`` for one that does not exist."""
    if preset not in PRESETS:
        raise GenrevError(
            f"No RevNet preset is called {preset!r}; choose from {', '.join(PRESETS)}."
        )
    return PRESETS[preset].replace(init=init)


def revnet(preset: str, engine: Engine | None = None) -> RevNet:
    """An untrained RevNet; ``GenrevError`` for a preset that does not exist.

    Args:
        preset: name of its configuration, a key of ``PRESETS``.
        engine: how it is computed.

    Example:
        >>> sum(p.numel() for p in revnet("mnist").parameters())
        2108180
    """
    return RevNet(revnet_config(preset), engine)


def _blocks(config: RevNetConfig) -> reversible.ReversibleSequential | reversible.FactorOut:
    stages: list[list[Block]] = []
    shapes = []
    channels, sizes = config.channels, config.padded_sizes
    dims = len(sizes)
    widths = zip(config.hidden_channels, config.blocks, config.kernel_sizes, strict=True)
    for hidden, blocks, kernel_size in widths:
        stage: list[Block] = [reversible.CheckerboardSubsample()]
        if config.bands == "haar":
            stage.append(reversible.HaarBands(channels, dims))
        channels, sizes = 2**dims * channels, tuple(size // 2 for size in sizes)
        stage += [_coupling(config, channels, hidden, kernel_size) for _ in range(blocks)]
        stages.append(stage)
        shapes.append((channels, *sizes))
        if config.factor_out:
            channels //= 2
    if config.colours == "luma-chroma":
        stages[0].insert(0, reversible.LumaChroma())
    if config.centred:
        stages[0].insert(0, reversible.Offset(-0.5))
    if config.factor_out:
        return reversible.FactorOut(
            [reversible.ReversibleSequential(*stage) for stage in stages], shapes
        )
    return reversible.ReversibleSequential(*[block for stage in stages for block in stage])


def _coupling(config: RevNetConfig, channels: int, hidden: int, kernel_size: int) -> Block:
    half, affine = channels // 2, config.coupling == "affine"
    sizes = (half, hidden, kernel_size), (hidden, channels if affine else half, kernel_size)
    # Seeds rest on the order in which layers are made: those of f first.
    layers = [[_convolution(len(config.sizes), *size) for size in sizes] for _ in "fg"]
    conditional = config.context > 0
    f, g = (_pair(config, first, last) for first, last in layers)
    if affine:
        return reversible.AffineCoupling(f, g, channels, conditional=conditional)
    return reversible.AdditiveCoupling(f, g, conditional=conditional)


def _convolution(dims: int, ins: int, outs: int, kernel_size: int) -> nn.Module:
    """One that keeps the size of signals, images or volumes."""
    if dims == 2:
        return reversible.SmallMapConv2d(ins, outs, kernel_size)
    plain = nn.Conv1d if dims == 1 else nn.Conv3d
    return plain(ins, outs, kernel_size, padding=kernel_size // 2)


def _pair(config: RevNetConfig, first: Any, last: Any) -> nn.Module:
    """f or g, two convolutions with a ReLU between them."""
    if config.context:
        return reversible.ContextPair(first, last, config.context)
    if len(config.sizes) == 2:
        return reversible.ConvPair(first, last)
    return nn.Sequential(first, nn.ReLU(), last)
