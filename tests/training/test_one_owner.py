"""A folder that several files go into belongs to one process at a time, then to the next."""

import csv
import os
import socket
import threading

import pytest
import yaml
from run_files import ONE_LAYER, changed, config_of
from spoken import spoken

from genrev.cli.main import main
from genrev.files.locking import LOCK_FILE, locked
from genrev.training import RunFolder, train

CONFIG = config_of(
    batch_size=20,
    network=ONE_LAYER,
    prior={"active_dims": 4},
    trainer={"max_steps": 4, "log_every": 1},
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
    train(changed(CONFIG, trainer={"max_steps": 1}), run)
    return run


@pytest.mark.parametrize("command", ["figures", "fit-prior", "compare"])
def test_two_commands_do_not_mix_what_they_write(finished, tmp_path, capsys, command):
    with locked(tmp_path / "out"):
        told = refused(capsys, command, finished, "--out", tmp_path / "out")
    assert "is in use by process" in told
    assert "--out" in told
