"""Settings of all tests."""

import os
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Two cores are shared with whatever else runs: a slow example is no failure.
settings.register_profile("genrev", deadline=None, max_examples=25, print_blob=True)
settings.load_profile("genrev")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_lines_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test hangs on how busy the machine is."""
    monkeypatch.setattr("genrev.progress.FIRST", 3600.0)
    monkeypatch.setattr("genrev.cli.terminal.PATIENCE", 3600.0)


@pytest.fixture(autouse=True)
def _private_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reads or fills the cache of the person who runs it."""
    if "GENREV_CACHE" not in os.environ:
        monkeypatch.setenv("GENREV_CACHE", str(tmp_path_factory.getbasetemp() / "genrev-cache"))


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package one that is not installed."""

    def hide(package: str) -> None:
        real = PathFinder.find_spec
        for name in [n for n in sys.modules if n.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(
            PathFinder,
            "find_spec",
            lambda name, path=None, target=None: (
                None if name.partition(".")[0] == package else real(name, path, target)
            ),
        )

    return hide


@pytest.fixture
def real_data() -> Path:
    """Folder with MNIST and faces, where there is one."""
    folder = os.environ.get("GENREV_DATA")
    if not folder:
        pytest.skip("GENREV_DATA is not set")
    return Path(folder)
