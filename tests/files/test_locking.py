"""A folder belongs to one process at a time, however that ends."""

import errno
import json
import os
import signal
import time

import pytest

import genrev.files.locking
from genrev.errors import GenrevError
from genrev.files.locking import LOCK_FILE, locked


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
