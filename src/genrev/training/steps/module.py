"""The LightningModule of all methods: a ``Step`` under Lightning's devices, ranks and precision."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer

from genrev.errors import GenrevError
from genrev.models import GenerativeModel
from genrev.training.methods.method import Batch
from genrev.training.steps.step import Step

_SHARE_OF_MEMORY = 0.25  # of what is free, that the training images may take


class TrainingModule(pl.LightningModule):
    """A model in training.

    All noise comes from generators seeded by (seed, step) and is drawn for the global batch, of
    which every rank uses its share: one and two ranks then train on the same numbers.

    Args:
        step: model, method and optimisers.
        resident: whether the loader takes its images from ``step.data``, by their ``index``.
    """

    def __init__(self, step: Step, resident: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.step = step
        self.resident = resident
        self._images: Tensor | None = None
        self._reported: dict[str, Tensor] = {}

    @property
    def model(self) -> GenerativeModel:
        """What is trained."""
        return self.step.model

    def configure_optimizers(self) -> list[Optimizer]:
        return list(self.step.optimizers)

    def on_train_start(self) -> None:
        """Keep images of moderate size on the device, as bytes."""
        images = getattr(self.step.data, "images", None)
        if self.device.type != "cuda" or images is None or not self.resident:
            return
        free, _ = torch.cuda.mem_get_info(self.device)
        if images.nbytes <= _SHARE_OF_MEMORY * free:
            self._images = torch.tensor(images).to(self.device)  # of arrays that may be read-only

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> dict[str, Any]:
        """Move a batch, or what finds it among the images on the device, without waiting."""
        if device.type != "cuda":
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        names = ("label", "index" if self._images is not None else "image")
        moved = {n: batch[n].pin_memory().to(device, non_blocking=True) for n in names}
        if self._images is not None:
            moved["image"] = self._images.index_select(0, moved["index"])
        return {**batch, **moved}

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.step.begin(int(batch["step"]))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        number = int(batch["step"])
        images = batch["image"].float() / 255  # (n, C, H, W)
        shared = Batch(
            images,
            batch["label"],
            number,
            self.step.phase(number).name,
            self.global_rank,
            self.trainer.world_size,
            self._gather,
        )
        noise = self.step.noise(shared)
        trains = self.step.trains_model(number)
        widths = self.step.method.report(self.model) if trains else {}
        parts = self.step.update(
            shared, noise, self._wrapped, self.manual_backward, self._on_any_rank
        )
        self._report({**parts, **widths}, off_bar=tuple(widths))

    def _wrapped(self, optimizer: Optimizer) -> LightningOptimizer:
        optimizers = self.optimizers()
        every = optimizers if isinstance(optimizers, list) else [optimizers]
        return next(wrapped for wrapped in every if wrapped.optimizer is optimizer)

    def _gather(self, rows: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return rows
        # The gather hands each rank's gradient back; with DDP's mean it is that of one process.
        gathered = self.all_gather(rows, sync_grads=rows.is_floating_point())
        assert isinstance(gathered, Tensor)  # (ranks, n, ...)
        return gathered.flatten(0, 1)

    def _on_any_rank(self, holds: bool) -> bool:
        if self.trainer.world_size == 1:
            return holds
        return bool(self.trainer.strategy.reduce_boolean_decision(holds, all=False))

    def _report(self, values: dict[str, Tensor], off_bar: Sequence[str]) -> None:
        """Log scalars, as means over the ranks; what a step has no value of keeps its last one.

        The last ones go into the checkpoint: a resumed run logs what an uninterrupted one does.
        """
        fresh = torch.stack([value.detach().float() for value in values.values()])
        if self.trainer.world_size > 1:
            fresh = self.trainer.strategy.reduce(fresh, reduce_op="mean")
        self._reported |= dict(zip(values, fresh.unbind(), strict=True))
        # After a checkpoint, old values may lie on another device.
        for name, value in self._reported.items():
            self.log(name, value.to(self.device), prog_bar=name not in off_bar)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.step.settle(self._on_any_rank)
        checkpoint["reported"] = self._reported
        state = checkpoint["method"] = self.step.method.state()
        if not _is_plain(state):  # it could not be read again
            raise GenrevError(
                f"The state of the method {type(self.step.method).__name__} holds more than "
                "tensors, numbers, texts, lists and dicts, so no checkpoint was written; mend its "
                "state()."
            )

    def on_train_end(self) -> None:
        self.step.settle(self._on_any_rank)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._reported = checkpoint["reported"]
        self.step.method.restore(checkpoint["method"])


def _is_plain(value: Any) -> bool:
    """Whether a checkpoint can hold a value that is read as numbers and words only."""
    if isinstance(value, dict):
        return all(_is_plain(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (Tensor, bool, int, float, str)


def model_of(pl_module: pl.LightningModule) -> GenerativeModel:
    """The model that a module trains, for callbacks."""
    assert isinstance(pl_module, TrainingModule)
    return pl_module.model


_STATISTICS = ("running_mean", "running_var")  # of batch normalisation, which belong to weights


class RevNetAverage(EMAWeightAveraging):
    """Average over the steps that train the model.

    Steps of a discriminator alone leave the model as it is; counted, they would halve the number
    of updates that the average reaches back over.

    Args:
        decay: of the average at every step that counts.
    """

    def __init__(self, decay: float) -> None:
        # Most buffers are indices, of which there is no average.
        super().__init__(decay=decay, use_buffers=False)
        self._decay = decay

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        assert isinstance(pl_module, TrainingModule)
        if not pl_module.step.trains_model(int(rest[1]["step"])):
            return
        if trainer.global_step > self._latest_update_step:
            self._follow(pl_module)
            self._latest_update_step = trainer.global_step

    @torch.no_grad()
    def _follow(self, pl_module: pl.LightningModule) -> None:
        """What the base class does, in one operation and without asking the device."""
        average = self._average_model
        assert average is not None
        averages = [p.detach() for p in average.module.parameters()]
        weights = [p.detach() for p in pl_module.parameters()]
        if self._latest_update_step == 0:
            torch._foreach_copy_(averages, weights)
        else:
            torch._foreach_lerp_(averages, weights, 1 - self._decay)
        buffers = dict(pl_module.named_buffers())
        for name, copied in average.module.named_buffers():
            if name.rpartition(".")[2] in _STATISTICS and self._latest_update_step:
                copied.lerp_(buffers[name], 1 - self._decay)
            else:
                copied.copy_(buffers[name])
        average.n_averaged += 1
