"""Everything a training run depends on, as plain dataclasses.

A recipe is a YAML file with these fields; the command line overrides single ones with dotted
names (``--model.lr 0.002``); a run folder keeps the resolved whole as ``config.yaml``.
"""

from dataclasses import dataclass, field
from typing import Literal

from genrev.data import DataConfig
from genrev.models import RevNetConfig
from genrev.reversible import Memory

__all__ = ["EngineConfig", "RunConfig", "TrainerConfig", "TransportConfig"]


@dataclass(frozen=True)
class TransportConfig:
    """Adversary-free training by optimal transport to learned class-conditional Gaussians.

    Args:
        network: name of a preset RevNet, or the fields of a ``RevNetConfig``; its ``memory``,
            ``exact`` and ``compile`` are replaced by those of ``EngineConfig``, whatever they are.
        init: initialisation of a preset, see ``RevNetConfig``.
        active_dims: number of active latent dimensions, those with the largest standard
            deviation in the untrained encodings; null makes all of them active.
        bound: the clamp cuts active dimensions to [-bound, bound]; null does not cut.
        reconstruction_weight: weight of the L1 loss on the decoded clamped encoding.
        clamp_weight: weight of the L2 distance between encodings and clamped encodings.
        transport: exact transport as in the paper, or debiased.
        transport_weight: weight of the transport, summed over the classes.
        transport_start: fraction of the steps after which transport sets in; the Gaussians
            are initialised from the encodings at that step.
        transport_memory: number of past batches whose encodings take part in the transport, as
            constants; more points per class show more of the shape of their distribution.
        perturbation_weight: weight of the perturbation loss.
        perturbation_std: standard deviation of the perturbation.
        lr: learning rate of Adam for the network.
        prior_lr: learning rate of Adam for means and standard deviations.
        schedule: keep the learning rates, or let them fall linearly to zero.
    """

    network: str | RevNetConfig = "mnist"
    init: Literal["torch", "xavier"] = "torch"
    active_dims: int | None = None
    bound: float | None = None
    reconstruction_weight: float = 0.0
    clamp_weight: float = 0.0
    transport: Literal["exact", "debiased"] = "exact"
    transport_weight: float = 1.0
    transport_start: float = 0.0
    transport_memory: int = 0
    perturbation_weight: float = 0.0
    perturbation_std: float = 0.01
    lr: float = 1e-3
    prior_lr: float = 1e-3
    schedule: Literal["constant", "linear"] = "constant"


@dataclass(frozen=True)
class EngineConfig:
    """How gradients of the network are computed, and whether its round trip stays exact enough.

    This is the one place that decides: ``memory``, ``exact`` and ``compile`` of the network in
    ``TransportConfig`` are replaced by these.

    The default threshold is a quarter of a grey level. An error of half a grey level (2e-3) would
    turn a pixel into another one; from a quarter on, the error is about to get there on images
    that were not measured, and it grows exponentially with the size of the weights. float32
    starts at 1e-6.

    Args:
        memory: recompute activations in the backward pass (reversible), or keep them (stored),
            which is faster where they fit.
        exact: keep the stream between the blocks in fixed point, so that what is recomputed is
            what was computed, bit for bit; with 32-true and with bf16-mixed.
        compile: let ``torch.compile`` work on f and g, on CUDA only; not together with ``exact``.
        drift_every: steps between two measurements of the round trip's error; null for none.
        drift_threshold: largest absolute error of a pixel in [0, 1] that is accepted.
        on_drift: past the threshold warn, or keep activations from there on (stored).
    """

    memory: Memory = "reversible"
    exact: bool = False
    compile: bool = False
    drift_every: int | None = 500
    drift_threshold: float = 1e-3
    on_drift: Literal["warn", "stored"] = "warn"


@dataclass(frozen=True)
class TrainerConfig:
    """How long and on what the training runs, and how often it reports.

    Args:
        max_steps: optimiser steps in all.
        max_minutes: stop after this time even if steps are left (a falling learning rate then
            ends above zero); null has no limit.
        accelerator: auto, cpu, cuda, mps.
        devices: number of processes, one device each.
        precision: 32-true, or bf16-mixed (f and g in bfloat16, the stream in float32).
        threads: CPU threads per process; null leaves PyTorch's choice.
        gradient_clip: largest gradient norm; null does not clip.
        ema: decay of an exponential moving average of the weights, which is what the saved model
            has then (sample sheets during training show the weights themselves); null for none.
        log_every: steps between two rows of metrics.csv.
        sample_every: steps between two sample sheets in TensorBoard.
        checkpoint_every: steps between two checkpoints; the last two are kept.
        progress: whether to draw a progress bar.
    """

    max_steps: int = 1000
    max_minutes: float | None = None
    accelerator: str = "auto"
    devices: int = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    threads: int | None = None
    gradient_clip: float | None = None
    ema: float | None = None
    log_every: int = 10
    sample_every: int = 500
    checkpoint_every: int = 500
    progress: bool = True


@dataclass(frozen=True)
class RunConfig:
    """A whole run.

    Args:
        recipe: name of the recipe it came from.
        seed: everything random follows from it.
        batch_size: images per optimiser step over all processes, the same number of each class.
        data: where the images come from.
        model: network, prior and objective.
        engine: how gradients are computed.
        trainer: length, device and reports.
    """

    recipe: str = "custom"
    seed: int = 0
    batch_size: int = 400
    data: DataConfig = field(default_factory=DataConfig)
    model: TransportConfig = field(default_factory=TransportConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
