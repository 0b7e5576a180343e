"""The README's Python runs, and its commands exist."""

import re
import shlex
from pathlib import Path

import pytest

from genrev.cli import main as cli
from genrev.cli.train import read_arguments

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.split("#")[0].strip()
    for language, text in BLOCKS
    if not language
    for line in text.splitlines()
    if line.startswith("genrev ")
]


@pytest.mark.parametrize("text", PYTHON)
def test_python_runs(text):
    exec(compile(text, "README.md", "exec"), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_these_arguments(command):
    arguments = shlex.split(command)[1:]
    if arguments[0] == "train":
        config, out = read_arguments(arguments[1:])
        assert config.recipe == arguments[1]
        assert str(out).startswith("runs/")
    else:
        assert cli._parser().parse_args(arguments).command == arguments[0]


def test_there_is_something_to_test():
    assert PYTHON
    assert len(COMMANDS) > 8
