"""Output survives any encoding, and a place that takes none is told."""

import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from genrev.cli.main import main


def printed(monkeypatch, encoding, *words):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    status = main(list(words))
    for stream in streams:
        stream.flush()
    return status, *(stream.buffer.getvalue().decode(encoding) for stream in streams)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "utf-16", "utf-8"])
def test_any_encoding_will_do(monkeypatch, encoding):
    status, out, _ = printed(monkeypatch, encoding, "recipes")
    assert status == 0
    assert "faces-small" in out
    status, out, _ = printed(monkeypatch, encoding, "recipes", "--json")
    assert status == 0
    assert "digits" in json.loads(out)
    status, out, _ = printed(monkeypatch, encoding, "train", "--help")
    assert status == 0
    assert "distance" in out
    status, _, error = printed(monkeypatch, encoding, "train", "café→", "--out", "x")
    assert status == 2
    assert "caf" in error


def test_a_file_name_that_is_no_text_is_printed_as_its_bytes(monkeypatch, tmp_path):
    out = os.fsdecode(os.fsencode(tmp_path / "x") + b"\xff.png")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["sample", "mnist", "-n", "1", "--out", out]) == 0
    assert os.fsencode(out) in stream.buffer.getvalue()


def test_a_locale_of_ascii_reads_and_writes_what_others_do():
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    command = [sys.executable, "-m", "genrev", "recipes"]
    done = subprocess.run(command, capture_output=True, env=os.environ | plain, timeout=120)
    assert done.returncode == 0, done.stderr
    assert b"faces-small" in done.stdout


def test_a_full_place_for_what_is_printed_is_told(monkeypatch, capsys):
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 it cannot be closed well
    monkeypatch.setattr(sys, "stdout", full)
    assert main(["recipes"]) == 2
    with suppress(OSError):
        full.close()
    assert "No space left on device" in capsys.readouterr().err
