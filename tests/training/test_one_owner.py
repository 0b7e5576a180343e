"""A folder that several files go into belongs to one process at a time, then to the next."""

import csv
import errno
import json
import os
import signal
import socket
import threading
import time
from dataclasses import replace

import pytest
import yaml
from spoken import spoken

import genrev.files.locking
from genrev.cli.main import main
from genrev.data import DataConfig
from genrev.errors import GenrevError
from genrev.files.locking import LOCK_FILE, locked
from genrev.networks import RevNetConfig
from genrev.training import RunConfig, RunFolder, TrainerConfig, TransportConfig, train

CONFIG = RunConfig(
    batch_size=20,
    data=DataConfig(source="digits"),
    model=TransportConfig(
        network=RevNetConfig(8, 1, hidden_channels=(4,), blocks=(1,), kernel_sizes=(1,)),
        active_dims=4,
    ),
    trainer=TrainerConfig(max_steps=4, accelerator="cpu", threads=1, progress=False, log_every=1),
)


def refused(capsys, *command):
    assert main(list(map(str, command))) == 2
    return spoken(capsys)[1]


def test_a_second_training_of_a_run_is_refused_and_told_whose_it_is(tmp_path, capsys, monkeypatch):
    run, begun, go_on = tmp_path / "run", threading.Event(), threading.Event()
    write = csv.DictWriter.writerow

    def pause(*row):
        begun.set()
        assert go_on.wait(60)
        return write(*row)

    monkeypatch.setattr("csv.DictWriter.writerow", pause)  # a row of metrics.csv
    training = threading.Thread(target=train, args=(CONFIG, run))
    training.start()
    try:
        assert begun.wait(60)
        message = f"{run} is in use by process {os.getpid()} on {socket.gethostname()} since 2"
        file = tmp_path / "config.yaml"
        file.write_text((run / "config.yaml").read_text())
        again = refused(capsys, "train", file, "--seed", "1", "--out", run)
        assert message in again
        assert "--out" in again
        assert message in refused(capsys, "resume", run)
    finally:
        go_on.set()
        training.join()
    assert RunFolder(run).finished
    assert yaml.safe_load((run / "config.yaml").read_text())["seed"] == 0
    assert not (run / LOCK_FILE).exists()
    assert "is complete" in refused(capsys, "resume", run)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("finished") / "run"
    train(replace(CONFIG, trainer=replace(CONFIG.trainer, max_steps=1)), run)
    return run


@pytest.mark.parametrize("command", ["figures", "fit-prior", "compare"])
def test_two_commands_do_not_mix_what_they_write(finished, tmp_path, capsys, command):
    with locked(tmp_path / "out"):
        told = refused(capsys, command, finished, "--out", tmp_path / "out")
    assert "is in use by process" in told
    assert "--out" in told


def test_a_folder_that_stays_empty_goes(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path / "new"):
        raise RuntimeError
    assert not (tmp_path / "new").exists()


def test_a_lock_ends_with_its_process_though_a_child_of_it_lives(tmp_path):
    reading, writing = os.pipe()
    owner = os.fork()
    if not owner:
        with locked(tmp_path):
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
            os.write(writing, str(child).encode())
            os._exit(0)  # as a crash does it: nothing is cleared up
    child = int(os.read(reading, 100))
    os.waitpid(owner, 0)
    try:
        os.kill(child, 0)  # it lives
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == owner
        with locked(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_what_is_forked_off_does_not_end_the_lock(tmp_path):
    child = None
    try:
        with locked(tmp_path):
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                with pytest.raises(GenrevError, match="in use"), locked(tmp_path):
                    pass
    finally:
        if child == 0:  # it has left the block as well
            os._exit(0)


def test_a_link_in_the_place_of_the_lock_is_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "precious")
    with pytest.raises(GenrevError, match="cannot be written"), locked(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.fixture
def without_locks(monkeypatch):
    """A file system that has no locks."""

    def no_locks(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    monkeypatch.setattr(genrev.files.locking, "_SETTLED", 0.0)


@pytest.mark.usefixtures("without_locks")
def test_without_locks_the_file_decides(tmp_path):
    file = tmp_path / LOCK_FILE
    with locked(tmp_path):
        held = json.loads(file.read_text())
        with pytest.raises(GenrevError, match=f"in use by process {os.getpid()}"), locked(tmp_path):
            pass
        assert json.loads(file.read_text()) == held
    assert not file.exists()
    for stale in ({"boot": "another"}, {"pid": 2**22 + 1}, {"started": "1"}):
        file.write_text(json.dumps(held | stale))
        with locked(tmp_path):
            assert json.loads(file.read_text())["pid"] == os.getpid()
    file.write_text(json.dumps(held | {"host": "another"}))
    with pytest.raises(GenrevError, match=f"on another since .* delete {file}"), locked(tmp_path):
        pass
