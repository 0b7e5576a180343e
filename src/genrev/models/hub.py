"""Save and load trained models as safetensors and JSON, never as pickles.

A model folder holds ``model.safetensors`` (weights) and ``config.json`` (how to build the modules
they go into). Loading reads numbers and names only; nothing in either file can be executed, and
none can make the loader ask for more memory than the weights file has bytes, times a small number.
"""

import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genrev.errors import GenrevError
from genrev.files.paths import expand, quoted, writing
from genrev.files.readers import read_json_object
from genrev.files.writing import replacing, write_text
from genrev.models.conv_autoencoder import GenerativeConvAutoencoder
from genrev.models.generative import GenerativeRevNet
from genrev.models.module import GenerativeModule
from genrev.models.plain import plain_modules, plain_tensors, unwrapped
from genrev.models.untrusted import (
    check_numbers,
    check_same,
    described_tensors,
    outline,
    stored_tensors,
)
from genrev.priors.description import PRIORS

__all__ = [
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "download",
    "load",
    "model_folder",
    "model_info",
    "save",
    "shipped_models",
    "upload",
]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_FORMAT = 1
_LARGEST_CONFIG = 2**20  # bytes; ours have about a thousand
_KEEP = "torch.save(model.state_dict(), FILE)"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?", re.ASCII)
# A file names one of these and nothing else, so it cannot choose what code runs. They must build
# on the meta device: `load` does so first, to see how large they are.
_MODELS: dict[str, type[GenerativeModule]] = {
    "GenerativeRevNet": GenerativeRevNet,
    "GenerativeConvAutoencoder": GenerativeConvAutoencoder,
}


def save(model: nn.Module, folder: str | Path, info: dict[str, Any] | None = None) -> None:
    """Write a model folder; either file replaces an older one only when it is complete.

    Args:
        model: what to save: a ``GenerativeModule``, as it is or within ``torch.compile``,
            ``nn.DataParallel`` or the like.
        folder: where; created when missing.
        info: anything JSON can hold (recipe, data, numbers), kept under ``"info"``; by default
            ``model.info``.

    Raises:
        GenrevError: the folder cannot be written. Or ``load`` could not make the same model from
            the files, so none is written: it is of a class of one's own or has such a prior or
            module in it, or its numbers are not finite, or ``info`` is not for JSON.
    """
    # Wrappers have no place in a file; weights keep their number format.
    model = _saveable(unwrapped(model))
    described = {"format": _FORMAT, **model.config()}
    text = _json({**described, "info": model.info if info is None else info})
    tensors = _loadable_tensors(model, json.loads(_json(described)))
    folder = expand(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Two files cannot be renamed at once: the weights go last, since they are what takes long.
        write_text(folder / CONFIG_FILE, text)
        with replacing(folder / WEIGHTS_FILE) as temporary:
            save_file(tensors, temporary)


def load(run: str | Path, device: str | torch.device = "cpu") -> GenerativeModule:
    """Load a trained model, ready for sampling.

    Args:
        run: a run folder, a model folder, the name of a model shipped with the package
            (``"mnist"``), or a hub id ``"owner/name"`` or ``"owner/name@revision"``.
        device: where the model goes.

    Returns:
        The model in eval mode with ``encode``, ``decode``, ``sample``, ``reconstruct``,
        ``interpolate`` and ``traverse``, its weights in the number format in which they were saved,
        whatever PyTorch's default is; ``info`` tells what it was trained on.

    Raises:
        GenrevError: nothing of that name, or files that are not a genrev model. Files from a
            stranger may be given: whatever is in them, this is all that happens.

    Example:
        >>> model = load("mnist")
        >>> model.sample(4, label=3).shape
        torch.Size([4, 1, 28, 28])
    """
    folder = model_folder(run)
    config = _read_config(folder)
    weights = folder / WEIGHTS_FILE
    build = _builder(config, folder)
    try:
        stored = stored_tensors(weights)
    except (SafetensorError, OSError) as error:
        raise _no_weights(weights, error) from error
    described = {key: value for key, value in config.items() if key != "info"}
    try:
        expected = described_tensors(outline(build, described, stored).state_dict())
    except Exception as error:  # a file may hold anything, so anything may go wrong with it
        raise GenrevError(
            f"{folder / CONFIG_FILE} does not describe a genrev model with the weights of "
            f"{WEIGHTS_FILE} ({_reason(error)}); was it edited or written by another version?"
        ) from error
    try:
        check_same(expected, stored)
        with torch.device("cpu"):
            model = build()
        tensors = load_file(weights)
        check_numbers(tensors)
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            tensor.data = tensor.data.to(tensors[name].dtype)
        model.load_state_dict(tensors)
        model.prior.check()
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        raise _no_weights(weights, error) from error
    model.info = config["info"]
    return model.to(device).eval()


def model_info(run: str | Path) -> dict[str, Any]:
    """What a model folder tells of its training; empty for a folder without a model.

    Raises:
        GenrevError: nothing of that name, or a configuration that is none of genrev's.
    """
    folder = model_folder(run)
    return _read_config(folder)["info"] if (folder / CONFIG_FILE).is_file() else {}


def shipped_models() -> dict[str, Path]:
    """Folders of the models that come with the package, by name."""
    root = Path(str(files("genrev.models"))) / "shipped"
    if not root.is_dir():
        return {}
    return {path.name: path for path in sorted(root.iterdir()) if (path / CONFIG_FILE).is_file()}


def model_folder(run: str | Path) -> Path:
    """Where the files of a run, a model folder, a shipped model or a hub id are.

    Raises:
        GenrevError: nothing of that name, here or on the hub.
    """
    run = str(run)
    folder = expand(run)
    if folder.is_dir():
        return folder
    shipped = shipped_models()
    if run in shipped:
        return shipped[run]
    if _HUB_ID.fullmatch(run):
        repository, _, revision = run.partition("@")
        return download(repository, revision or None)
    known = ", ".join(shipped) or "none"
    raise GenrevError(
        f"There is no run or model {run!r}; give a run folder, a hub id owner/name or "
        f"owner/name@revision, or a model that comes with genrev ({known})."
    )


def download(
    repository: str,
    revision: str | None = None,
    *,
    force_download: bool = False,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Fetch a model folder from the hub, or find it in the cache; options are huggingface_hub's.

    Raises:
        GenrevError: the hub does not have it or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            # Only these two files: a repository's code or pickles are never even fetched.
            allow_patterns=[CONFIG_FILE, WEIGHTS_FILE],
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
    except Exception as error:  # the libraries below raise several unrelated kinds
        at = f" at revision {revision!r}" if revision else ""
        raise GenrevError(
            f"There is no folder {repository!r} here, and the hub did not give a model of that "
            f"name{at} ({type(error).__name__}); check the spelling and the network."
        ) from error
    return Path(folder)


def upload(folder: Path, repository: str, *, private: bool = False) -> str:
    """Put a folder on the hub as one commit; the repository is made when there is none.

    Args:
        folder: what to upload, all of it.
        repository: ``owner/name``.
        private: only the owner may see it.

    Returns:
        Address of the commit.

    Raises:
        GenrevError: the hub refuses or cannot be reached, or ``private`` and the repository that
            is there is public.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repository, private=private or None, exist_ok=True)
        public = private and not api.model_info(repository).private
        if not public:
            commit = api.upload_folder(
                repo_id=repository, folder_path=folder, commit_message="Upload a genrev model"
            )
            return str(commit.commit_url)
    except Exception as error:  # the libraries below raise several unrelated kinds
        raise GenrevError(
            f"The hub did not take {repository!r} ({_reason(error)}); log in with "
            "`hf auth login` and check the name and the network."
        ) from error
    raise GenrevError(
        f"{repository} is on the hub already and is public, so nothing was sent; make it private "
        "there first, or leave --private out."
    )


def _read_config(folder: Path) -> dict[str, Any]:
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise GenrevError(
                f"{folder} is not a finished run or a model folder: it has no {name}; "
                f"finish an interrupted run with `genrev resume {quoted(folder)}`."
            )
    path = folder / CONFIG_FILE
    try:
        config = read_json_object(path, _LARGEST_CONFIG)
    except (OSError, ValueError) as error:
        raise GenrevError(
            f"{path} is not JSON of a model ({_reason(error)}); copy the model folder again."
        ) from error
    if config.get("format") != _FORMAT:
        raise GenrevError(
            f"{path} is not of genrev's model format {_FORMAT}; "
            "was it written by another program or version?"
        )
    if not isinstance(config.setdefault("info", {}), dict):
        raise GenrevError(f'{path} has an "info" that is no object {{...}}; was it edited?')
    return config


def _saveable(model: nn.Module) -> GenerativeModule:
    """The model itself.

    Raises:
        GenrevError: it, or its prior, is of a class that a file cannot name.
    """
    name = type(model).__name__
    if not isinstance(model, GenerativeModule):
        raise GenrevError(
            f"a {name} is not a model with a prior, which is what can be saved; save "
            f"GenerativeRevNet(net, prior), or keep its weights with {_KEEP}."
        )
    for part, what, known in (
        (model, "the model", tuple(_MODELS.values())),
        (model.prior, "the prior of the model", tuple(PRIORS.values())),
    ):
        if type(part) not in known:
            names = ", ".join(kind.__name__ for kind in known)
            raise GenrevError(
                f"{what} is a {type(part).__name__}, and only {names} can be loaded again, so "
                f"nothing was saved; use one of these, or keep the weights with {_KEEP}."
            )
    return model


def _json(values: dict[str, Any]) -> str:
    try:
        text = json.dumps(values, indent=2, allow_nan=False) + "\n"
        if len(text.encode()) > _LARGEST_CONFIG:
            raise ValueError(f"it would have more than {_LARGEST_CONFIG:,} bytes")
        if not isinstance(values.get("info", {}), dict):
            raise ValueError("info must be a dict")
    except (TypeError, ValueError, RecursionError) as error:
        raise GenrevError(
            f"what is told of the model cannot go into {CONFIG_FILE} ({_reason(error)}), so "
            "nothing was saved; keep to dicts, lists, texts and finite numbers in info and "
            "class_names."
        ) from error
    return text


def _loadable_tensors(model: GenerativeModule, config: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors to be saved, after the checks that ``load`` will make.

    Raises:
        GenrevError: they would fail.
    """
    try:
        if any(tensor.is_meta for tensor in model.state_dict().values()):
            raise ValueError("it is on the meta device and has no numbers")
        tensors = plain_tensors(model)
        stored = described_tensors(tensors)
        loaded = outline(_builder(config, Path()), config, stored)
        theirs, ours = plain_modules(loaded), plain_modules(model)
        for name in [*theirs, *ours]:
            if theirs.get(name) is not ours.get(name):
                has, gets = (
                    getattr(kind.get(name), "__name__", "nothing") for kind in (ours, theirs)
                )
                raise ValueError(f"{name} is {has}, and loading would make it {gets}")
        check_same(described_tensors(loaded.state_dict()), stored)
        check_numbers(tensors)
        model.prior.check()
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise GenrevError(
            f"the model could not be loaded again ({_reason(error)}), so nothing was saved; build "
            f"it from genrev's parts and train it to finite weights, or keep it with {_KEEP}."
        ) from error
    return tensors


def _builder(config: dict[str, Any], folder: Path) -> Callable[[], GenerativeModule]:
    name = config.get("model")
    if not isinstance(name, str) or name not in _MODELS:
        raise GenrevError(
            f"{folder / CONFIG_FILE} does not describe a genrev model: it names the model "
            f"{str(name)[:80]!r}, and there are {', '.join(_MODELS)}."
        )
    return lambda: _MODELS[name].from_config(config)


def _no_weights(path: Path, error: Exception) -> GenrevError:
    return GenrevError(
        f"{path} does not hold the weights that {CONFIG_FILE} describes ({_reason(error)}); "
        "copy the model folder again."
    )


def _reason(error: Exception) -> str:
    """First line of a message, which may quote a stranger's file: short and printable."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return "".join(c for c in lines[0][:200] if c.isprintable()).rstrip(". ")
