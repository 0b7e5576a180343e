"""The command `app`; imports of this file are late, because the page has to be up soon."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from genrev.cli.device import chosen_device
from genrev.cli.parsers import given_data

if TYPE_CHECKING:
    from torch import Tensor


def run_app(options: argparse.Namespace) -> None:
    from genrev.app.exhibit import Exhibit
    from genrev.app.serve import serve
    from genrev.models import load
    from genrev.models.saving import model_folder

    device = chosen_device(options)
    folders = [model_folder(name) for name in options.models or ["mnist"]]
    # From here on the hub's libraries use what is on this machine, and ask nobody.
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    if "huggingface_hub" in sys.modules:  # it read the variable when a model was downloaded
        sys.modules["huggingface_hub"].constants.HF_HUB_OFFLINE = True
    exhibits = []
    for name, folder in zip(_names(folders), folders, strict=True):
        model = load(folder, device).float()
        find = partial(_test_images, name, folder, given_data(options), model.image_shape)
        exhibits.append(Exhibit(name, model, model.class_names, find))
    serve(exhibits, options.port, options.share)


def _names(folders: list[Path]) -> list[str]:
    """Short names that differ: the last part of a path, or as many as it takes."""
    parts = [folder.absolute().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{p[-1]} ({i + 1})" for i, p in enumerate(parts)]


def _test_images(
    name: str, folder: Path, given: dict[str, str], shape: tuple[int, ...]
) -> "Tensor | None":
    """The test images of a run, looked for when the page asks; none rather than a failure."""
    from genrev.errors import GenrevError
    from genrev.figures import images_for_widths
    from genrev.recipes import run_data

    try:
        found = run_data(str(folder), given, shape=shape)
    except GenrevError as error:
        why = f": {error}" if "source" in given else ", which are not on this machine."
        print(f"The page shows samples of {name} instead of test images{why}", flush=True)
        return None
    return images_for_widths(found) if found.image_shape == shape else None
