"""What a run says of itself: its configuration, and the images that it is shown or measured on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from genrev.data import DataConfig, ImageData, announce, local_path
from genrev.data.load import load_held_out
from genrev.errors import GenrevError
from genrev.models.saving import CONFIG_FILE, model_folder, model_info
from genrev.recipes.parsing import parse_config
from genrev.recipes.shipped import read_yaml
from genrev.training import RunConfig, RunFolder

# With streaming, for data that was too large to be decoded before is too large now.
_DATA_KEYS = ("source", "crop", "image_size", "channels", "label", "streaming")


def read_run_config(run: Path) -> RunConfig:
    """The resolved configuration of a run; GenrevError where there is none."""
    folder = RunFolder(run)
    if not folder.config.is_file():
        raise GenrevError(f"{run} is not a run folder: it has no {folder.config.name}.")
    return parse_config(read_yaml(folder.config), str(folder.config))


Shape: TypeAlias = tuple[int, ...]
Given: TypeAlias = Mapping[str, Any]
"""Fields of ``DataConfig`` that replace those of a run; ``source`` is what ``--data`` takes."""


def run_data(
    run: str,
    given: Given | None = None,
    split: str | None = None,
    announced: bool = False,
    shape: Shape | None = None,
) -> ImageData:
    """Images to show a run, or to measure it on; as ``run_split``, which also says which."""
    return run_split(run, given, split, announced, shape)[0]


def run_split(
    run: str,
    given: Given | None = None,
    split: str | None = None,
    announced: bool = False,
    shape: Shape | None = None,
) -> tuple[ImageData, str]:
    """Images of a run, and the split that they are; what was found is reported on stderr.

    Args:
        run: as ``genrev.load`` takes it.
        given: what is other than in the run; ``None`` takes what it was trained on.
        split: train, test, ..., all; ``None`` takes test, and train of data that has no other.
        announced: whether that was reported before, of another split.
        shape: that of the model's images, which those of another source are brought to.

    Raises:
        GenrevError: the run does not tell its data, or they are not on this machine.
    """
    given = given or {}
    config = _data_config(run)
    if config is None and "source" in given:
        config = DataConfig()
    if config is None:
        raise GenrevError(
            f"{run} does not tell what data it was trained on; name some with --data."
        )
    shape = shape if "source" in given else None
    images, split = load_held_out(config.replace(**given), split, shape, announced)
    if not announced:
        announce(images)
    return images, split


def train_split(
    run: str, given: Given | None = None, shape: Shape | None = None
) -> ImageData | None:
    """The images that a run was trained on; ``None`` for data that has other splits only."""
    try:
        return run_data(run, given, "train", announced=True, shape=shape)
    except GenrevError:
        return None


def _data_config(run: str) -> DataConfig | None:
    """What a run or a model was trained on, as far as its folder tells."""
    folder = model_folder(run)
    # A model folder inside a run folder is what `genrev fit-prior` makes.
    for config in (RunFolder(folder).config, RunFolder(folder.parent).config):
        if config.is_file():
            # Only the data: a run of somebody's own method can be measured without its plugin.
            values = read_yaml(config).get("data") or {}
            return parse_config({"data": values}, str(config)).data
    data = model_info(folder).get("data")
    if not isinstance(data, dict) or not isinstance(data.get("source"), str):
        return None
    if local_path(data["source"]) is not None:
        return None  # a model from elsewhere may name data sets, but not files of this machine
    try:
        values = {name: data[name] for name in _DATA_KEYS if name in data}
        return parse_config({"data": values}, str(folder / CONFIG_FILE)).data
    except GenrevError:  # values that are none
        return None
