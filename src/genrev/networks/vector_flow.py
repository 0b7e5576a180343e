r"""A reversible network on vectors, and with a prior a density of them.

A row of a table, a feature or a point is a vector (N, D). Couplings, whose f and g are residual
networks of a few linear layers, map it to latents (N, D) and back, and between two couplings the
features are mixed, so that all of them meet. With a prior on the latents, vectors have a density,

.. math:: \log p(x \mid c) = \log p(z) + \log |\det \partial z / \partial x|, \qquad z = h_c(x),

which is what a flow is trained with, and samples, for the inverse takes as long as the map itself.
As everywhere in genrev the backward pass recomputes activations: memory is constant in depth.

The network is for loops of one's own. It is no kind for ``genrev train``, whose data are images.

References: Dinh et al., "Density estimation using Real NVP" (2017); He et al., "Identity mappings
in deep residual networks" (2016), for f and g; Winkler et al., "Learning likelihoods with
conditional normalizing flows" (2019), for the context.
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional

from genrev import reversible
from genrev.networks.network import check_floats
from genrev.options import Count, OptionError, Options
from genrev.priors import ActiveGaussian
from genrev.priors.prior import check_count
from genrev.reversible import Block, Engine
from genrev.reversible.context import one_hot


class VectorFlowConfig(Options):
    """Shape of a network on vectors."""

    features: Annotated[int, Field(ge=2)]
    """Number D of features of a vector."""
    couplings: Count = 8
    """Number of couplings, each of which changes all features but an odd one."""
    hidden: Count = 64
    """Width of f and g."""
    depth: Annotated[int, Field(ge=0)] = 1
    """Number of residual blocks, two linear layers each, within f and g."""
    coupling: Literal["additive", "affine"] = "affine"
    """Shift features (additive), which preserves volume, or stretch them as well (affine)."""
    mixing: Literal["rotation", "permutation"] = "rotation"
    """Between couplings: an orthogonal matrix that is learned (rotation), or one order in which
    features that were in one half are dealt to both (permutation)."""
    scaling: bool = True
    """Begin and end with a learned shift and scale of every feature, see ``initialise_``."""
    context: Annotated[int, Field(ge=0)] = 0
    """Number K of features, or of classes, that every f and g is told; 0 for none."""


class VectorFlow(nn.Module):
    """Invertible network on vectors (N, D), with a prior on its latents.

    Args:
        config: shape of the network.
        prior: distribution of the latents, vectors of D features: one of ``torch.distributions``,
            or a module that returns one when it is called, which is trained and moved with the
            network: a prior of ``genrev.priors`` or a flow of ``zuko``. By default a standard
            normal.
        engine: how it is computed, which changes nothing but rounding.

    Raises:
        OptionError: ``engine.exact`` for a network that cannot be exact.
        TypeError: no configuration, or a prior that is none.
        ValueError: a prior of other vectors.

    Example:
        >>> flow = VectorFlow(VectorFlowConfig(features=3, couplings=4, context=2))
        >>> x, context = torch.randn(5, 3), torch.randn(5, 2)
        >>> flow.log_prob(x, context).shape, flow.sample(7, context[0]).shape
        (torch.Size([5]), torch.Size([7, 3]))
        >>> torch.allclose(flow.decode(flow.encode(x, context), context), x, atol=1e-5)
        True
    """

    def __init__(
        self,
        config: VectorFlowConfig,
        prior: nn.Module | Distribution | None = None,
        engine: Engine | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(config, VectorFlowConfig):
            raise TypeError(
                f"VectorFlow takes a VectorFlowConfig, such as VectorFlowConfig(features=2), and "
                f"got {config!r:.80}."
            )
        if not isinstance(prior, nn.Module | Distribution | None):
            raise TypeError(
                f"The prior must be a distribution, or a module that gives one, not {prior!r:.80}."
            )
        self.config = config
        self.prior: Any = ActiveGaussian(config.features) if prior is None else prior
        self.blocks = reversible.ReversibleSequential(*_blocks(config))
        self.set_engine(engine or Engine())
        law = self.distribution()
        if law.event_shape != (config.features,) or law.batch_shape:
            raise ValueError(
                f"The prior must have event shape ({config.features},) and batch shape () and has "
                f"{tuple(law.event_shape)} and {tuple(law.batch_shape)}; give one of vectors, or "
                "make it one by torch.distributions.Independent(prior, 1)."
            )

    def set_engine(self, engine: Engine) -> None:
        """Compute it in another way from now on; see the constructor for ``OptionError``."""
        config = self.config
        fixed = config.coupling == "additive" and config.mixing == "permutation"
        if engine.exact and (not fixed or config.scaling or config.features % 2):
            raise OptionError(
                "Exact arithmetic needs an even number of features, coupling='additive', "
                "mixing='permutation' and scaling=False; set these, or leave exact out."
            )
        self.blocks.set_engine(engine)
        self.engine = engine

    @torch.no_grad()
    def initialise_(self, x: Tensor) -> None:
        """Begin with features that are centred and of standard deviation 1 over vectors (N, D).

        Raises:
            ValueError: a network without scaling, or fewer than two vectors.
        """
        x = self._checked(x, "vectors")
        if not self.config.scaling or len(x) < 2:
            raise ValueError("initialise_ takes two vectors or more, and a network with scaling.")
        first: Any = self.blocks[0]
        first.initialise_(x.mean(0), x.std(0))

    def distribution(self) -> Distribution:
        """The distribution of the latents, event shape (D,)."""
        return self.prior() if isinstance(self.prior, nn.Module) else self.prior

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map vectors (N, D) to latents (N, D).

        Args:
            x: the vectors, floats.
            context: if the network has ``context`` in its configuration, features (N, K) or
                classes (N,), or those of one vector for all of them.

        Raises:
            TypeError: vectors that are no tensor of floats.
            ValueError: another shape than these, or a context too many or too few.
        """
        x = self._checked(x, "vectors")
        return self.blocks(x, self._features(context, x))

    forward = encode

    def encode_with_log_det(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Latents, and log|det| of the Jacobian at each vector, (N,)."""
        x = self._checked(x, "vectors")
        return self.blocks.forward_with_log_det(x, self._features(context, x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Map latents (N, D) to vectors (N, D), with the same context; raises as ``encode``."""
        z = self._checked(z, "latents")
        return self.blocks.inverse(z, self._features(context, z))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Natural log-density (N,) of vectors (N, D), given the context; raises as ``encode``."""
        z, log_det = self.encode_with_log_det(x, context)
        return self.distribution().log_prob(z) + log_det

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """Draw n vectors, (n, D), given the context (see ``encode``), by torch's own generator."""
        return self.decode(self.distribution().sample((check_count(n),)), context)

    def rsample(self, n: int, context: Tensor | None = None) -> Tensor:
        """The same, differentiable, for a prior that has ``rsample``."""
        return self.decode(self.distribution().rsample((check_count(n),)), context)

    def _checked(self, x: Tensor, what: Literal["vectors", "latents"]) -> Tensor:
        check_floats(x, what, (self.config.features,))
        return x.to(next(self.blocks.parameters()).dtype)

    def _features(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """The context as features (N, K) in the number format of x."""
        n, k = len(x), self.config.context
        if (context is None) == (k == 0):
            if context is None:
                return None
            if not context.is_floating_point() and context.shape in ((), (n,)):
                context = one_hot(context, k, x.dtype)
            if context.shape in ((k,), (n, k)):
                return context.to(x.dtype).expand(n, k)
        got = "none" if context is None else f"{context.dtype} of shape {tuple(context.shape)}"
        wanted = f"takes classes below {k}, or floats, ({n}, {k}) or ({k},)," if k else "takes none"
        raise ValueError(f"The network {wanted} as its context and got {got}.")


class _Residual(nn.Module):
    """f or g: residual blocks between two linear layers; it is zero until trained."""

    repeatable: ClassVar[bool] = True

    def __init__(self, ins: int, outs: int, config: VectorFlowConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.first = nn.Linear(ins, hidden)
        self.context = nn.Linear(config.context, hidden, bias=False) if config.context else None
        self.inner: Any = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(2 * config.depth))
        self.last = nn.Linear(hidden, outs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """Map (N, ins) to (N, outs), with a context (N, K)."""
        h = self.first(x)
        if self.context is not None:
            h = h + self.context(*context)
        for one, other in zip(self.inner[::2], self.inner[1::2], strict=True):
            h = h + other(functional.silu(one(functional.silu(h))))
        return self.last(functional.silu(h))


class _AllButLast(Block):
    """A coupling of an even number of features, which leaves the last one as it is."""

    repeatable = True

    def __init__(self, coupling: Block) -> None:
        super().__init__()
        self.coupling, self.conditional = coupling, coupling.conditional

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """Map (N, D) to (N, D)."""
        return torch.cat((self.coupling(x[:, :-1], *context), x[:, -1:]), 1)

    def inverse(self, y: Tensor, *context: Tensor) -> Tensor:
        """Map (N, D) back to (N, D)."""
        return torch.cat((self.coupling.inverse(y[:, :-1], *context), y[:, -1:]), 1)

    def forward_with_log_det(self, x: Tensor, *context: Tensor) -> tuple[Tensor, Tensor]:
        """The same as ``forward``, and log|det| of the Jacobian, (N,)."""
        y, log_det = self.coupling.forward_with_log_det(x[:, :-1], *context)
        return torch.cat((y, x[:, -1:]), 1), log_det


def _blocks(config: VectorFlowConfig) -> list[Block]:
    """Couplings, with what mixes features between them and scalings at both ends."""
    features, half = config.features, config.features // 2
    mixed, conditional = config.mixing == "rotation", config.context > 0
    blocks: list[Block] = []
    for number in range(config.couplings):
        if number:
            blocks.append(reversible.Rotation(features) if mixed else reversible.Deal())
        outs = half if config.coupling == "additive" else 2 * half
        f, g = (_Residual(half, outs, config) for _ in "fg")
        if config.coupling == "additive":
            block: Block = reversible.AdditiveCoupling(f, g, conditional=conditional)
        else:
            block = reversible.AffineCoupling(f, g, 2 * half, conditional=conditional)
        blocks.append(_AllButLast(block) if features % 2 else block)
    if config.scaling:
        ends = [reversible.DiagonalScaling(features) for _ in range(2)]
        blocks = [ends[0], *blocks, ends[1]]
    return blocks
