"""Threads by the cores that are free, told by what the system counts; memory that is kept."""

import os
import subprocess
import sys

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from run_files import changed, config_of

from genrev import threads
from genrev.threads import NUMBERS_PER_THREAD, Usage, choose_threads, free_cores
from genrev.training import resume, train
from genrev.training.steps.module import TrainingModule

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def pytorch(monkeypatch):
    """PyTorch as it is when nobody has said how many threads it is to take."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_most", None)
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


@given(st.integers(1, 64), st.floats(0, 1), st.floats(0, 1), st.floats(0.2, 30), st.floats(0, 1e6))
def test_cores_are_free_that_others_leave(cores, others, mine, seconds, start):
    """Cores kept busy by others and by this process for parts of the time."""
    own = mine * cores * (1 - others) * seconds
    idle = cores * seconds - others * cores * seconds - own
    free = Usage(start + seconds, 1000 + idle, 7 + own).free_since(Usage(start, 1000, 7))
    assert free == pytest.approx(cores * (1 - others), rel=1e-3, abs=1e-3)


def test_idle_time_is_that_of_the_cores_that_may_be_used():
    text = (
        "cpu  9 9 9 999 99 9 0 0 0 0\n"
        "cpu0 5 1 2 100 7 0 0 0 0 0\n"
        "cpu1 5 1 2 200 0 0 0 0 0 0\n"
        "cpu11 5 1 2 400 30 0 0 0 0 0\n"
        "intr 1 2 3\n"
    )
    assert threads._idle_ticks(text, {0, 11}) == 537
    assert threads._idle_ticks(text, {1}) == 200


@pytest.mark.parametrize(
    ("busy", "free"), [(0, 4), (0.1, 4), (0.9, 3), (1, 3), (1.6, 2), (3, 1), (3.9, 1), (4, 1)]
)
def test_busy_cores_are_left_to_others(monkeypatch, busy, free):
    monkeypatch.setattr(threads, "_cores", lambda: {0, 1, 2, 3})
    monkeypatch.setattr(threads, "_quota", lambda: 4)
    monkeypatch.setattr(threads, "_earlier", Usage(100, 50, 1))
    now = Usage(102, 50 + 2 * (4 - busy), 1)
    monkeypatch.setattr(Usage, "now", classmethod(lambda cls: now))
    assert free_cores() == free


def test_a_container_has_what_it_may_use(monkeypatch):
    monkeypatch.setattr(threads, "_cores", lambda: set(range(64)))
    monkeypatch.setattr(threads, "_quota", lambda: 2)
    monkeypatch.setattr(threads, "_earlier", None)  # as on a system without /proc
    assert free_cores() == 2


@pytest.mark.parametrize(
    ("numbers", "processes", "expected"),
    [
        (None, 1, 6),
        (10**9, 1, 6),
        (10**9, 2, 3),
        (10**9, 9, 1),
        (2 * NUMBERS_PER_THREAD, 1, 2),
        (1, 1, 1),
    ],
)
def test_threads_are_as_many_as_cores_and_work_allow(
    monkeypatch, pytorch, numbers, processes, expected
):
    monkeypatch.setattr(threads, "free_cores", lambda: 6)
    assert choose_threads(numbers, processes) == expected
    monkeypatch.setattr(threads, "free_cores", lambda: 60)  # and never more than PyTorch's
    assert choose_threads(numbers, processes) <= 8


def test_the_environment_decides_where_it_is_set(monkeypatch, pytorch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setattr(threads, "free_cores", lambda: 1)
    assert choose_threads(1) == 8


def test_a_run_keeps_the_threads_that_it_began_with(monkeypatch, pytorch, tmp_path):
    """The rounding of a sum depends on them: a resumed run would not be the same."""
    config = config_of(
        batch_size=400,
        network={"hidden_channels": [6], "blocks": [1], "kernel_sizes": [3]},
        prior={"active_dims": 6},
        trainer={"max_steps": 2, "threads": None},
    )
    used = []
    begin = TrainingModule.on_train_start

    def note(module):
        used.append(torch.get_num_threads())
        begin(module)

    monkeypatch.setattr(TrainingModule, "on_train_start", note)
    monkeypatch.setattr(threads, "free_cores", lambda: 5)
    train(config, tmp_path / "run")
    recorded = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["trainer"]["threads"]
    assert [recorded] == used == [2]  # 400 images of 64 pixels
    (tmp_path / "run/model.safetensors").unlink()
    monkeypatch.setattr(threads, "free_cores", lambda: 1)  # busy now
    resume(config, tmp_path / "run")
    train(config, tmp_path / "other")
    train(changed(config, trainer={"threads": 3}), tmp_path / "told")
    assert used == [2, 2, 1, 3]
    assert torch.get_num_threads() == 8  # as before


@pytest.mark.parametrize("told", [None, "OMP_WAIT_POLICY"])
def test_threads_spin_briefly_unless_told_otherwise(monkeypatch, told):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    if told:
        monkeypatch.setenv(told, "PASSIVE")
    threads.spin_briefly()
    assert os.environ.get("GOMP_SPINCOUNT") == (None if told else str(threads.SPINS))


ALLOCATING = """
import resource, sys
import torch
from genrev.threads import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.zeros(4 * 2**20)  # 16 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
if not keep_freed_memory():
    print("none")
    sys.exit()
faults()
print(usual, faults())
"""


def test_freed_memory_stays_with_the_process():
    # In a process of its own, for the setting cannot be taken back.
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATING], capture_output=True, text=True, check=True
    )
    if done.stdout.strip() == "none":
        pytest.skip("this C library has no mallopt")
    usual, kept = map(int, done.stdout.split())
    assert kept < usual / 10


def test_the_command_comes_before_pytorch():
    """What lets threads spin briefly counts only if it is set before PyTorch is there."""
    code = "import sys, genrev.cli.main; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
