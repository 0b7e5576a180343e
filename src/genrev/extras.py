"""What `pip install genrev` leaves out, and the sentence for whoever needs it.

Each extra brings packages that only some commands need. Files import them as any other package. An
import in genrev that finds none of that name comes to the finder here, the last one that Python
asks, and it raises a ``GenrevError`` that names the extra. Imports of other packages, which may be
attempts, are left alone.
"""

import sys
from importlib.util import find_spec

from genrev.errors import GenrevError

EXTRAS = {
    "train": (
        *("lightning", "tensorboard", "datasets", "pyarrow", "scipy", "sklearn", "threadpoolctl"),
        "matplotlib",
    ),
    "app": ("gradio",),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "search": ("optuna",),
    "flows": ("zuko",),
    "ot": ("ot",),
    "fid": ("torch_fidelity",),
}
"""Packages by the extra of ``pyproject.toml`` that brings them, as they are imported."""
_EXTRA_OF = {package: extra for extra, packages in EXTRAS.items() for package in packages}
_IMPORTING = ("importlib", "importlib._bootstrap", __name__)  # modules between import and finder


class MissingExtra(GenrevError, ModuleNotFoundError):
    """A package of an extra that is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"This needs the package {package}, which is not installed; add it with "
            f'`pip install "genrev[{_EXTRA_OF[package]}]"`.'
        )
        self.name = package  # as of any failed import


def require(*extras: str) -> None:
    """Raise ``MissingExtra`` where a package of these extras is missing; nothing is imported."""
    for package in (package for extra in extras for package in EXTRAS[extra]):
        if sys.modules.get(package) is None and find_spec(package) is None:
            raise MissingExtra(package)


class _LastFinder:
    """Finds nothing, and says what that means to an import in genrev."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name in _EXTRA_OF and _importer().partition(".")[0] == "genrev":
            raise MissingExtra(name)


def _importer() -> str:
    """The name of the module whose import is going on."""
    frame = sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__") in _IMPORTING:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))


def _install() -> None:
    if not any(finder is _LastFinder for finder in sys.meta_path):
        sys.meta_path.append(_LastFinder)


_install()
