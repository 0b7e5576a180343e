"""The Python of README and documentation runs, and their commands exist."""

import re
import shlex
from pathlib import Path

import pytest

from genrev.cli import main as cli
from genrev.cli.train import read_arguments

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", PAGES[page], flags=re.DOTALL | re.MULTILINE)


def python(page: str) -> str:
    """All Python of a page: a later block may use what an earlier one made."""
    return "\n".join(text for language, text in blocks(page) if language == "python")


COMMANDS = [
    (page, re.split(r" [|>] |  #", line)[0].strip())  # without redirections and comments
    for page in PAGES
    for language, text in blocks(page)
    if not language
    for line in text.splitlines()
    if line.startswith("genrev ")
]


@pytest.mark.parametrize("page", [page for page in PAGES if python(page)])
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(python(page), page, "exec"), {})


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_have_these_arguments(page, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command)[1:]
    if arguments[0] != "train":
        assert cli._parser().parse_args(arguments).command == arguments[0]
        return
    name = arguments[1]
    if name.endswith(".yaml"):  # the one that the page shows
        (text,) = (text for language, text in blocks(page) if language == "yaml")
        Path(name).write_text(text)
    config, out = read_arguments(arguments[1:])
    assert config.recipe == Path(name).stem
    assert str(out).startswith("runs/")


def test_there_is_something_to_test():
    assert len([page for page in PAGES if python(page)]) >= 4
    assert len(COMMANDS) > 20
