"""What a method of training is, and the methods there are.

A method is one class in one file: its options, what it can train, its phases and its losses. What
methods share, from rates to reports, is done in ``genrev.training.steps``. Losses run without it:

>>> import genrev, torch
>>> from genrev.training.methods.likelihood import Likelihood
>>> method = Likelihood()
>>> model = genrev.GenerativeModel(genrev.revnet("digits"), genrev.priors.ActiveGaussian(64))
>>> batch = Batch(torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))
>>> losses = method.losses(model, batch, Noise(seed=0, step=0))
>>> sorted(losses), losses["bits_per_dim"].ndim
(['bits_per_dim'], 0)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeModel
from genrev.models.conditions import contexts_of
from genrev.networks import Network
from genrev.networks.network import NETWORKS
from genrev.options import OptionError
from genrev.options import Options as AnyOptions
from genrev.priors import PRIORS, Prior
from genrev.registry import Registry
from genrev.training.config import EngineOptions, RunConfig
from genrev.training.methods.noise import Noise


@dataclass(frozen=True)
class Batch:
    """The images of one step on one process.

    Args:
        images: float32 in [0, 1], (n, C, H, W).
        labels: their classes, int64 (n,).
        step: number of the step, from 0.
        phase: name of the phase it belongs to.
        rank: number of this process.
        ranks: how many processes there are, with as many images each.
        gather: the rows of all ranks, rank by rank: (n, ...) to (ranks * n, ...), with gradients,
            for losses that couple points.
    """

    images: Tensor
    labels: Tensor
    step: int = 0
    phase: str = "training"
    rank: int = 0
    ranks: int = 1
    gather: Callable[[Tensor], Tensor] = lambda rows: rows

    @property
    def total(self) -> int:
        """Number of images over all ranks."""
        return self.ranks * len(self.images)

    def context(self, model: GenerativeModel) -> tuple[Tensor, ...]:
        """What ``encode`` and ``decode`` take beside the images: their classes, or nothing."""
        return contexts_of(model, self.labels, len(self.images))

    def share(self, rows: Tensor) -> Tensor:
        """This rank's rows of what was drawn for all ranks: (ranks * n, ...) to (n, ...)."""
        return rows.chunk(self.ranks)[self.rank]


@dataclass(frozen=True)
class Phase:
    """A stretch of the training.

    Args:
        name: what ``Batch.phase`` says.
        start: its first step.
        restart: whether it begins with fresh states of the optimisers and a schedule of its own.
    """

    name: str
    start: int = 0
    restart: bool = False


@dataclass(frozen=True)
class HeldOut:
    """A number that is measured on the test split every so many steps.

    Args:
        name: of its column in ``metrics.csv``.
        measure: from the model and the images to the number, the same for the same weights.
        every: steps between two measurements; ``None`` measures once per epoch.
    """

    name: str
    measure: Callable[[GenerativeModel, ImageData], float]
    every: int | None


class Method(nn.Module, ABC):
    """A method of training.

    A subclass declares ``Options`` and overrides ``losses``; the rest has defaults. It is
    registered by ``METHODS.register(name)``.

    Args:
        given: an instance of ``Options``; by default one of the keywords.
        keywords: values of the options.
    """

    class Options(AnyOptions):
        """Options of the method; the section ``method`` of a configuration."""

    options: Options
    discriminator: nn.Module | None
    """What is trained against the model, if there is such a thing."""
    balanced: ClassVar[bool] = False
    """Whether batches hold the same number of images of every class, class after class."""
    conditional: ClassVar[bool] = False
    """Whether it tells a network with a ``context`` the classes of the batch, ``Batch.context``."""
    apart: ClassVar[Sequence[str]] = ()
    """Losses that train something beside the model, which ``loss`` does not count."""

    def __init__(self, given: AnyOptions | None = None, **keywords: Any) -> None:
        super().__init__()
        if given is not None and (keywords or not isinstance(given, self.Options)):
            name = type(self).__name__
            raise TypeError(f"{name} takes its Options, or keywords in place of them.")
        self.options = self.Options(**keywords) if given is None else given
        self.discriminator = None

    # What it can train.

    @classmethod
    def accepts_network(cls, network: type[Network]) -> bool:
        """Whether networks of this class can be trained; by default all can."""
        return True

    @classmethod
    def accepts_prior(cls, prior: type[Prior]) -> bool:
        """Whether there can be a prior of this class; by default all without classes."""
        return not prior.class_conditional

    def check(self, config: RunConfig) -> None:
        """Raise ``OptionError`` for options that do not go together with others."""

    def check_data(self, config: RunConfig, data: ImageData) -> None:
        """Raise ``GenrevError`` for options that do not fit the images."""
        require_batch_multiple(config, config.trainer.processes)

    def network_options(self, given: AnyOptions) -> AnyOptions:
        """Options of the network, those changed that the method decides."""
        return given

    # Before the first step.

    def initialise(self, model: GenerativeModel, data: ImageData) -> None:
        """Start an untrained model from the training images; not done for a resumed run.

        Its active dimensions are chosen, and a class-conditional prior has the moments of their
        encodings; the model is on the device that it is trained on.
        """

    def prepare(self, model: GenerativeModel, data: ImageData, seed: int) -> None:
        """Build what is trained along, or needed in every step; done for a resumed run too."""

    # During the training.

    @property
    def on_device(self) -> bool:
        """Whether a step computes on the device alone and changes nothing in Python.

        Then it can be recorded as a CUDA graph. No operation may need a number on the host, such as
        ``item()``, and all noise comes from ``normal``, ``latents`` or ``draw`` of ``Noise``.
        """
        return False

    @property
    def first_step(self) -> int:
        """The step to begin with; above 0 where steps are taken over from another run."""
        return 0

    def phases(self, max_steps: int) -> Sequence[Phase]:
        """The phases of a run, of which the first begins at step 0."""
        return (Phase("training"),)

    def begin(self, phase: str, model: GenerativeModel, data: ImageData) -> None:
        """Do what comes just before the first step of a phase after the first one."""

    @abstractmethod
    def losses(self, model: GenerativeModel, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """The parts of the loss of one batch, as scalars by name.

        The networks may run in lower precision here (``torch.autocast``); sums over many squares,
        kernels and solvers belong into ``torch.autocast(device, enabled=False)``.
        """

    def weights(self, phase: str) -> Mapping[str, float]:
        """Weights of the losses by name: the options ``NAME_weight``; others count once."""
        given = {n: v for n, v in self.options if n.endswith("_weight") and v is not None}
        return {name.removesuffix("_weight"): float(value) for name, value in given.items()}

    def trained_along(self) -> list[dict[str, Any]]:
        """Groups of Adam's parameters beside the model's, stepped together with them."""
        return []

    def after_step(self, model: GenerativeModel, batch: Batch) -> None:
        """Do what comes after an update of the model, without gradients."""

    def report(self, model: GenerativeModel) -> dict[str, Tensor]:
        """Scalars to be logged beside the losses."""
        return {}

    def held_out(self) -> Sequence[HeldOut]:
        """What is measured on the test split through the training."""
        return ()

    def state(self) -> dict[str, Any]:
        """Tensors that a resumed run needs beside weights and states of optimisers."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take a ``state`` back."""

    def finish(self, model: GenerativeModel, data: ImageData, seed: int) -> None:
        """Do what is left to do with a trained model, in place, on the device of the training."""

    def shared(self, config: RunConfig, folder: str) -> tuple[RunConfig | None, RunConfig]:
        """What runs of several ``--seeds`` share, of the configuration of one.

        Returns:
            The configuration of the run in ``folder`` that is shared, ``None`` where it is there
            already, and that of the runs which go on from it.

        Raises:
            GenrevError: nothing is shared.
        """
        raise GenrevError(
            f"--seeds is for methods with a phase to share, such as --method matching, and this is "
            f"{config.method.name}."
        )


METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "transport": "genrev.training.methods.transport:Transport",
        "matching": "genrev.training.methods.matching:Matching",
        "baseline": "genrev.training.methods.baseline:Baseline",
        "likelihood": "genrev.training.methods.likelihood:Likelihood",
        "flow-gan": "genrev.training.methods.flow_gan:FlowGAN",
        "semi": "genrev.training.methods.semi:SemiSupervised",
        "age": "genrev.training.methods.age:AGE",
        "bigan": "genrev.training.methods.bigan:BiGAN",
    },
    Method,
)
"""Methods by the name that ``--method`` takes."""


def build_method(config: RunConfig) -> Method:
    """The method of a configuration.

    Raises:
        GenrevError: it does not go together with other sections.
    """
    method = METHODS[config.method.name](config.method.options)
    asked: tuple[tuple[str, str, Registry[Any], Callable[[Any], bool]], ...] = (
        ("network.kind", config.network.name, NETWORKS, method.accepts_network),
        ("prior", config.prior.name, PRIORS, method.accepts_prior),
    )
    for option, name, known, accepts in asked:
        if not accepts(known[name]):
            others = [other for other in known.names() if accepts(known[other])]
            raise OptionError(
                f"--method {config.method.name} cannot train with --{option} {name}; choose "
                f"{' or '.join(others) or 'another method'}."
            )
    if not NETWORKS[config.network.name].reversible:
        usual, any_network = EngineOptions(), ("precision", "drift_every", "graph", "tf32")
        free = {name: getattr(usual, name) for name in any_network}
        if config.engine.replace(**free) != usual:
            raise OptionError(
                f"--engine.* is for reversible networks and {config.network.name} is none; set "
                "--engine.memory reversible, --engine.exact false and --engine.compile false."
            )
    if getattr(config.network.options, "context", 0) and not method.conditional:
        able = [other for other in METHODS.names() if METHODS[other].conditional]
        raise OptionError(
            f"--method {config.method.name} tells a network no classes; leave --network.context "
            f"out, or choose --method {' or '.join(able)}."
        )
    if config.data.streaming and method.balanced:
        raise OptionError(
            f"--method {config.method.name} takes as many images of every class into each batch, "
            "which a stream cannot deliver; leave --data.streaming out, or train with --method "
            "matching."
        )
    method.check(config)
    return method


def require_batch_multiple(config: RunConfig, unit: int, reason: str = "") -> None:
    """Raise ``OptionError`` for a batch that is to be divided, among processes and otherwise."""
    if config.batch_size % unit:
        nearest = max(1, round(config.batch_size / unit)) * unit
        raise OptionError(
            f"--batch_size is {config.batch_size} and must be a multiple of {unit} for {reason}"
            f"{config.trainer.processes} process(es); take {nearest}."
        )


def require_two_images(config: RunConfig) -> None:
    """Raise ``OptionError`` where a process has a single image a step."""
    processes = config.trainer.processes
    if config.batch_size < 2 * processes:
        raise OptionError(
            f"--batch_size {config.batch_size} leaves less than 2 images for each of "
            f"{processes} process(es), which batch normalisation needs; take "
            f"{100 * processes}, for example."
        )
