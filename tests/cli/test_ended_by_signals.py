"""Commands that are told to end leave nothing half-written behind."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from genrev.cli.terminal import EndedBySignal, signals_as_exceptions
from genrev.models import GenerativeModel, save
from genrev.networks import RevNet, RevNetConfig
from genrev.priors import ActiveGaussian

# The command stops just where its temporary file lies beside what it is to become.
STOPS_WHILE_WRITING = """
import sys, time
from importlib import import_module
from genrev.cli.main import main

def wait(*given, **named):
    print("writing", flush=True)
    time.sleep(300)

import_module("{module}").{function} = wait
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def model(tmp_path):
    net = RevNet(
        RevNetConfig(image_size=8, channels=1, hidden_channels=(3,), blocks=(1,), kernel_sizes=(1,))
    )
    save(GenerativeModel(net, ActiveGaussian(64, torch.tensor([1, 2]))), tmp_path / "m")
    return tmp_path / "m"


def hear_all_signals():
    """Tests in the background ignore SIGINT, under nohup SIGHUP, and so would their children."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        signal.signal(signal.Signals[name], signal.SIG_DFL)


def stopped(module, function, how, arguments, folder):
    """Status and last words of a command that was sent a signal while it wrote."""
    script = STOPS_WHILE_WRITING.format(module=module, function=function)
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        preexec_fn=hear_all_signals,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writing\n"
    assert any(path.name.startswith(".") for path in folder.rglob("*")), "nothing to clear up"
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors.splitlines()[-1]


@pytest.mark.parametrize(
    ("module", "function", "how", "arguments"),
    [
        ("genrev.export.programs", "trace", "SIGTERM", ["export", "m", "--to", "m.onnx"]),
        ("genrev.export", "save_file", "SIGINT", ["export", "m", "--to", "m.safetensors"]),
        ("genrev.cli.share", "sample_sheet", "SIGHUP", ["push", "m", "me/m", "--dry-run", "card"]),
        ("genrev.models.saving", "save_file", "SIGTERM", ["fit-prior", "m", "--data", "digits"]),
    ],
    ids=["export", "weights", "push", "fit-prior"],
)
def test_nothing_is_left(model, tmp_path, module, function, how, arguments):
    number = signal.Signals[how]
    status, told = stopped(module, function, number, arguments, tmp_path)
    assert status == 128 + number
    assert told == f"genrev: {'interrupted' if how == 'SIGINT' else f'ended by {how}'}."
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    # Of the two files of a model the configuration comes first; without weights it is no model.
    begun = {"m/prior-mixture/config.json"}
    assert left - begun == {"m/config.json", "m/model.safetensors"}


def test_handlers_come_and_go():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(EndedBySignal, match="SIGTERM"), signals_as_exceptions():
        signal.raise_signal(signal.SIGTERM)  # under nohup, SIGHUP is ignored
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_exceptions():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_process_just_ends():
    with signals_as_exceptions():
        child = os.fork()
        if not child:
            signal.raise_signal(signal.SIGTERM)
            os._exit(1)
        _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_ctrl_c_before_anything_is_imported_ends_in_one_line():
    program = """
import sys
class Interrupted:
    @staticmethod
    def find_spec(name, *rest):
        if name == "genrev.cli.main":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted)
from genrev.__main__ import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "genrev: interrupted.\n")
