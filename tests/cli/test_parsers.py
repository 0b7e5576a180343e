"""What commands take is told without PyTorch, and is what there is."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from genrev import evaluation, export
from genrev.cli import fit_prior, main, parsers
from genrev.data.sources import SOURCES, spellings
from genrev.evaluation import METRICS
from genrev.figures import figure
from genrev.priors import FITTED

HELPED = """
import sys
from genrev.cli.main import main
for command in sys.argv[1:]:
    for line in ([command, "--help"], [command, "RUN", "--no-such-option"]):
        try:
            main(line)
        except SystemExit:
            pass
        assert "torch" not in sys.modules, line
main(["resume", "no-such-run"])
assert "lightning" not in sys.modules
"""


def test_help_and_wrong_lines_are_answered_without_pytorch():
    with_keys = ("train", "search")  # whose wrong lines are tested elsewhere
    commands = [name for name in main._MODULES if name not in with_keys]
    line = [sys.executable, "-c", HELPED, *commands]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: genrev ") == len(commands)


def test_the_names_in_help_are_those_of_the_registries(monkeypatch):
    assert parsers._spellings() == spellings()
    assert list(parsers.METRICS) == METRICS.names()
    assert parsers.DISTANCES == evaluation.DISTANCES
    assert (parsers.DIRECTIONS, parsers.FORMATS) == (export.DIRECTIONS, export.FORMATS)
    assert parsers.PICTURES == figure._PICTURE_FORMATS
    assert parsers.PRIORS == FITTED == tuple(fit_prior._OF_KIND)

    monkeypatch.setattr(parsers, "plugins_loaded", lambda: True)
    monkeypatch.setitem(METRICS._others, "brightness", SimpleNamespace)
    monkeypatch.setitem(SOURCES._others, "stripes", SimpleNamespace)
    assert "stripes" in parsers._spellings()
    assert "brightness" in parsers._names("evaluation.metric:METRICS", parsers.METRICS)


@pytest.mark.parametrize("command", main._MODULES)
def test_every_command_takes_something(command):
    assert hasattr(parsers, f"configure_{main._word(command)}") != (command in ("train", "search"))


@pytest.mark.parametrize("command", ["sample", "reconstruct", "interpolate", "traverse"])
def test_a_picture_of_no_known_kind_is_refused_before_it_is_drawn(command, capsys):
    assert main.main([command, "no-such-run", "--out", "samples.foo"]) == 2
    told = capsys.readouterr().err
    assert "--out" in told
    assert ".png" in told
    assert "no-such-run" not in told
