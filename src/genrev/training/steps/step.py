"""One training step of any method, with or without a trainer around it.

A ``Step`` does for all methods what they share: rates and their schedule, phases, weights of the
losses, finiteness, gradients and their norms, and the turns of an adversary.
In a loop of one's own:

>>> import genrev, torch
>>> from genrev.training import METHODS, OptimizerOptions
>>> model = genrev.GenerativeModel(genrev.revnet("digits"), genrev.priors.ActiveGaussian(64))
>>> step = Step(model, METHODS["likelihood"](), OptimizerOptions(lr=1e-3), seed=0, max_steps=2)
>>> for _ in range(2):
...     losses = step(torch.rand(4, 1, 8, 8))
>>> sorted(losses)
['bits_per_dim', 'loss']
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeModel
from genrev.networks.network import check_floats
from genrev.reversible import low_precision_weights
from genrev.reversible.stream import deferred_checks
from genrev.training.config import OptimizerOptions
from genrev.training.methods.adversarial import AdversarialMethod
from genrev.training.methods.method import Batch, Method, Noise, Phase
from genrev.training.methods.noise import Asked
from genrev.training.steps.finite import Finiteness, require_exact, require_finite
from genrev.training.steps.graphs import Outcome, Recorder, StepGraphs
from genrev.training.steps.optimizer import StepOptimizer

# Fractions of the steps after which rates fall, and by what: 30 and 50 of 55 epochs.
_DECAY = ((30 / 55, 1 / 2), (50 / 55, 1 / 5))
_RISE = 0.1  # fraction of the steps in which rates rise, before a cosine


class Step(nn.Module):
    """Model, method and optimisers; a call trains on one batch.

    Args:
        model: what is trained.
        method: how; its ``prepare`` has been called, if it builds anything there.
        optimizer: rates, schedule and clipping.
        seed: of all noise.
        max_steps: length of the training, for phases and schedule.
        data: the training images, for methods that look at all of them between two phases.
        prior_lr: learning rate of Adam for what the prior learns; by default the model's.
        recorder: makes a graph of a step, ``CudaRecorder()`` on CUDA.
    """

    def __init__(
        self,
        model: GenerativeModel,
        method: Method,
        optimizer: OptimizerOptions,
        seed: int = 0,
        max_steps: int = 1000,
        data: ImageData | None = None,
        prior_lr: float | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        super().__init__()
        parts = ((model, GenerativeModel), (method, Method), (optimizer, OptimizerOptions))
        for given, wanted in parts:
            if not isinstance(given, wanted):
                raise TypeError(
                    "Step takes a GenerativeModel, a Method such as METHODS['likelihood']() and "
                    f"OptimizerOptions, and got {type(given).__name__} for {wanted.__name__}."
                )
        self.model = model
        self.method = method
        self.options = optimizer
        self.seed = seed
        self.max_steps = max_steps
        self.data = data
        self.phases = tuple(method.phases(max_steps))
        self.optimizers = self._optimizers(prior_lr)
        self._next = 0
        self._asked: dict[tuple[str, bool], Asked] = {}
        self._finiteness = Finiteness()
        self._graphs = StepGraphs(recorder) if recorder is not None else None
        self._rates = [[group["lr"] for group in o.param_groups] for o in self.optimizers]

    def forward(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        number: int | None = None,
    ) -> dict[str, Tensor]:
        """Train on one batch, in one process.

        Args:
            images: float (n, C, H, W) in [0, 1], on the model's device.
            labels: classes (n,); all 0 by default.
            number: of the step, counted from 0, on which noise, rates and phases depend; by default
                that after the last one.

        Returns:
            Losses by name; ``loss`` is their weighted sum.

        Raises:
            GenrevError: a loss that is not finite, or labels that are not balanced for a method
                that needs them so.
        """
        number = self._next if number is None else number
        check_floats(images, "images", self.model.image_shape)
        device = images.device
        if not isinstance(labels, Tensor | None):
            raise TypeError(f"labels must be a tensor (n,) and are {labels!r:.80}.")
        if labels is None:
            labels = torch.zeros(len(images), dtype=torch.int64, device=device)
        if self.method.balanced:
            self._require_balanced(labels)
        self.begin(number)
        self._next = number + 1
        labels = labels.to(device, non_blocking=True)
        batch = Batch(images, labels, number, self.phase(number).name)
        return self.update(batch, self.noise(batch))

    def _require_balanced(self, labels: Tensor) -> None:
        counts = labels.bincount(minlength=self.model.prior.num_classes).tolist()
        if len(set(counts)) > 1:
            raise GenrevError(
                f"{type(self.method).__name__} needs as many images of every class in each batch, "
                f"and the labels of this one are {counts} of each; sort batches as "
                "genrev.data.BatchLoader(..., balanced=True) does."
            )

    def noise(self, batch: Batch) -> Noise:
        """The random numbers of a step.

        On a device that computes by itself, those that the last such step asked for are drawn now
        and are there when the step begins, which then waits for nothing.
        """
        device = batch.images.device
        if device.type == "cpu" and self._graphs is None:
            return Noise(self.seed, batch.step)
        key = batch.phase, self.trains_model(batch.step)
        return Noise(self.seed, batch.step, device, self._asked.setdefault(key, {}))

    def update(
        self,
        batch: Batch,
        noise: Noise,
        wrapped: Callable[[Optimizer], Any] = lambda optimizer: optimizer,
        backward: Callable[[Tensor], None] = torch.Tensor.backward,
        anywhere: Callable[[bool], bool] = bool,
    ) -> dict[str, Tensor]:
        """Losses, gradients and the step of the optimiser whose turn it is, after ``begin``.

        On a device that computes by itself the host is ahead of it: a loss that is not finite
        raises a few steps later, or in ``settle``. On CUDA the step is a graph after a few steps,
        unless ``why_no_graph`` says why not.

        Args:
            batch: of this process.
            noise: see the method of that name.
            wrapped: the optimiser as a trainer wants it stepped.
            backward: how a trainer computes gradients.
            anywhere: tells whether something holds on any rank.

        Raises:
            GenrevError: a loss that is not finite.
        """

        def compute(batch: Batch, noise: Noise) -> Outcome:
            return self._compute(batch, noise, torch.Tensor.backward, anywhere)

        if self._graphs is not None and self.why_no_graph(batch.ranks) is None:
            net = self.model.net
            key = batch.phase, self.trains_model(batch.step), net.engine
            parts, late = self._graphs.run(key, batch, noise, compute)
        else:
            parts, late = self._compute(batch, noise, backward, anywhere)
        optimizer = self._whose_turn(batch.step)
        optimizer.taken = True  # the trainer counts a step that has been done
        wrapped(optimizer).step()
        optimizer.taken = False
        if batch.images.device.type != "cpu":
            self._finiteness.note(parts, late, batch.step, anywhere)
        return parts

    def why_no_graph(self, ranks: int = 1) -> str | None:
        """Why a step is no CUDA graph on so many processes, in half a sentence, or ``None``."""
        if not self.method.on_device:
            return f"a step of {type(self.method).__name__} computes on the host as well"
        if ranks > 1:
            return "there are several processes"
        if self.model.net.engine.compile:
            return "--engine.compile has graphs of its own"
        return None if self._graphs is None else self._graphs.off

    def _compute(
        self,
        batch: Batch,
        noise: Noise,
        backward: Callable[[Tensor], None],
        anywhere: Callable[[bool], bool],
    ) -> Outcome:
        """All that a step does on the device."""
        # Casts to low precision are made once, for losses and gradients.
        with low_precision_weights(self.model.net.parameters()), deferred_checks() as late:
            optimizer, loss, parts = self.losses(batch, noise)
            if batch.images.device.type == "cpu":  # before it changes anything
                require_finite(parts, batch.step, anywhere)
                require_exact(late, anywhere)
            optimizer.zero_grad()
            # Outside of the run's autocast, which would cast what the losses keep in float32.
            with torch.autocast(batch.images.device.type, enabled=False):
                backward(loss)
        self.clip(optimizer)
        optimizer.step()
        self.end(batch)
        # With their graph, a recording would hold that of its step for as long as it is replayed.
        return {name: part.detach() for name, part in parts.items()}, late

    def _whose_turn(self, number: int) -> StepOptimizer:
        return self.optimizers[0 if self.trains_model(number) else 1]

    def settle(self, anywhere: Callable[[bool], bool] = bool) -> None:
        """Look at the losses of all steps so far; to be called before weights are written.

        Raises:
            GenrevError: a loss that was not finite.
        """
        self._finiteness.settle(anywhere)

    def phase(self, number: int) -> Phase:
        """The phase of a step."""
        return next(phase for phase in reversed(self.phases) if phase.start <= number)

    def begin(self, number: int) -> None:
        """Set the rates of a step, and begin a phase that starts with it."""
        phase = self.phase(number)
        if number == phase.start:
            if phase.restart:
                for optimizer in self.optimizers:
                    optimizer.state.clear()
            if phase is not self.phases[0] and type(self.method).begin is not Method.begin:
                if self.data is None:
                    raise GenrevError(f"The phase {phase.name} needs data; give Step its images.")
                self.method.begin(phase.name, self.model, self.data)
        factor = self.rate(number)
        device = next(self.model.net.parameters()).device
        for optimizer, rates in zip(self.optimizers, self._rates, strict=True):
            optimizer.suit(device)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                if isinstance(group["lr"], Tensor):  # which a graph reads
                    group["lr"].fill_(factor * rate)
                else:
                    group["lr"] = factor * rate

    def rate(self, number: int) -> float:
        """What the learning rates are multiplied with at a step."""
        start, end = self._schedule(number)
        return rate_factor(self.options.schedule, number - start, end - start)

    def trains_model(self, number: int) -> bool:
        """Whether a step trains the model, and not an adversary alone."""
        method, phase = self.method, self.phase(number)
        if not isinstance(method, AdversarialMethod):
            return True
        return not method.trains_discriminator(phase.name, number - phase.start)

    def losses(
        self, batch: Batch, noise: Noise | None = None
    ) -> tuple[Optimizer, Tensor, dict[str, Tensor]]:
        """The optimiser whose turn it is, what it minimises, and what is reported."""
        method, noise = self.method, noise or self.noise(batch)
        device = batch.images.device.type
        if not self.trains_model(batch.step):
            assert isinstance(method, AdversarialMethod)
            loss = method.discriminator_loss(self.model, batch, noise)
            return self.optimizers[1], loss, {"discriminator": loss}
        parts = method.losses(self.model, batch, noise)
        if not isinstance(parts, Mapping) or "loss" in parts or not parts:
            given = parts if isinstance(parts, Mapping) else [f"a {type(parts).__name__}"]
            raise GenrevError(
                f"{type(method).__name__}.losses gave {', '.join(given) or 'nothing'}; give a "
                "dictionary of one part or more, of which none is called loss, as their sum is."
            )
        weights = method.weights(batch.phase)
        with torch.autocast(device, enabled=False):
            weighted = {name: weights.get(name, 1.0) * part for name, part in parts.items()}
            loss = _sum(part for name, part in weighted.items() if name not in method.apart)
            # No weight has a gradient from both.
            total = _sum([loss, *(weighted[name] for name in method.apart if name in parts)])
        return self.optimizers[0], total, {"loss": loss, **parts}

    def clip(self, optimizer: Optimizer) -> None:
        """Cut the norm of the gradients of the model, or of the adversary whose turn it is."""
        clip = self.options.clip
        if optimizer is not self.optimizers[0]:
            assert isinstance(self.method, AdversarialMethod)
            clip = self.method.options.discriminator_clip
        if clip is not None:
            groups = optimizer.param_groups[: self._groups_of_model]
            clip_grad_norm_([p for group in groups for p in group["params"]], clip)

    @torch.no_grad()
    def end(self, batch: Batch) -> None:
        """What follows an update of the model."""
        if self.trains_model(batch.step):
            self.method.after_step(self.model, batch)

    def _optimizers(self, prior_lr: float | None) -> list[StepOptimizer]:
        options, prior = self.options, self.model.prior
        lr, betas, weights = options.lr, options.betas, list(self.model.net.parameters())
        decay = options.weight_decay
        of_net = {"weight_decay": decay, "decoupled_weight_decay": decay > 0}
        groups: list[dict[str, Any]] = [{"params": weights, "lr": lr, **of_net}]
        if options.kind == "muon":
            matrices = [weight for weight in weights if weight.ndim >= 2]
            groups[0]["params"] = [weight for weight in weights if weight.ndim < 2]
            groups.append({"params": matrices, "lr": options.muon_lr, "muon": True, **of_net})
        if any(True for _ in prior.parameters()):
            groups.append({"params": list(prior.parameters()), "lr": prior_lr or lr})
        self._groups_of_model = len(groups)
        found = [StepOptimizer([*groups, *self.method.trained_along()], betas=betas)]
        if isinstance(self.method, AdversarialMethod) and self.method.discriminator is not None:
            rate = self.method.options.discriminator_lr
            found.append(StepOptimizer(self.method.discriminator.parameters(), rate, betas))
        return found

    def _schedule(self, number: int) -> tuple[int, int]:
        """First step, and the one after the last, of the schedule that a step belongs to."""
        starts = [0, *(phase.start for phase in self.phases if phase.restart)]
        start = max(step for step in starts if step <= number)
        end = min([step for step in starts if step > number], default=self.max_steps)
        return start, max(end, start + 1)  # beyond the end the last one goes on


def rate_factor(schedule: str, step: int, steps: int) -> float:
    """What learning rates are multiplied with.

    Args:
        schedule: see ``OptimizerOptions``.
        step: the step that comes next, from 0; from ``steps`` on it keeps the last value.
        steps: length of the training.

    Example:
        >>> [rate_factor("linear", step, 4) for step in range(4)], rate_factor("constant", 3, 4)
        ([1.0, 0.75, 0.5, 0.25], 1.0)
        >>> [round(rate_factor("cosine", step, 20), 3) for step in (0, 1, 2, 11, 19)]
        [0.5, 1.0, 1.0, 0.5, 0.008]
    """
    if schedule == "linear":
        return max(0.0, 1.0 - step / steps)
    if schedule == "cosine":
        rise = _RISE * steps
        fallen = min(max(0.0, (step - rise) / (steps - rise)), 1.0)
        return min((step + 1) / max(rise, 1.0), 1.0) * (1 + math.cos(math.pi * fallen)) / 2
    factor = 1.0
    for fraction, decay in _DECAY if schedule == "steps" else ():
        factor *= decay if step >= fraction * steps else 1.0
    return factor


def _sum(parts: Iterator[Tensor] | list[Tensor]) -> Tensor:
    total = sum(parts)
    assert isinstance(total, Tensor)
    return total
