r"""Jet: a flow of images whose couplings are vision transformers.

Images are cut into patches, every patch is a token (N, T, C), and the stream keeps that shape from
pixels to latents: no subsampling, no channels that leave early, nothing learned between couplings.
A coupling leaves one half x1 of the numbers as it is and shifts and stretches the other half x2,

.. math:: y_2 = (x_2 + b) \, m \, \sigma(r), \qquad (b, r) = \mathrm{ViT}(x_1), \quad m = 2,

which is inverted in closed form, and whose log-determinant is the sum of
:math:`\log \sigma(r) + \log m`. A transformer begins with an output of zero, so a coupling begins
as the identity. *Channel* couplings split the channels of every token, at random but the same way
for ever; *spatial* ones split the tokens, by a checkerboard, columns or rows. Halves of tokens are
cut in two, so that all transformers see T tokens of C/2 channels.

References: Kolesnikov et al., "Jet: a modern transformer-based normalizing flow" (2024), and its
code in ``big_vision``, for everything that the text leaves open: position embeddings, order of the
splits, start of the weights. Other than there, permutations are indices in place of matrices.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from genrev.networks.network import Network
from genrev.options import Count, OptionError, Options
from genrev.reversible import Block, DiagonalScaling, Engine, ReversibleSequential
from genrev.reversible.couplings import sums, unstretched
from genrev.reversible.engine.replay import Replay, call_recorded
from genrev.seeding import seed_sequence

Places = Literal[
    "checkerboard", "checkerboard-inv", "vstripes", "vstripes-inv", "hstripes", "hstripes-inv"
]
"""How a spatial coupling splits the grid of tokens; ``-inv`` swaps the halves."""
_LARGEST_STRETCH = 2.0  # m


class JetConfig(Options):
    """Shape of a Jet. The defaults are those of the published model for 64x64 photographs."""

    image_size: Count = 64
    """Height and width of the (square) images."""
    channels: Count = 3
    """Channels of the images."""
    patch_size: tuple[Count, Count] = (4, 4)
    """Height and width of a patch."""
    couplings: Count = 32
    """Number of couplings, each of which changes half of the numbers."""
    splits: Annotated[tuple[Literal["channels", "spatial"], ...], Field(min_length=1)] = (
        *("channels",) * 4,
        "spatial",
    )
    """What couplings split, in turn: the channels of every token, or the tokens."""
    places: Annotated[tuple[Places, ...], Field(min_length=1)] = (
        "checkerboard",
        "checkerboard-inv",
        "vstripes",
        "vstripes-inv",
        "hstripes",
        "hstripes-inv",
    )
    """How spatial couplings split the tokens, in turn: a checkerboard, columns (vstripes) or rows
    (hstripes); -inv swaps the half that is kept and the one that is changed."""
    width: Count = 512
    """Width of the transformers."""
    depth: Count = 2
    """Number of layers of every transformer, attention and perceptron each."""
    heads: Count = 8
    """Heads of the attention, of width / heads numbers each."""
    scaling: bool = False
    """Begin with a learned shift and scale of every pixel, which training starts from the data.
    The paper has none. A coupling stretches by 2 at most, so few of them cannot make the noise of a
    pixel that is always black as wide as the prior."""
    context: Annotated[int, Field(ge=0)] = 0
    """Number of features, or of classes, that every transformer is told beside its tokens: a
    learned combination of them is added to all tokens, of a map to every token that of its patch; 0
    for none. The paper has none. In training these are the classes of the data, as many as they
    have."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        (height, width), tokens = self.patch_size, self.grid
        if self.image_size % height or self.image_size % width:
            raise OptionError(
                f"Patches of {height}x{width} do not divide images of {self.image_size}x"
                f"{self.image_size}; change patch_size."
            )
        if self.token_size % 2:
            raise OptionError(
                f"Patches of {height}x{width} and {self.channels} channels have {self.token_size} "
                "numbers, which cannot be split in two halves; change patch_size."
            )
        if self.width % self.heads:
            raise OptionError(
                f"The width must be a multiple of the {self.heads} heads and is {self.width}; "
                "change width or heads."
            )
        # By first letters: a checkerboard needs an even number of tokens, stripes of their lines.
        counts = {"c": tokens[0] * tokens[1], "v": tokens[1], "h": tokens[0]}
        odd = [name for name in self.places if counts[name[0]] % 2]
        if "spatial" in self.splits and odd:
            raise OptionError(
                f"{odd[0]} does not split {tokens[0]}x{tokens[1]} tokens in two halves; leave it "
                "out of places, or change patch_size."
            )
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """Number of rows and of columns of tokens."""
        return self.image_size // self.patch_size[0], self.image_size // self.patch_size[1]

    @property
    def token_size(self) -> int:
        """Number C of channels of a token, which is all numbers of a patch."""
        return self.channels * math.prod(self.patch_size)

    @property
    def latent_dim(self) -> int:
        """Number D of latent dimensions, which is all pixels of all channels."""
        return self.channels * self.image_size**2

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        return self.channels, self.image_size, self.image_size


class Jet(Network):
    """Invertible network of transformer couplings between images and latents.

    ``decode(encode(x)) == x`` and ``encode(decode(z)) == z`` up to rounding. Images enter as
    2x - 1, and latents are in the order of the pixels.

    Args:
        config: shape of the network.
        engine: how it is computed, which changes nothing but rounding; ``set_engine`` changes it.

    Raises:
        OptionError: ``engine.exact``.

    Example:
        >>> net = Jet(Jet.presets["jet8"])
        >>> x = torch.rand(5, 1, 8, 8)
        >>> z = net.encode(x)
        >>> z.shape, torch.allclose(net.decode(z), x, atol=1e-5)
        (torch.Size([5, 64]), True)
    """

    Options = JetConfig
    presets: ClassVar[Mapping[str, JetConfig]] = {
        # The published one with 3.72 bits per dimension; 64 couplings of depth 5 have 3.66.
        "jet64": JetConfig(),
        "jet28": JetConfig(
            image_size=28, channels=1, patch_size=(14, 4), couplings=12, scaling=True,
            splits=("channels", "channels", "spatial"), width=64, depth=1, heads=4,
            places=("checkerboard", "checkerboard-inv", "hstripes", "hstripes-inv"),
        ),
        "jet8": JetConfig(
            image_size=8, channels=1, patch_size=(4, 4), couplings=12, scaling=True,
            splits=("channels", "channels", "spatial"), width=32, depth=1, heads=2,
        ),
    }  # fmt: skip
    reversible = True
    config: JetConfig

    def __init__(self, config: JetConfig, engine: Engine | None = None) -> None:
        super().__init__(config, engine)
        tokens, channels = math.prod(config.grid), config.token_size
        couplings, spatial = [], 0
        for number in range(config.couplings):
            # First, so that a configuration that asks for too much is refused here.
            network = TokenTransformer(
                tokens, channels // 2, channels, config.width, config.depth, config.heads,
                config.context,
            )  # fmt: skip
            if config.splits[number % len(config.splits)] == "channels":
                split = TokenSplit(channel_order(channels, number), 2)
            else:
                split = TokenSplit(
                    place_order(config.places[spatial % len(config.places)], *config.grid), 1
                )
                spatial += 1
            couplings.append(TransformerCoupling(network, split, conditional=config.context > 0))
        self.blocks = ReversibleSequential(*couplings)
        self.scaling = DiagonalScaling(config.latent_dim) if config.scaling else None
        self.set_engine(self.engine)

    @property
    def bijective(self) -> bool:
        """Always."""
        return True

    def set_engine(self, engine: Engine) -> None:
        """Compute it in another way from now on; ``OptionError`` for ``exact``."""
        if engine.exact:
            raise OptionError(
                "Exact arithmetic needs additive couplings, since products do not stay on the "
                "fixed-point grid, and those of Jet stretch; leave exact out."
            )
        self.blocks.set_engine(engine)
        super().set_engine(engine)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map images (N, C, H, W), values around [0, 1], to latents (N, D).

        Args:
            x: the images.
            context: what ``features`` takes, if the network has ``context`` in its configuration:
                classes (N,), features (N, K), or a map of them (N, K, H, W).

        Raises:
            TypeError: images that are no tensor of floats, or a context that is no tensor.
            ValueError: images or a context of another shape than the network was built for, or a
                context too many or too few.
        """
        pixels = 2 * self.checked(x, "images").flatten(1) - 1
        given = self._by_token(context, x)
        pixels = pixels if self.scaling is None else self.scaling(pixels)
        return self._pixels(self.blocks(self._tokens(pixels), given))

    def encode_with_log_det(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Latents, and log|det| of the Jacobian at each image, (N,)."""
        pixels = 2 * self.checked(x, "images").flatten(1) - 1
        given = self._by_token(context, x)
        scaled = pixels.new_zeros(len(pixels))
        if self.scaling is not None:
            pixels, scaled = self.scaling.forward_with_log_det(pixels)
        tokens, log_det = self.blocks.forward_with_log_det(self._tokens(pixels), given)
        return self._pixels(tokens), log_det + scaled + self.latent_dim * math.log(2)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W), not clipped; it raises as ``encode`` does."""
        tokens = self._tokens(self.checked(z, "latents"))
        tokens = self.blocks.inverse(tokens, self._by_token(context, z))
        pixels = self._pixels(tokens)
        pixels = pixels if self.scaling is None else self.scaling.inverse(pixels)
        return ((pixels + 1) / 2).unflatten(1, self.image_shape)

    def _by_token(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """The context of a batch x for all tokens alike, (N, 1, K), or for each, (N, T, K)."""
        features = self.features(context, x)
        if features is None:
            return None
        if features.dim() == 2:
            return features.unsqueeze(1)
        return functional.avg_pool2d(features, self.config.patch_size).flatten(2).transpose(1, 2)

    def _tokens(self, pixels: Tensor) -> Tensor:
        """Patches of images (N, D) as tokens (N, T, C)."""
        n, config = pixels.shape[0], self.config
        (rows, columns), (height, width) = config.grid, config.patch_size
        patches = pixels.reshape(n, config.channels, rows, height, columns, width)
        return patches.permute(0, 2, 4, 3, 5, 1).reshape(n, rows * columns, config.token_size)

    def _pixels(self, tokens: Tensor) -> Tensor:
        """Tokens (N, T, C) as images (N, D)."""
        n, config = tokens.shape[0], self.config
        (rows, columns), (height, width) = config.grid, config.patch_size
        patches = tokens.reshape(n, rows, columns, height, width, config.channels)
        return patches.permute(0, 5, 1, 3, 2, 4).reshape(n, self.latent_dim)


class TransformerCoupling(Block):
    """Leave one half of all numbers as it is, shift and stretch the other half.

    Args:
        network: from one half, (N, T, C/2), to shifts and to what stretches are made of, side by
            side, (N, T, C).
        split: which numbers are in which half.
        conditional: the network takes a context as its second argument, see ``ContextPair``.

    Example:
        >>> coupling = TransformerCoupling(nn.Linear(2, 4), TokenSplit(torch.arange(4), 2))
        >>> x = torch.randn(3, 7, 4)
        >>> y, log_det = coupling.forward_with_log_det(x)
        >>> torch.allclose(coupling.inverse(y), x, atol=1e-5), log_det.shape
        (True, torch.Size([3]))
    """

    repeatable = True

    def __init__(self, network: nn.Module, split: "TokenSplit", conditional: bool = False) -> None:
        super().__init__()
        self.network, self.split, self.conditional = network, split, conditional

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (N, T, C) to the same shape; ``context`` is for the network."""
        return self.forward_with_log_det(x, context)[0]

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (N, T, C) back to the same shape, with the same context."""
        kept, changed = self.split(y)
        s, t = self._scale_and_shift(kept, *self.given(context))
        return self.split.join(kept, (changed - t) * (-s).exp())

    def forward_with_log_det(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same as ``forward``, and log|det| of the Jacobian, (N,)."""
        kept, changed = self.split(x)
        s, t = self._scale_and_shift(kept, *self.given(context))
        return self.split.join(kept, changed * s.exp() + t), sums(s)

    def backtrack(
        self,
        y: Tensor,
        grad: Tensor,
        replay: Replay,
        inverse: bool,
        grad_log_det: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Undo ``forward`` (or ``inverse``) and pull gradients back, in one pass of the network."""
        (kept, changed), (grad_kept, grad_changed) = self.split(y), self.split(grad)
        (s, t), pull = replay.rerun("network", kept, replay.block._scale_and_shift)
        changed, grad_changed, grad_s, grad_t = unstretched(
            changed, grad_changed, s, t, inverse, grad_log_det
        )
        grad_kept = grad_kept + pull((grad_s, grad_t))
        return self.split.join(kept, changed), self.split.join(grad_kept, grad_changed)

    def networks(self) -> Iterable[nn.Module]:
        """The transformer."""
        return (self.network,)

    def _scale_and_shift(self, kept: Tensor, *context: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scales and shifts of the other half: (x + b) m sigmoid(r) is x exp(s) + t."""
        # The stream's precision, whatever autocast gives the network: errors of s are multiplied.
        outputs = call_recorded(self.network, "network", kept, *context).to(kept.dtype)
        shift, raw = outputs.chunk(2, -1)
        s = functional.logsigmoid(raw) + math.log(_LARGEST_STRETCH)
        return s, shift * s.exp()


class TokenSplit(nn.Module):
    """Two halves (N, T, C/2) of tokens (N, T, C), and their way back.

    Args:
        order: numbers of the channels, or of the tokens; the first half of them makes one half.
        dim: 2 splits channels; 1 splits tokens and cuts each in two.

    Example:
        >>> x = torch.arange(8).reshape(1, 4, 2)
        >>> first, second = TokenSplit(torch.tensor([0, 3, 1, 2]), 1)(x)
        >>> first.tolist(), second.tolist()
        ([[[0], [1], [6], [7]]], [[[2], [3], [4], [5]]])
    """

    repeatable: ClassVar[bool] = True
    order: Tensor
    back: Tensor

    def __init__(self, order: Tensor, dim: Literal[1, 2]) -> None:
        super().__init__()
        self.dim = dim
        # Not saved: a model's configuration says what they are.
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.argsort(), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, T, C) to two of (N, T, C/2)."""
        n, tokens, channels = x.shape
        first, second = x.index_select(self.dim, self.order).chunk(2, self.dim)
        shape = n, tokens, channels // 2
        return first.reshape(shape), second.reshape(shape)

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Map two of (N, T, C/2) back to (N, T, C)."""
        n, tokens, channels = first.shape
        shape = (n, tokens, channels) if self.dim == 2 else (n, tokens // 2, 2 * channels)
        both = torch.cat((first.reshape(shape), second.reshape(shape)), self.dim)
        return both.index_select(self.dim, self.back)


def channel_order(channels: int, number: int) -> Tensor:
    """The channels in the random order of a coupling's number; the same on every machine."""
    # Raw bits, of which numpy promises that they stay.
    bits = np.random.PCG64(seed_sequence(0, "channels of a Jet", number)).random_raw(channels)
    return torch.tensor(bits.argsort(kind="stable").tolist())


def place_order(places: Places, rows: int, columns: int) -> Tensor:
    """The tokens of a grid, those that a spatial coupling keeps before those that it changes.

    Example:
        >>> place_order("checkerboard", 2, 2), place_order("vstripes-inv", 2, 2)
        (tensor([0, 3, 1, 2]), tensor([1, 3, 0, 2]))
    """
    row, column = torch.arange(rows)[:, None], torch.arange(columns)
    counted = {"c": row + column, "v": column.expand(rows, -1), "h": row.expand(-1, columns)}
    swapped = int(places.endswith("-inv"))
    return ((counted[places[0]] + swapped) % 2).flatten().argsort(stable=True)


class TokenTransformer(nn.Module):
    """A vision transformer from T tokens of ``ins`` numbers to T of ``outs``; zero until trained.

    Args:
        tokens: number T of tokens.
        ins, outs: numbers per token.
        width, depth, heads: see ``JetConfig``.
        features: number K of features of the context; 0 for none.
    """

    repeatable: ClassVar[bool] = True

    def __init__(
        self,
        tokens: int,
        ins: int,
        outs: int,
        width: int,
        depth: int,
        heads: int,
        features: int = 0,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(ins, width)
        self.position = nn.Parameter(torch.empty(tokens, width))
        self.layers = nn.Sequential(*(_Layer(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.last = nn.Linear(width, outs)
        # Last, so that all other weights begin as they do without.
        self.context = nn.Linear(features, width, bias=False) if features else None
        nn.init.normal_(self.first.weight, std=ins**-0.5)
        nn.init.normal_(self.position, std=width**-0.5)
        for fill in (self.first.bias, self.last.weight, self.last.bias):
            nn.init.zeros_(fill)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (N, T, ins) to (N, T, outs), with a context (N, 1, K) or (N, T, K)."""
        embedded = self.first(x) + self.position
        if self.context is not None:
            embedded = embedded + self.context(context)
        return self.last(self.norm(self.layers(embedded)))


class _Layer(nn.Module):
    """Attention, then a perceptron, each with normalised input and added to its stream."""

    repeatable: ClassVar[bool] = True

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.Sequential(*(nn.LayerNorm(width, eps=1e-6) for _ in range(2)))
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        # Queries, keys and values begin as three layers would.
        weights = (
            *self.inputs.weight.chunk(3),
            *(layer.weight for layer in (self.output, self.widen, self.narrow)),
        )
        for weight in weights:
            nn.init.xavier_uniform_(weight)
        for layer in (self.inputs, self.output, self.widen, self.narrow):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, width) to the same shape."""
        heads = self.inputs(self.norms[0](x)).unflatten(2, (3, self.heads, -1))
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # (N, heads, T, width / heads) each
        seen = functional.scaled_dot_product_attention(queries, keys, values)
        x = x + self.output(seen.transpose(1, 2).flatten(2))
        hidden = functional.gelu(self.widen(self.norms[1](x)), approximate="tanh")
        return x + self.narrow(hidden)
