"""Run a network once without keeping anything, and later again, just the same, with gradients.

The second run must see what the first saw: the autocast setting, the random numbers (dropout) and
the parameters. What cannot be repeated, a network that edits its own buffers, is refused.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from genrev.reversible.engine.execution import uncompiled


def autocast_now(x: Tensor) -> Callable[[], AbstractContextManager[None]]:
    """Enters autocast again as it is now, for the device of x and for the CPU."""
    devices = filter(torch.amp.is_autocast_available, sorted({"cpu", x.device.type}))
    settings = [(d, torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in devices]

    @contextmanager
    def again() -> Iterator[None]:
        with ExitStack() as stack:
            for device, on, dtype in settings:
                if on or torch.is_autocast_enabled(device):
                    # Autocast's cache would hand out casts of weights that were made under no_grad
                    # to code that needs their gradient.
                    setting = torch.autocast(device, dtype=dtype, enabled=on, cache_enabled=False)
                    stack.enter_context(setting)
            yield

    return again


class RandomState(NamedTuple):
    """States of the generators that a network on one device draws from."""

    device: torch.device
    states: tuple[Tensor, ...]

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        """The present states."""
        on_device = (torch.cuda.get_rng_state(device),) if device.type == "cuda" else ()
        return cls(device, (torch.get_rng_state(), *on_device))

    def changed(self) -> bool:
        """Whether anything was drawn since."""
        return not all(map(torch.equal, self.states, RandomState.now(self.device).states))

    def note_draws(self, record: "Record", name: str) -> None:
        """Note what was drawn since; only if anything, or memory would grow with the depth."""
        if self.changed():
            record[name] = self, RandomState.now(self.device)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Set them, and put back what was there at the end."""
        cpu, *on_device = self.states
        with torch.random.fork_rng([self.device] if on_device else []):
            torch.set_rng_state(cpu)
            for state in on_device:
                torch.cuda.set_rng_state(state, self.device)
            yield


_one_replay = threading.RLock()
Record = dict[str, tuple[RandomState, RandomState]]
"""States before and after networks that drew random numbers, by their names."""
_record: ContextVar[Record | None] = ContextVar("record", default=None)


@contextmanager
def recording(record: Record) -> Iterator[None]:
    """Within it ``call_recorded`` notes under the network's name how to repeat the call."""
    token = _record.set(record)
    try:
        yield
    finally:
        _record.reset(token)


def call_recorded(network: nn.Module, name: str, x: Tensor) -> Tensor:
    """``network(x)``, noting what a replay needs when a ``recording`` is on.

    While it is, a network that changes one of its buffers raises ``ValueError``.
    """
    record = _record.get()
    if record is None:
        return network(x)
    random_state = RandomState.now(x.device)
    versions = [(path, buffer, buffer._version) for path, buffer in network.named_buffers()]
    y = network(x)
    for path, buffer, version in versions:
        if buffer._version != version:
            raise ValueError(
                f"{name} changes its buffer {path} whenever it is called, so it cannot be run "
                "again to the same result, as the inverse and memory='reversible' need."
            )
    random_state.note_draws(record, name)
    return y


class Replay:
    """Runs the networks of a block again with gradients and collects those of the parameters.

    Other threads may use the block at the same time, so nothing of it is changed. Mostly it can be
    run as it is. A private copy runs where the block is not what it was in the first run, be it in
    another mode or used under ``torch.func.functional_call``, and where hooks on the parameters
    wait for the real gradient.

    Args:
        block: owner of the networks; the attribute is what is run, the block or its copy.
        parameters: of the block at the first run, by name.
        training: mode of every module of the block at the first run.
        record: what ``recording`` noted in the first run.
        autocast: that of the first run.
    """

    def __init__(
        self,
        block: Any,
        parameters: Mapping[str, Tensor],
        training: tuple[bool, ...],
        record: Record,
        autocast: Callable[[], AbstractContextManager[None]],
    ) -> None:
        live = dict(block.named_parameters(remove_duplicate=False))
        self.block, self.parameters, self.strays = block, dict(parameters), []
        if not (
            live.keys() == parameters.keys()
            and all(p is parameters[name] and not p._backward_hooks for name, p in live.items())
            and tuple(module.training for module in block.modules()) == training
        ):
            # One alias for all names of a parameter.
            by_id = {id(p): p.detach().requires_grad_(p.requires_grad) for p in parameters.values()}
            self.parameters = {name: by_id[id(p)] for name, p in parameters.items()}
            self.block = _private_copy(block, self.parameters, training)
            self.strays = [p for p in live.values() if p.requires_grad]
        self.record = record
        self.autocast = autocast
        self.grads: dict[str, Tensor] = {}

    def pull_back(
        self, name: str, x: Tensor, grad: Tensor, function: Callable[..., Any] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run a network at x and pull the gradient of its output back to x.

        Gradients of parameters are added to ``grads``, under the first of a parameter's names. The
        name ``""`` is the block itself, which is run by another ``function``.
        """
        leaf = x.detach().requires_grad_()
        run = function or self.block.get_submodule(name)
        with torch.enable_grad(), self.autocast(), self.randomness(name, checked=True):
            y = run(leaf)
        if not y.requires_grad:
            return y, torch.zeros_like(x)
        # The parameters of a network that want a gradient, each under the first of its names.
        prefix = f"{name}." if name else ""
        first: dict[Tensor, str] = {}
        for full, parameter in self.parameters.items():
            if full.startswith(prefix) and parameter.requires_grad:
                first.setdefault(parameter, full)
        wanted = {full: parameter for parameter, full in first.items()}
        grad_x, *grads = torch.autograd.grad(
            y, (leaf, *wanted.values(), *self.strays), grad.to(y.dtype), allow_unused=True
        )
        if any(stray is not None for stray in grads[len(wanted) :]):
            raise _no_copy(name or type(self.block).__name__)
        for full, grad_parameter in zip(wanted, grads, strict=False):
            if grad_parameter is not None:
                held = self.grads.get(full)
                self.grads[full] = grad_parameter if held is None else held + grad_parameter
        return y.detach(), torch.zeros_like(x) if grad_x is None else grad_x

    @contextmanager
    def randomness(self, name: str, *, checked: bool = False) -> Iterator[None]:
        """The random numbers of the first run of a network; ``""`` is the block as a whole.

        Generators belong to the whole process: replays in several threads take turns, and with
        ``checked`` it is noticed when anybody else drew in between, now or in the first run. What
        runs in the other direction may draw more or fewer, and is not.
        """
        if name not in self.record:
            yield
            return
        before, after = self.record[name]
        with _one_replay, before():
            yield
            if checked and before.changed() and after.changed():
                raise RuntimeError(
                    "The random numbers of a network in a reversible chain cannot be repeated, "
                    "since another thread drew from the same generator at the same time; build "
                    "the chain with memory='stored', or use one process for each."
                )


def _private_copy(
    block: nn.Module, parameters: Mapping[str, Tensor], training: tuple[bool, ...]
) -> nn.Module:
    """The block and its modules once more, with other parameters and modes; all else is shared."""
    copies: dict[int, nn.Module] = {}
    for module, mode in zip(block.modules(), training, strict=True):
        if isinstance(module, torch.jit.ScriptModule):
            raise _no_copy(type(block).__name__)
        copied = copies[id(module)] = object.__new__(type(module))
        copied.__dict__.update(module.__dict__, training=mode, _compiled_call_impl=None)
    for path, module in block.named_modules():
        prefix = f"{path}." if path else ""
        copied = copies[id(module)]
        children = {
            name: None if child is None else copies[id(uncompiled(child))]
            for name, child in module._modules.items()
        }
        tensors = {name: parameters.get(prefix + name) for name in module._parameters}
        copied.__dict__.update(_modules=children, _parameters=tensors)
        if isinstance(copied, nn.RNNBase):  # keeps a list of its own
            names = copied._flat_weights_names  # some may be parametrized
            copied._flat_weights = [getattr(copied, name) for name in names]
    return copies[id(uncompiled(block))]


def _no_copy(name: str) -> ValueError:
    return ValueError(
        f"{name} reaches its parameters by something other than its attributes (a list of modules, "
        "a lambda, a scripted function), so it cannot be run again for the backward pass without "
        "the hooks on its parameters, or with the mode and weights of its first run; use "
        "memory='stored'."
    )
