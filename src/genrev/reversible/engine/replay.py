"""Run a network once without keeping anything, and later again, just the same, with gradients.

The second run must see what the first saw: the autocast setting, the random numbers (dropout) and
the parameters. What cannot be repeated, a network that edits its own buffers, is refused.
"""

import operator
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from genrev.reversible.engine.execution import uncompiled
from genrev.reversible.kernels.low_precision import same_scope
from genrev.reversible.kernels.pair import ConvPair
from genrev.reversible.stream import FixedPoint, shifted


class _Autocast:
    """Settings of autocast for some devices, without its cache but with the casts of a scope."""

    __slots__ = ("before", "scope", "settings")

    def __init__(
        self,
        settings: Sequence[tuple[str, bool, torch.dtype]],
        scope: AbstractContextManager[None],
    ) -> None:
        self.settings = settings
        self.scope = scope

    def __enter__(self) -> None:
        self.scope.__enter__()
        self.before = torch.is_autocast_cache_enabled(), _autocast(d for d, *_ in self.settings)
        # The cache would hand out casts of weights that were made under no_grad to code that needs
        # their gradient.
        _set_autocast(False, self.settings)

    def __exit__(self, *_: object) -> None:
        _set_autocast(*self.before)
        self.scope.__exit__(None, None, None)


def _autocast(devices: Iterable[str]) -> list[tuple[str, bool, torch.dtype]]:
    return [(d, torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in devices]


def _set_autocast(cache: bool, settings: Sequence[tuple[str, bool, torch.dtype]]) -> None:
    torch.set_autocast_cache_enabled(cache)
    for device, on, dtype in settings:
        torch.set_autocast_enabled(device, on)
        torch.set_autocast_dtype(device, dtype)


def autocast_now(x: Tensor) -> Callable[[], AbstractContextManager[None]]:
    """Enters autocast and the scope of casts again, for the device of x and for the CPU."""
    devices = [d for d in {"cpu", x.device.type} if torch.amp.is_autocast_available(d)]
    settings = _autocast(devices)
    ever = any(on for _, on, _ in settings)
    scope = same_scope()

    def again() -> AbstractContextManager[None]:
        if not ever and not any(map(torch.is_autocast_enabled, devices)):
            return scope()  # also without autocast, weights are prepared once (see ``ConvPair``)
        return _Autocast(settings, scope())

    return again


# Modules of PyTorch that give the same result whenever they are called with the same input.
_NAMES = """
    Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d Linear Sequential Identity
    Flatten Unflatten ReLU LeakyReLU PReLU ELU SELU CELU GELU SiLU Mish Softplus Tanh Sigmoid
    Softmax GroupNorm LayerNorm RMSNorm PixelShuffle PixelUnshuffle
"""
_REPEATABLE = {getattr(nn, name) for name in _NAMES.split()}


@cache
def _repeatable(kind: type[nn.Module]) -> bool:
    return kind in _REPEATABLE or vars(kind).get("repeatable", False)


class Survey(NamedTuple):
    """What a replay has to know of a block, read in one walk through its modules.

    Args:
        names: of all parameters; a module that is used in two places has two names.
        parameters: in the same order.
        modes: ``training`` of every module, each once, as ``modules()`` lists them.
        repeatable: nothing in it draws random numbers, changes a buffer or has a hook.
        lazy: a parameter has no shape yet.
    """

    names: tuple[str, ...]
    parameters: tuple[Tensor, ...]
    modes: tuple[bool, ...]
    repeatable: bool
    lazy: bool

    @classmethod
    def of(cls, block: nn.Module) -> "Survey":
        """That of a block as it is now."""
        names: list[str] = []
        parameters: list[Tensor] = []
        modes: dict[int, bool] = {}
        repeatable = True
        stack: list[tuple[nn.Module, str]] = [(block, "")]
        while stack:
            module, prefix = stack.pop()
            modes.setdefault(id(module), module.training)
            if repeatable:
                kind: Any = type(module)
                edits = module._buffers and kind in _REPEATABLE  # others say that they do not
                repeatable = _repeatable(kind) and not (
                    edits or module._forward_hooks or module._forward_pre_hooks
                )
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    names.append(prefix + name)
                    parameters.append(parameter)
            if module._modules:
                children = [
                    (c, f"{prefix}{n}.") for n, c in module._modules.items() if c is not None
                ]
                stack += reversed(children)
        lazy = any(map(is_lazy, parameters))
        return cls(tuple(names), tuple(parameters), tuple(modes.values()), repeatable, lazy)

    def described(self) -> "Survey":
        """Without the parameters, to be kept where they are kept in another way."""
        return self._replace(parameters=())


class RandomState(NamedTuple):
    """States of the generators that a network on one device draws from."""

    device: torch.device
    states: tuple[Tensor, ...]

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        """The present states."""
        module = _generators(device)
        on_device = () if module is None else (module.get_rng_state(*_argument(device)),)
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
        before = RandomState.now(self.device)
        try:
            self._set()
            yield
        finally:
            before._set()

    def _set(self) -> None:
        cpu, *on_device = self.states
        torch.set_rng_state(cpu)
        for state in on_device:
            _generators(self.device).set_rng_state(state, *_argument(self.device))


def _generators(device: torch.device) -> Any:
    """The module of an accelerator, which has the states of its generators; none of the CPU."""
    return None if device.type in ("cpu", "meta") else torch.get_device_module(device.type)


def _argument(device: torch.device) -> tuple[torch.device, ...]:
    """The device, for modules of several; that of MPS is the only one and takes no argument."""
    return () if device.type == "mps" else (device,)


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


def call_recorded(network: nn.Module, name: str, x: Tensor, *context: Tensor) -> Tensor:
    """``network(x, *context)``, noting what a replay needs when a ``recording`` is on.

    While it is, a network that changes one of its buffers raises ``ValueError``.
    """
    record = _record.get()
    if record is None:
        return network(x, *context)
    random_state = RandomState.now(x.device)
    versions = [(path, buffer, buffer._version) for path, buffer in network.named_buffers()]
    y = network(x, *context)
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
        survey: of the block at the first run.
        parameters: of the block at the first run.
        record: what ``recording`` noted in the first run.
        autocast: that of the first run.
        context: what the networks take beside their input, one tensor or none; where it requires a
            gradient, ``context_grads`` has that of every run.
    """

    def __init__(
        self,
        block: Any,
        survey: Survey,
        parameters: Sequence[Tensor],
        record: Record,
        autocast: Callable[[], AbstractContextManager[None]],
        context: Sequence[Tensor] = (),
    ) -> None:
        live = Survey.of(block)
        self.block = block
        self.strays: tuple[Tensor, ...] = ()
        if not (
            live.names == survey.names
            and live.modes == survey.modes
            and all(map(operator.is_, live.parameters, parameters))
            and not any(p._backward_hooks for p in live.parameters)
        ):
            # One alias for all names of a parameter.
            by_id = {id(p): p.detach().requires_grad_(p.requires_grad) for p in parameters}
            parameters = [by_id[id(p)] for p in parameters]
            named = dict(zip(survey.names, parameters, strict=True))
            self.block = _private_copy(block, named, survey.modes)
            self.strays = tuple(p for p in live.parameters if p.requires_grad)
        self._named = [
            (name, parameter)
            for name, parameter in zip(survey.names, parameters, strict=True)
            if parameter.requires_grad
        ]
        self.record = record
        self.autocast = autocast
        self.grads: dict[str, Tensor] = {}
        self.context = tuple(c.detach().requires_grad_(c.requires_grad) for c in context)
        self.context_grads: list[Tensor] = []

    def pull_back(
        self, name: str, x: Tensor, grad: Any, function: Callable[..., Any] | None = None
    ) -> tuple[Any, Tensor]:
        """Run a network at x and pull the gradient of its output back to x; see ``rerun``."""
        output, pull = self.rerun(name, x, function)
        return output, pull(grad)

    def unshift(
        self, name: str, x: Tensor, stream: Any, sign: int, grads: tuple[Tensor, Tensor]
    ) -> tuple[Any, Tensor]:
        """Undo the shift of a stream by a network at x, and pull its gradient back to x.

        Args:
            name: of the network.
            x: what it read.
            stream: what it shifted, floats or on the grid.
            sign: of the shift that undoes it.
            grads: of x, as far as it is known, and of ``stream``.

        Returns:
            The stream before the shift, and the gradient of x. The gradients of the parameters
            are added to ``grads``.
        """
        grad_x, grad = grads
        network = self.block.get_submodule(name)
        if isinstance(network, ConvPair) and not self.context and name not in self.record:
            exact = isinstance(stream, FixedPoint)  # rounds the shift
            with self.autocast():
                found = network.value_and_pull(x, None if exact else stream, sign)
            if found is not None:
                output, pull = found
                grad_x = self._add(f"{name}.", *pull(grad, -sign, grad_x))
                return shifted(stream, output, sign) if exact else output, grad_x
        shift, more = self.pull_back(name, x, grad if sign == -1 else -grad)
        return shifted(stream, shift, sign), grad_x + more

    def rerun(
        self, name: str, x: Tensor, function: Callable[..., Any] | None = None, also: str = ""
    ) -> tuple[Any, Callable[[Any], Tensor]]:
        """Run a network at x with gradients.

        Args:
            name: of the network; ``""`` is the block itself, with a ``function``.
            x: its input.
            function: what is run in place of the network, to one tensor or a tuple of them; it
                takes the context, if there is one, behind x.
            also: name of a parameter beside the network's that the function reads.

        Returns:
            The output, detached, and what pulls gradients of it back to x, once. It adds those of
            the parameters to ``grads``.
        """
        run = function or self.block.get_submodule(name)
        leaf = x.detach().requires_grad_()
        again = self.randomness(name, checked=True) if name in self.record else nullcontext()
        with torch.enable_grad(), self.autocast(), again:
            output = run(leaf, *self.context)
        outputs = output if isinstance(output, tuple) else (output,)

        def pull(grads: Any) -> Tensor:
            given = grads if isinstance(grads, tuple) else (grads,)
            pairs = [(y, g.to(y.dtype)) for y, g in zip(outputs, given, strict=True)]
            return self._pull(name, also, leaf, [pair for pair in pairs if pair[0].requires_grad])

        if isinstance(output, tuple):
            return tuple(y.detach() for y in outputs), pull
        return output.detach(), pull

    def _pull(
        self, name: str, also: str, leaf: Tensor, pairs: Sequence[tuple[Tensor, Tensor]]
    ) -> Tensor:
        if not pairs:
            return torch.zeros_like(leaf)
        prefix = f"{name}." if name else ""
        # A parameter of two names counts under the first that the network has for it.
        wanted: dict[Tensor, str] = {}
        for full, parameter in self._named:
            if full.startswith(prefix) or full == also:
                wanted.setdefault(parameter, full)
        ys, grads = zip(*pairs, strict=True)
        context = [c for c in self.context if c.requires_grad]
        inputs = leaf, *context, *wanted, *self.strays
        grad_x, *found = torch.autograd.grad(ys, inputs, grads, allow_unused=True)
        self.context_grads += [grad for grad in found[: len(context)] if grad is not None]
        found = found[len(context) :]
        if any(stray is not None for stray in found[len(wanted) :]):
            raise _no_copy(name or type(self.block).__name__)
        for full, grad in zip(wanted.values(), found, strict=False):
            if grad is not None:
                self._keep(full, grad)
        return torch.zeros_like(leaf) if grad_x is None else grad_x

    def _add(self, prefix: str, grad_x: Tensor, grads: Mapping[str, Tensor]) -> Tensor:
        """Keep gradients that a network computed by itself."""
        wanted = dict(self._named)
        for name, grad in grads.items():
            if (full := prefix + name) in wanted:
                self._keep(full, grad)
        return grad_x

    def _keep(self, full: str, grad: Tensor) -> None:
        held = self.grads.get(full)
        self.grads[full] = grad if held is None else held + grad

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
