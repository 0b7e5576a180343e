"""Run a network once without keeping anything, and later again, just the same, with gradients.

The second run must see what the first saw: the autocast setting, the random numbers (dropout) and
the parameters. What cannot be repeated, a network that edits its own buffers, is refused.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

__all__ = [
    "AutocastState",
    "RandomState",
    "Record",
    "Replay",
    "call_recorded",
    "modes",
    "recording",
]


@dataclass(frozen=True)
class AutocastState:
    """Autocast as it was set for some devices, to be entered again.

    Attributes:
        settings: device type, enabled, dtype of each.
    """

    settings: tuple[tuple[str, bool, torch.dtype], ...]

    @classmethod
    def now(cls, x: Tensor) -> "AutocastState":
        """The setting for the device of x and for the CPU."""
        devices = sorted({"cpu", x.device.type})
        return cls(
            tuple(
                (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
                for device in devices
                if torch.amp.is_autocast_available(device)
            )
        )

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Enter it.

        Without autocast's cache: it would hand out casts of the weights that were made under
        ``no_grad`` to code that needs their gradient.
        """
        with ExitStack() as stack:
            for device, enabled, dtype in self.settings:
                if enabled or torch.is_autocast_enabled(device):
                    stack.enter_context(
                        torch.autocast(device, dtype=dtype, enabled=enabled, cache_enabled=False)
                    )
            yield


@dataclass(frozen=True)
class RandomState:
    """States of the generators that a network on one device draws from."""

    cpu: Tensor
    device: torch.device
    on_device: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        """The present states."""
        on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), device, on_device)

    def changed(self) -> bool:
        """Whether anything was drawn since."""
        if not torch.equal(self.cpu, torch.get_rng_state()):
            return True
        return self.on_device is not None and not torch.equal(
            self.on_device, torch.cuda.get_rng_state(self.device)
        )

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Set them, and put back what was there at the end."""
        devices = [] if self.on_device is None else [self.device]
        with torch.random.fork_rng(devices):
            torch.set_rng_state(self.cpu)
            if self.on_device is not None:
                torch.cuda.set_rng_state(self.on_device, self.device)
            yield


@contextmanager
def modes(block: nn.Module, training: tuple[bool, ...]) -> Iterator[None]:
    """Every module of the block in the mode (training or not) that it had in the first run."""
    modules = list(block.modules())
    now = [module.training for module in modules]
    for module, mode in zip(modules, training, strict=True):
        module.training = mode
    try:
        yield
    finally:
        for module, mode in zip(modules, now, strict=True):
            module.training = mode


Record = dict[str, RandomState]
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

    Raises:
        ValueError: while recording, the network changed one of its buffers.
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
    # 5 kB each: kept only where something was drawn, or memory would grow with the depth.
    if random_state.changed():
        record[name] = random_state
    return y


class Replay:
    """Runs the networks of a block again with gradients and collects those of the parameters.

    The networks run on aliases of the parameters, so hooks on the parameters wait for the real
    gradient, and a replay under ``torch.func.functional_call`` sees the weights of the first run.

    Args:
        block: owner of the networks.
        parameters: the block's parameters at the first run by name.
        record: what ``recording`` noted in the first run.
        autocast: autocast of the first run.
    """

    def __init__(
        self,
        block: nn.Module,
        parameters: Mapping[str, Tensor],
        record: Record,
        autocast: AutocastState,
    ) -> None:
        self.block = block
        # One alias for all names of a parameter; its gradient goes to the first name.
        by_id = {id(p): p.detach().requires_grad_(p.requires_grad) for p in parameters.values()}
        self.aliases = {name: by_id[id(p)] for name, p in parameters.items()}
        self.record = record
        self.autocast = autocast
        self.grads: dict[str, Tensor] = {}

    def pull_back(self, name: str, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Run a network of the block and pull the gradient of its output back to its input.

        Args:
            name: attribute of the block that holds the network.
            x: input of the network.
            grad: gradient with respect to the network's output.

        Returns:
            The output, detached, and the gradient with respect to x. Gradients of parameters are
            added to ``grads``.
        """
        return self._pull_back(self.block.get_submodule(name), f"{name}.", "", name, x, grad)

    def pull_back_block(self, x: Tensor, grad: Tensor, *, inverse: bool) -> Tensor:
        """Gradient with respect to the input of the block's ``forward`` or ``inverse`` at x."""
        network = _Inverse(self.block) if inverse else self.block
        return self._pull_back(network, "", "block." if inverse else "", "", x, grad)[1]

    def _pull_back(
        self, network: nn.Module, mine: str, theirs: str, name: str, x: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``mine`` is the prefix of the parameters' names in ``aliases``, ``theirs`` in network."""
        aliases = {full: alias for full, alias in self.aliases.items() if full.startswith(mine)}
        renamed = {theirs + full.removeprefix(mine): alias for full, alias in aliases.items()}
        leaf = x.detach().requires_grad_()
        with torch.enable_grad(), self.autocast(), self.randomness(name):
            y = functional_call(network, renamed, (leaf,))
        if not y.requires_grad:
            return y, torch.zeros_like(x)
        wanted = {full: alias for full, alias in _once(aliases).items() if alias.requires_grad}
        grad_x, *grads = torch.autograd.grad(
            y, (leaf, *wanted.values()), grad.to(y.dtype), allow_unused=True
        )
        for full, grad_parameter in zip(wanted, grads, strict=True):
            if grad_parameter is not None:
                held = self.grads.get(full)
                self.grads[full] = grad_parameter if held is None else held + grad_parameter
        return y.detach(), torch.zeros_like(x) if grad_x is None else grad_x

    @contextmanager
    def randomness(self, name: str) -> Iterator[None]:
        """The random numbers of the first run of a network; ``""`` is the block as a whole."""
        state = self.record.get(name)
        if state is None:
            yield
        else:
            with state():
                yield


def _once(aliases: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the second and later names of a tensor."""
    first = {id(alias): name for name, alias in reversed(aliases.items())}
    return {name: aliases[name] for name in first.values()}


class _Inverse(nn.Module):
    """A block whose ``forward`` is its inverse, for ``functional_call``."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, y: Tensor) -> Tensor:
        return self.block.inverse(y)  # type: ignore[operator]
