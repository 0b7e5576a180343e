"""Everything a training run depends on, one section for each idea.

A recipe is a YAML file with these sections; the command line changes single options by dotted
names (``--optimizer.lr 0.002``); a run folder keeps the resolved whole as ``config.yaml``. Network,
prior and method are chosen by name and bring options of their own.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from genrev.data import DataConfig, local_path
from genrev.files.paths import expand
from genrev.options import (
    Count,
    FilePath,
    Fraction,
    OptionError,
    Options,
    Positive,
    Weight,
    path_mark,
)
from genrev.priors import Prior
from genrev.reversible import Engine
from genrev.words import LARGEST_SEED

Rate: TypeAlias = Annotated[float, Field(gt=0, le=1e30)]
"""A number above 0 that float32 has."""


class OptimizerOptions(Options):
    """For the network; the method may train more than that with Adam, at rates of its own."""

    kind: Literal["adam", "muon"] = "adam"
    """Adam for all weights (adam), or Muon for those with two dimensions or more (muon), which are
    the kernels of convolutions and matrices, and Adam for the rest."""
    lr: Rate = 1e-3
    """Learning rate of Adam."""
    muon_lr: Rate = 1e-2
    """Learning rate of Muon, whose steps have singular values of about 1."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay rates of Adam's two moments."""
    schedule: Literal["constant", "linear", "steps", "cosine"] = "constant"
    """Keep all learning rates; let them fall linearly to zero, in phases that begin with fresh
    states of the optimiser in each; divide them by 2 after six elevenths of the steps and by 5
    after ten, as after 30 and 50 of the 55 epochs of the Wasserstein autoencoder; or let them rise
    for a tenth of the steps and fall like a cosine, as for vision transformers."""
    weight_decay: Weight = 0.0
    """Part of every weight of the network that a step takes away, times the learning rate, as in
    AdamW."""
    clip: Rate | None = None
    """Largest norm of the model's gradient; null does not clip."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the weights, which is what the saved model has
    then (sample sheets during training show the weights themselves); null for none."""


class EngineOptions(Engine):
    """How gradients are computed, and whether the round trip of the network stays exact enough.

    The default threshold is a quarter of a grey level. Half a grey level (2e-3) would turn a pixel
    into another one; from a quarter on, the error is about to get there on images that were not
    measured, and it grows exponentially with the size of the weights. float32 starts at 1e-6.
    """

    precision: Literal["float32", "bf16"] = "float32"
    """Number format of the networks: float32, or bf16 (f and g in bfloat16, the stream between
    the blocks in float32)."""
    graph: bool = True
    """On CUDA, record a training step once and replay it (a CUDA graph), where the method computes
    on the device alone; the results are the same."""
    tf32: bool = True
    """On CUDA, let float32 training use TF32 where f and g and the losses multiply matrices; never
    with exact."""
    drift_every: Count | None = 500
    """Steps between two measurements of the round trip's error; null for none."""
    drift_threshold: Positive = 1e-3
    """Largest absolute error of a pixel in [0, 1] that is accepted."""
    on_drift: Literal["warn", "stored"] = "warn"
    """Past the threshold warn, or keep activations from there on."""

    @property
    def of_network(self) -> Engine:
        """What the network itself has to know."""
        return Engine(**{name: getattr(self, name) for name in Engine.model_fields})


class TrainerOptions(Options):
    """How long and on what the training runs, and how often it reports."""

    max_steps: Count = 1000
    """Steps in all."""
    max_minutes: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Stop after this time even if steps are left (a falling learning rate then ends above zero);
    null has no limit."""
    accelerator: str = "auto"
    """auto, cpu, cuda or mps."""
    devices: Count = 1
    """Number of processes on every machine, one device each."""
    nodes: Count = 1
    """Number of machines; on more than one, torchrun or SLURM starts the processes."""
    threads: Count | None = None
    """CPU threads per process; null takes as many as there are free cores and as the batch is
    large enough for, and keeps to that when the run is resumed."""
    log_every: Count = 10
    """Steps between two rows of metrics.csv."""
    sample_every: Count = 500
    """Steps between two sample sheets in TensorBoard."""
    checkpoint_every: Count = 500
    """Steps between two checkpoints; the last two are kept, and one of the last step."""
    frechet_every: Count | None = None
    """Steps between two measurements of the Fréchet distance between samples and training images;
    null for none. Other processes wait meanwhile."""
    frechet_samples: Annotated[int, Field(ge=2)] = 2000
    """Samples of one measurement."""
    frechet_features: FilePath | None = None
    """TorchScript file whose features are compared; null takes those of the classifier that
    belongs to data with labels."""
    keep_best: bool = False
    """Keep the model of the lowest Fréchet distance so far in the folder best of the run, as the
    authors of the paper did; of the weights themselves, not their average."""
    progress: bool = True
    """Draw a progress bar."""

    @model_validator(mode="after")
    def _best_is_measured(self) -> Self:
        if self.keep_best and self.frechet_every is None:
            raise OptionError(
                "--trainer.keep_best goes by the Fréchet distance; say how often to measure it "
                "with --trainer.frechet_every."
            )
        return self

    @property
    def processes(self) -> int:
        """Number of processes on all machines together."""
        return self.nodes * self.devices


class Choice(Options):
    """One of the things of a registry, with its options."""

    name: str
    options: Options


class PriorChoice(Choice):
    """A prior with its options."""

    options: Prior.Options


class RunConfig(Options):
    """A whole run; ``genrev.recipes.parse_config`` makes it of nested values.

    Raises:
        OptionError: values out of range, or what does not go together.
    """

    recipe: str = "custom"
    """Name of the recipe it came from."""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    """Everything random follows from it."""
    batch_size: Count = 400
    """Images a step, over all processes."""
    data: DataConfig
    network: Choice
    prior: PriorChoice
    method: Choice
    optimizer: OptimizerOptions = OptimizerOptions()
    engine: EngineOptions = EngineOptions()
    trainer: TrainerOptions = TrainerOptions()

    def plain(self) -> dict[str, Any]:
        """The nested values that make this configuration, as YAML and JSON have them."""
        values = dict(self)
        for section, options in self.sections():
            chosen = {}
            if isinstance(values[section], Choice):
                chosen = {"name" if section == "method" else "kind": values[section].name}
            values[section] = chosen | options.plain()
        return values

    def with_absolute_paths(self) -> "RunConfig":
        """The same configuration, for a run that can be resumed and evaluated from any folder."""
        changes = dict(self)
        for section, options in self.sections():
            part, made = changes[section], options.replace(**dict(_absolute(options, section)))
            changes[section] = part.replace(options=made) if isinstance(part, Choice) else made
        path = local_path(self.data.source)
        if path is not None:
            changes["data"] = changes["data"].replace(source=str(path))
        return self.replace(**changes)

    def sections(self) -> Iterator[tuple[str, Options]]:
        """Name and options of every section, and of what is chosen by name the chosen one's."""
        for name, part in self:
            if isinstance(part, Options):
                yield name, part.options if isinstance(part, Choice) else part


def _absolute(options: Options, section: str) -> Iterator[tuple[str, str]]:
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        mark = path_mark(field)
        if mark is not None and value is not None:
            path = expand(value, f"--{section}.{name}")
            if not mark.or_name or path.is_dir():
                yield name, str(path.absolute())
