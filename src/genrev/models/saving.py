"""The folder of a trained model: safetensors and JSON, never pickles.

Nothing in ``model.safetensors`` and ``config.json`` is executed or imported, and neither can make
the loader ask for more memory than the weights have bytes, times a small number.

``torch.compile``, ``nn.DataParallel`` and ``DistributedDataParallel`` put a model or parts of it
into modules of their own, and the names of tensors get longer. What is written has the plain names.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genrev.errors import GenrevError
from genrev.files.paths import expand, quoted, reason, writing
from genrev.files.readers import read_json_object
from genrev.files.writing import replacing, write_text
from genrev.priors import Prior
from genrev.sharing import untrusted
from genrev.sharing.hub import download
from genrev.sharing.shipped import CONFIG_FILE, shipped_models

Model = TypeVar("Model", bound=nn.Module)

WEIGHTS_FILE = "model.safetensors"
RUN_CONFIG = "config.yaml"  # of a training run, which has its model in the same folder
KEEP = "torch.save(model.state_dict(), FILE)"
_FORMAT = 2
_LARGEST_CONFIG = 2**20  # bytes; ours have about a thousand
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?", re.ASCII)


def write_folder(
    folder: str | Path,
    model: Model,
    config: dict[str, Any],
    build: Callable[[dict[str, Any]], Model],
    info: dict[str, Any],
) -> None:
    """Write a model folder if ``read_folder`` can load it; ``build`` is ``from_config``."""
    text = _json({"format": _FORMAT, **config, "info": info})
    tensors = loadable_tensors(model, config, build)
    folder = expand(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Two files cannot be renamed at once: the weights go last, since they are what takes long.
        write_text(folder / CONFIG_FILE, text)
        with replacing(folder / WEIGHTS_FILE) as temporary:
            save_file(tensors, temporary)


def read_folder(
    folder: Path, config: dict[str, Any], build: Callable[[dict[str, Any]], Model]
) -> Model:
    """The model of a folder, maybe a stranger's, on the CPU and in evaluation mode."""
    weights = folder / WEIGHTS_FILE
    with _reading(weights):
        stored = untrusted.stored_tensors(weights)
    described = {key: value for key, value in config.items() if key != "info"}
    try:
        expected = untrusted.outline(build, described, stored)
    except Exception as error:  # a file may hold anything, so anything may go wrong with it
        raise GenrevError(
            f"{folder / CONFIG_FILE} does not describe a genrev model with the weights of "
            f"{WEIGHTS_FILE} ({reason(error)}); was it edited or written by another version?"
        ) from error
    with _reading(weights):
        untrusted.check_same(expected, stored)
        with torch.device("cpu"):
            model = build(described)
        tensors = load_file(weights)
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name in tensors:  # not every buffer is saved
                tensor.data = tensor.data.to(tensors[name].dtype)
        model.load_state_dict(tensors)
        _check_values(model, tensors)
    return model.eval()


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a model folder, with ``"info"`` in it."""
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            cure = "name another folder"
            if (folder / RUN_CONFIG).is_file():
                cure = f"finish an interrupted run with `genrev resume {quoted(folder)}`"
            raise GenrevError(
                f"{folder} is not a finished run or a model folder: it has no {name}; {cure}."
            )
    path = folder / CONFIG_FILE
    try:
        config = read_json_object(path, _LARGEST_CONFIG)
    except (OSError, ValueError) as error:
        raise GenrevError(
            f"{path} is not JSON of a model ({reason(error)}); copy the model folder again."
        ) from error
    if config.get("format") != _FORMAT:
        raise GenrevError(
            f"{path} is not of genrev's model format {_FORMAT}; "
            "was it written by another program or version?"
        )
    if not isinstance(config.setdefault("info", {}), dict):
        raise GenrevError(f'{path} has an "info" that is no object {{...}}; was it edited?')
    return config


def model_info(run: str | Path) -> dict[str, Any]:
    """What a model folder tells of its training; empty for a folder without a model."""
    folder = model_folder(run)
    info: dict[str, Any] = read_config(folder)["info"] if (folder / CONFIG_FILE).is_file() else {}
    return info


def model_folder(run: str | Path, **options: Any) -> Path:
    """Where the files are of what ``genrev.load`` takes; the options are of ``hub.download``."""
    run = str(run)
    folder = expand(run)
    if folder.is_dir():
        return folder
    shipped = shipped_models()
    if run in shipped:
        return shipped[run]
    if folder.is_file():
        raise GenrevError(f"{run} is a file; give the folder of the model, {folder.parent}.")
    if _HUB_ID.fullmatch(run):
        repository, _, revision = run.partition("@")
        options["revision"] = options.get("revision") or revision or None
        # Only these two files: a repository's code or pickles are never even fetched.
        return download(repository, [CONFIG_FILE, WEIGHTS_FILE], **options)
    known = ", ".join(shipped) or "none"
    beside = folder.parent.glob(f"*/{CONFIG_FILE}") if folder.parent.is_dir() else ()
    folders = {file.parent.name: file.parent for file in beside}
    near = difflib.get_close_matches(folder.name, [*folders, *shipped], n=1)
    meant = f" (did you mean {folders.get(near[0], near[0])}?)" if near else ""
    raise GenrevError(
        f"There is no run or model {run!r}{meant}; give a run folder, a hub id owner/name or "
        f"owner/name@revision, or a model that comes with genrev ({known})."
    )


def unwrapped(model: nn.Module) -> nn.Module:
    """The model within wrappers of any kind, one that averages its weights included."""
    while True:
        inner = model._modules.get("_orig_mod") or model._modules.get("module")
        if inner is None:
            return model
        model = inner


def plain_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What ``state_dict`` has, on the CPU, by the names without wrappers; copies."""
    plain = {path: name for path, name, _ in _parts(model)}
    tensors = {}
    for key, tensor in model.state_dict().items():
        path, dot, name = key.rpartition(".")
        copied = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        tensors[plain[path + dot] + name] = copied
    return tensors


def _json(values: dict[str, Any]) -> str:
    try:
        text = json.dumps(values, indent=2, allow_nan=False) + "\n"
        if len(text.encode()) > _LARGEST_CONFIG:
            raise ValueError(f"it would have more than {_LARGEST_CONFIG:,} bytes")
        if not isinstance(values.get("info", {}), dict):
            raise ValueError("info must be a dict")
    except (TypeError, ValueError, RecursionError) as error:
        raise GenrevError(
            f"What is told of the model cannot go into {CONFIG_FILE} ({reason(error)}), so "
            "nothing was saved; keep to dicts, lists, texts and finite numbers in info and "
            "class_names."
        ) from error
    return text


def loadable_tensors(
    model: Model, config: dict[str, Any], build: Callable[[dict[str, Any]], Model]
) -> dict[str, Tensor]:
    """The tensors to be saved; a ``GenrevError`` where ``read_folder`` could not load them."""
    described = json.loads(_json({"format": _FORMAT, **config}))
    try:
        if any(tensor.is_meta for tensor in model.state_dict().values()):
            raise ValueError("it is on the meta device and has no numbers")
        tensors = plain_tensors(model)
        stored = untrusted.described_tensors(tensors)
        loaded = untrusted.outline(build, described, stored)
        theirs, ours = (
            {plain.rstrip("."): type(module) for _, plain, module in _parts(whole)}
            for whole in (loaded, model)
        )
        for name in [*theirs, *ours]:
            has, gets = (kinds.get(name) for kinds in (ours, theirs))
            if has is not gets:
                one, other = (getattr(kind, "__name__", "nothing") for kind in (has, gets))
                raise ValueError(f"{name} is {one}, and loading would make it {other}")
        untrusted.check_same(loaded, stored)
        _check_values(model, tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise GenrevError(
            f"The model could not be loaded again ({reason(error)}), so nothing was saved; build "
            f"it from genrev's parts and train it to finite weights, or keep it with {KEEP}."
        ) from error
    return tensors


def _check_values(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """``ValueError`` where a weight is NaN or infinite, or a prior's active dimensions are none."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name[:80]!r} has numbers that are not finite")
    for module in model.modules():
        if isinstance(module, Prior):
            module.check()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GenrevError(f"{path} cannot be read ({reason(error)}).") from error
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise GenrevError(
            f"{path} does not hold the weights that {CONFIG_FILE} describes ({reason(error)}); "
            "copy the model folder again."
        ) from error


def _parts(
    module: nn.Module, path: str = "", plain: str = ""
) -> Iterator[tuple[str, str, nn.Module]]:
    """All modules but wrappers, with the prefixes of their tensors with and without wrappers."""
    parallel = isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel)
    for wrapper in ("_orig_mod", "module"):
        inner = module._modules.get(wrapper)
        if inner is not None and (parallel or wrapper == "_orig_mod"):
            yield from _parts(inner, f"{path}{wrapper}.", plain)
            return
    yield path, plain, module
    for name, child in module._modules.items():
        if child is not None:
            yield from _parts(child, f"{path}{name}.", f"{plain}{name}.")
