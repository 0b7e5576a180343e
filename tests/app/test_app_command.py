"""`genrev app` without a page: its arguments, and what it says instead of failing."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from spoken import spoken

from genrev.cli import app
from genrev.cli.main import main


def test_a_taken_port_gets_one_sentence(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["app", "--port", port]) == 2
    out, err = spoken(capsys)
    assert (out, len(err.splitlines())) == ("", 1)
    assert f"Port {port} cannot be used" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no run or model 'nowhere'"),
        (["--port", "99999"], "--port is a number from 0 to 65535"),
        (["--port", "x"], "invalid int value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_get_one_sentence(capsys, arguments, message):
    assert main(["app", *arguments]) == 2
    out, err = spoken(capsys)
    assert (out, len(err.splitlines())) == ("", 1)
    assert message in err


def test_the_help_names_arrays_among_the_data(capsys):
    with pytest.raises(SystemExit):
        main(["app", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "a folder of images, or a folder or file of .parquet or .tar or .npz" in told


def test_a_missing_gradio_is_named(capsys, monkeypatch, without):
    without("gradio")
    for name in [n for n in sys.modules if n.startswith("genrev.app.")]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["app"]) == 2
    assert 'pip install "genrev[app]"' in capsys.readouterr().err


def test_models_of_one_name_are_told_apart():
    paths = [Path("/a/x/run"), Path("/a/y/run"), Path("/b/z")]
    assert app._names(paths) == ["x/run", "y/run", "b/z"]
    assert app._names(paths[1:]) == ["run", "z"]
    assert len(set(app._names([Path("/a"), Path("/a")]))) == 2


def test_only_the_command_asked_for_is_imported():
    """The page has to be up soon, and importing what other commands need takes seconds."""
    code = (
        "import sys; from genrev.cli.main import main; main(['app', '--port', '99999']); "
        "print([m for m in ('lightning', 'datasets', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "[]"
