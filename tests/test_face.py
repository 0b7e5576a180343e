"""What hangs on ``import genrev``, and what importing it and asking the command costs."""

import json
import subprocess
import sys

import pytest

import genrev

SLOW = ["torch", "lightning", "scipy", "datasets", "matplotlib", "sklearn", "pandas", "gradio"]


def imported(program):
    """Which slow packages a program has imported when it ends."""
    ending = f"import sys, json; print(json.dumps([m for m in {SLOW} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{ending}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", genrev.__all__)
def test_every_name_is_there(name):
    assert getattr(genrev, name) is not None
    assert name in dir(genrev)


def test_a_misspelt_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="RevNett"):
        genrev.RevNett  # noqa: B018


def test_importing_costs_little():
    assert imported("import genrev") == []
    assert imported("import genrev; genrev.RevNet; genrev.priors; genrev.objectives") == ["torch"]


@pytest.mark.parametrize(
    "line",
    [
        ["--help"],
        ["--version"],
        ["recipes"],
        ["train", "--help"],
        ["train", "mnits", "--out", "x"],
        ["train", "mnist", "--optimizer.lrr", "1", "--out", "x"],
        ["train", "mnist", "--method.transport_wait", "1", "--out", "x"],
        ["train", "mnist", "--optimiser.lr", "1", "--out", "x"],
        ["train", "mnist", "--lr", "1", "--out", "x"],
        ["train", "mnist"],
        ["search"],
        ["search", "--help"],
        ["search", "mnist", "--over", "optimizer.lrr=1,2", "--minutes", "1", "--out", "x"],
        ["search", "mnist", "--over", "optimizer.lr=1,2", "--minutes", "1"],
        ["sampel", "mnist"],
    ],
    ids=" ".join,
)
def test_what_needs_no_torch_is_answered_without(line):
    program = f"from genrev.cli.main import main\ntry:\n    main({line})\nexcept SystemExit: pass"
    assert imported(program) == []


def test_a_misspelt_file_is_answered_without_torch(tmp_path):
    (tmp_path / "mine.yaml").write_text("optimzer: {lr: 1}")
    line = ["train", "mnist", "--config", str(tmp_path / "mine.yaml"), "--out", "x"]
    assert imported(f"from genrev.cli.main import main\nmain({line})") == []


def test_the_version_of_a_source_tree_that_is_not_installed():
    program = """
import importlib.metadata as metadata
there = metadata.version
def version(name):
    if name in ("genrev", "datasets"):
        raise metadata.PackageNotFoundError(name)
    return there(name)
metadata.version = version
import genrev
from genrev.training.run.folder import describe_environment
packages = describe_environment(0)["packages"]
assert packages["genrev"] == genrev.__version__ and packages["datasets"] is None, packages
"""
    assert "torch" in imported(program)


def test_options_and_steps_need_no_lightning():
    found = imported("import genrev; genrev.METHODS['matching']; from genrev.training import Step")
    assert "lightning" not in found
