"""Options of length, device and reports."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["TrainerConfig"]


@dataclass(frozen=True)
class TrainerConfig:
    """How long and on what the training runs, and how often it reports.

    Args:
        max_steps: optimiser steps in all.
        max_minutes: stop after this time even if steps are left (a falling learning rate then
            ends above zero); null has no limit.
        accelerator: auto, cpu, cuda, mps.
        devices: number of processes on every machine, one device each.
        nodes: number of machines; on more than one, torchrun or SLURM starts the processes.
        precision: 32-true, or bf16-mixed (f and g in bfloat16, the stream in float32).
        threads: CPU threads per process; null takes as many as there are free cores and as the
            batch is large enough for, and keeps to that when the run is resumed.
        gradient_clip: largest gradient norm; null does not clip.
        ema: decay of an exponential moving average of the weights, which is what the saved model
            has then (sample sheets during training show the weights themselves); null for none.
        log_every: steps between two rows of metrics.csv.
        sample_every: steps between two sample sheets in TensorBoard.
        checkpoint_every: steps between two checkpoints; the last two are kept.
        frechet_every: steps between two measurements of the Fréchet distance between samples and
            training images; null for none. Other processes wait meanwhile.
        frechet_samples: samples of one measurement.
        keep_best: whether the model of the lowest Fréchet distance so far is kept in the folder
            ``best`` of the run, as the authors of the paper did; of the weights themselves, not
            their average.
        frechet_features: TorchScript file whose features are compared; null takes those of the
            classifier that belongs to data with labels.
        progress: whether to draw a progress bar.
    """

    max_steps: int = 1000
    max_minutes: float | None = None
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    threads: int | None = None
    gradient_clip: float | None = None
    ema: float | None = None
    log_every: int = 10
    sample_every: int = 500
    checkpoint_every: int = 500
    frechet_every: int | None = None
    frechet_samples: int = 2000
    frechet_features: str | None = None
    keep_best: bool = False
    progress: bool = True

    @property
    def processes(self) -> int:
        """Number of processes on all machines together."""
        return self.nodes * self.devices
