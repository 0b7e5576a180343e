"""A model without the wrappers that speed it up or spread it over devices.

``torch.compile``, ``nn.DataParallel`` and ``DistributedDataParallel`` put a module into one of
their own, whole models as well as parts of them, and the names of its tensors get longer by that.
What is written to a file has the names that the model has by itself.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

__all__ = ["plain_modules", "plain_tensors", "unwrapped"]


def unwrapped(model: nn.Module) -> nn.Module:
    """The model within wrappers of any kind, one that averages its weights included."""
    while True:
        inner = model._modules.get("_orig_mod") or model._modules.get("module")
        if inner is None:
            return model
        model = inner


def plain_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What ``state_dict`` has, on the CPU, by the names without wrappers; copies."""
    wrappers = list(_wrappers(model))
    return {
        _plain(name, wrappers): tensor.detach().to(
            "cpu", copy=True, memory_format=torch.contiguous_format
        )
        for name, tensor in model.state_dict().items()
    }


def plain_modules(model: nn.Module) -> dict[str, type[nn.Module]]:
    """Classes of the modules of a model by their names, without wrappers."""
    wrappers = list(_wrappers(model))
    return {
        _plain(f"{path}.", wrappers).rstrip("."): type(module)
        for path, module in model.named_modules(remove_duplicate=False)
        if not _is_wrapper(module)
    }


def _wrappers(model: nn.Module) -> Iterator[str]:
    """Prefixes of what is within wrappers, from the innermost to the outermost."""
    paths = [
        f"{path}.{_attribute(module)}."
        for path, module in model.named_modules(remove_duplicate=False)
        if _is_wrapper(module)
    ]
    yield from sorted(paths, key=len, reverse=True)


def _is_wrapper(module: nn.Module) -> bool:
    parallel = isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel)
    return parallel or "_orig_mod" in module._modules


def _attribute(module: nn.Module) -> str:
    return "_orig_mod" if "_orig_mod" in module._modules else "module"


def _plain(name: str, wrappers: list[str]) -> str:
    for wrapper in wrappers:
        if name.startswith(wrapper):
            kept = wrapper.removesuffix(".").rpartition(".")[0]
            name = f"{kept}.{name.removeprefix(wrapper)}"
    return name
