"""The models that come with the package; a list of them needs no PyTorch."""

from pathlib import Path

CONFIG_FILE = "config.json"
_FOLDER = Path(__file__).parents[1] / "models" / "shipped"


def shipped_models() -> dict[str, Path]:
    """Folders of the models that come with the package, by name."""
    paths = sorted(_FOLDER.glob("*"))
    return {path.name: path for path in paths if (path / CONFIG_FILE).is_file()}
