"""Save and load trained models as safetensors and JSON, never as pickles.

A model folder holds ``model.safetensors`` (weights) and ``config.json`` (how to build the modules
they go into). Loading reads numbers and names only; nothing in either file can be executed.
"""

import json
import os
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from genrev.errors import GenrevError
from genrev.models.conv_autoencoder import GenerativeConvAutoencoder
from genrev.models.generative import GenerativeRevNet
from genrev.models.module import GenerativeModule

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "load", "model_folder", "save", "shipped_models"]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_FORMAT = 1
# A file names one of these and nothing else, so it cannot choose what code runs.
_MODELS: dict[str, type[GenerativeModule]] = {
    "GenerativeRevNet": GenerativeRevNet,
    "GenerativeConvAutoencoder": GenerativeConvAutoencoder,
}


def save(model: GenerativeModule, folder: str | Path, info: dict[str, Any] | None = None) -> None:
    """Write a model folder; either file replaces an older one only when it is complete.

    Args:
        model: what to save.
        folder: where; created when missing.
        info: anything JSON can hold (recipe, data, numbers), kept under ``"info"``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    config = {"format": _FORMAT, **model.config(), "info": info or {}}
    # Two files cannot be renamed at once: the weights go last, since they are what takes long.
    _replace(
        folder / CONFIG_FILE, lambda path: path.write_text(json.dumps(config, indent=2) + "\n")
    )
    _replace(folder / WEIGHTS_FILE, lambda path: save_file(tensors, path))


def load(run: str | Path, device: str | torch.device = "cpu") -> GenerativeModule:
    """Load a trained model, ready for sampling.

    Args:
        run: a run folder, a model folder, the name of a model shipped with the package
            (``"mnist"``), or a hub id ``"owner/name"``.
        device: where the model goes.

    Returns:
        The model in eval mode with ``encode``, ``decode``, ``sample``, ``reconstruct``,
        ``interpolate`` and ``traverse``.

    Raises:
        GenrevError: nothing of that name, or files that are not a genrev model.

    Example:
        >>> model = load("mnist")
        >>> model.sample(4, label=3).shape
        torch.Size([4, 1, 28, 28])
    """
    folder = model_folder(run)
    config = _read_config(folder)
    try:
        model = _MODELS[config["model"]].from_config(config)
    except (KeyError, TypeError, ValueError) as error:
        raise GenrevError(
            f"{folder / CONFIG_FILE} does not describe a genrev model ({error}); "
            "was it edited or written by another version?"
        ) from error
    try:
        model.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (SafetensorError, RuntimeError, OSError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise GenrevError(
            f"{folder / WEIGHTS_FILE} does not hold the weights that {CONFIG_FILE} describes "
            f"({first_line}); copy the model folder again."
        ) from error
    return model.to(device).eval()


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
    folder = Path(run)
    if folder.is_dir():
        return folder
    shipped = shipped_models()
    if run in shipped:
        return shipped[run]
    if run.count("/") == 1 and not run.startswith((".", "/", "~")) and not run.endswith("/"):
        return _download(run)
    known = ", ".join(shipped) or "none"
    raise GenrevError(
        f"There is no run or model {run!r}; give a run folder, a hub id owner/name, "
        f"or a model that comes with genrev ({known})."
    )


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        # Only these two files: a repository's code or pickles are never even fetched.
        return Path(snapshot_download(hub_id, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise GenrevError(
            f"There is no folder {hub_id!r} here, and the hub did not give a model of that name "
            f"({type(error).__name__}); check the spelling and the network."
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise GenrevError(
                f"{folder} is not a finished run or a model folder: it has no {name}; "
                f"finish an interrupted run with `genrev resume {folder}`."
            )
    try:
        config = json.loads((folder / CONFIG_FILE).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise GenrevError(f"{folder / CONFIG_FILE} is not JSON ({error}).") from error
    if not isinstance(config, dict) or config.get("format") != _FORMAT:
        raise GenrevError(
            f"{folder / CONFIG_FILE} is not of genrev's model format {_FORMAT}; "
            "was it written by another program or version?"
        )
    return config


def _replace(path: Path, write: Any) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
