import multiprocessing
import os
import shutil
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest

import genrev.data.load
from genrev.data import DataConfig, load_images
from genrev.errors import GenrevError
from genrev.files.cache import open_or_build

# Children fork from a process that is clean but for this import, which takes seconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["genrev.data"])


def entries(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if not path.name.startswith("."))


def partials(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.name.startswith("."))


@pytest.fixture
def no_decoding(monkeypatch):
    """Call to forbid decoding from then on."""

    def forbid():
        def refuse(*args, **kwargs):
            pytest.fail("decoded again")

        monkeypatch.setattr(genrev.data.load, "decode_all", refuse)

    return forbid


def test_second_load_does_not_decode(write_folder, pixels, cache_folder, no_decoding):
    root = str(write_folder("set", pixels))
    first = load_images(root)
    no_decoding()
    second = load_images(root)
    assert first.fingerprint == second.fingerprint
    np.testing.assert_array_equal(first.images, second.images)
    (entry,) = entries(cache_folder)
    assert sorted(path.name for path in entry.iterdir()) == [
        "images.npy",
        "labels.npy",
        "meta.json",
    ]
    assert entry.name.startswith("set-train-")


def test_cache_folder_of_the_configuration_wins(write_folder, pixels, tmp_path, cache_folder):
    load_images(DataConfig(source=str(write_folder("set", pixels)), cache=str(tmp_path / "mine")))
    assert entries(tmp_path / "mine" / "data")
    assert not cache_folder.exists()


def test_changed_files_are_decoded_again(write_folder, pixels):
    root = write_folder("set", pixels)
    seen = [load_images(str(root)).fingerprint]
    file = root / "000.png"
    before = file.stat()
    write_folder("set", 255 - pixels[:1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    seen.append(load_images(str(root)).fingerprint)
    file.rename(root / "zzz.png")
    seen.append(load_images(str(root)).fingerprint)
    (root / "001.png").unlink()
    seen.append(load_images(str(root)).fingerprint)
    assert len(set(seen)) == 4


def test_every_setting_has_its_own_entry(write_parquet, pixels, cache_folder):
    path = str(write_parquet("set.parquet", pixels, label=[0, 1] * 6, kind=["a", "b", "c"] * 4))
    settings = [
        {},
        {"crop": 4},
        {"image_size": 4},
        {"channels": 3},
        {"limit": 3},
        {"on_error": "skip"},
        {"label": "kind"},
    ]
    for setting in settings:
        load_images(DataConfig(source=path, **setting))
    load_images(path, "test")
    assert len(entries(cache_folder)) == len(settings) + 1


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "meta.json"])
@pytest.mark.parametrize("cut", [0, 60, -1, None])
def test_damaged_entry_is_built_again(write_folder, pixels, cache_folder, name, cut):
    root = str(write_folder("set", pixels, ["a", "b"] * 6))
    want = load_images(root)
    (entry,) = entries(cache_folder)
    whole = (entry / name).read_bytes()
    if cut is None:
        (entry / name).unlink()
    else:  # a cut of -1 leaves all but the closing brace of meta.json and its line's end
        end = len(whole.rstrip()) + cut if cut < 0 else cut
        (entry / name).unlink()  # not in place: `want` is mapped to the old file
        (entry / name).write_bytes(whole[:end])
    got = load_images(root)
    np.testing.assert_array_equal(got.images, want.images)
    np.testing.assert_array_equal(got.labels, want.labels)
    assert entries(cache_folder) == [entry]
    assert (entry / name).read_bytes() == whole
    assert not partials(cache_folder)


def test_array_of_another_shape_is_noticed(write_folder, pixels, cache_folder):
    root = str(write_folder("set", pixels))
    load_images(root)
    (entry,) = entries(cache_folder)
    (entry / "images.npy").unlink()
    np.save(entry / "images.npy", pixels.reshape(12, 1, 5, 7))
    assert load_images(root).image_shape == (1, 7, 5)


def test_entry_that_cannot_be_read_back_is_an_error(tmp_path):
    def read(entry: Path) -> None:
        raise ValueError

    with pytest.raises(GenrevError, match="damaged each time"):
        open_or_build(tmp_path, "key", read, lambda folder: None)
    assert not list(tmp_path.iterdir())


def test_failed_build_leaves_nothing(write_folder, pixels, cache_folder):
    root = write_folder("set", pixels)
    (root / "011.png").write_bytes(b"")
    with pytest.raises(GenrevError):
        load_images(str(root))
    assert not list(cache_folder.iterdir())


def test_unwritable_cache_is_one_sentence(write_folder, pixels, tmp_path):
    blocker = tmp_path / "file"
    blocker.touch()
    config = DataConfig(source=str(write_folder("set", pixels)), cache=str(blocker / "sub"))
    with pytest.raises(GenrevError, match=r"cannot be written \(Not a directory\); set .*GENREV"):
        load_images(config)


# --------------------------------------------------------------------------- several processes


def _load_at_the_same_time(root: str, cache: str, barrier, answers) -> None:
    original = genrev.data.load.build_entry

    def build_and_wait(folder: Path, **arguments) -> None:
        original(folder, **arguments)
        barrier.wait(60)  # both have built, neither has published

    genrev.data.load.build_entry = build_and_wait
    data = load_images(DataConfig(source=root, cache=cache))
    answers.put((data.fingerprint, data.images.tobytes()))


def test_two_processes_that_build_at_once_share_the_winners_entry(write_folder, pixels, tmp_path):
    root, cache = write_folder("set", pixels), tmp_path / "cache"
    barrier, answers = PROCESSES.Barrier(2), PROCESSES.Queue()
    arguments = (str(root), str(cache), barrier, answers)
    workers = [PROCESSES.Process(target=_load_at_the_same_time, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    first, second = answers.get(timeout=90), answers.get(timeout=90)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert first == second
    assert first[1] == pixels.tobytes()
    assert len(entries(cache / "data")) == 1
    assert not partials(cache / "data")


def _die_while_decoding(root: str, cache: str) -> None:
    original = genrev.data.load.decode_all

    def decode_and_die(*arguments):
        yield next(original(*arguments))
        os.kill(os.getpid(), signal.SIGKILL)

    genrev.data.load.decode_all = decode_and_die
    load_images(DataConfig(source=root, cache=cache))


def test_killed_process_leaves_no_entry_and_its_remains_are_removed(write_folder, pixels, tmp_path):
    root, cache = write_folder("set", pixels), tmp_path / "cache"
    worker = PROCESSES.Process(target=_die_while_decoding, args=(str(root), str(cache)))
    worker.start()
    worker.join(90)
    assert worker.exitcode == -signal.SIGKILL
    assert not entries(cache / "data")
    assert len(partials(cache / "data")) == 1
    data = load_images(DataConfig(source=str(root), cache=str(cache)))
    np.testing.assert_array_equal(data.images[:, 0], pixels)
    assert len(entries(cache / "data")) == 1
    assert not partials(cache / "data")


def test_only_abandoned_remains_are_removed(write_folder, pixels, cache_folder):
    here, day = socket.gethostname(), 24 * 3600
    alive, dead = os.getpid(), 2**22 + 1  # above the greatest process id of Linux
    cases = {
        f".partial-{alive}-a-{here}": (0, True),
        f".partial-{alive}-b-{here}": (2 * day, False),
        f".partial-{dead}-c-{here}": (0, False),
        f".partial-{dead}-d-another-host": (0, True),
        f".partial-{dead}-e-another-host": (2 * day, False),
        ".partial-of-somebody-else": (2 * day, True),
    }
    for name, (age, _) in cases.items():
        folder = cache_folder / name
        folder.mkdir(parents=True)
        (folder / "images.npy").touch()
        for path in (folder / "images.npy", folder):
            os.utime(path, (time.time() - age,) * 2)
    load_images(str(write_folder("set", pixels)))
    kept = {path.name for path in partials(cache_folder)}
    assert kept == {name for name, (_, keep) in cases.items() if keep}


def test_data_outlives_its_cache(write_folder, pixels, cache_folder):
    data = load_images(str(write_folder("set", pixels)))
    shutil.rmtree(cache_folder)
    np.testing.assert_array_equal(data.images[:, 0], pixels)
