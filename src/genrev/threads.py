"""How a process uses the machine: CPU threads, how they wait for each other, and memory.

PyTorch takes all cores. Its threads meet at a barrier many times a step and spin there, so one that
shares its core with another program holds up all others: a small network on two cores beside one
busy process trains many times slower than with one thread. So there are as many threads as there
are free cores and as the work is large enough for, and they spin only briefly before they sleep.

glibc gives large blocks back to the system as soon as they are free, and a gradient that is
allocated anew in the next step costs a page fault for each 4 KiB: a tenth of a step on the CPU for
60 million parameters. So a process that trains keeps what it frees.

PyTorch is imported late, since what `spin_briefly` sets counts only if it is set before.
"""

import ctypes
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# Rounds that a waiting thread spins, a sixth of what GNU's OpenMP has: longer than running threads
# wait for each other, so an idle machine loses nothing.
SPINS = 50_000
# Pixels of a batch that make a second thread worth its barriers: half of what `digits` has.
NUMBERS_PER_THREAD = 12_800
_NO_MEMORY = ("out of memory", "can't allocate memory", "_STATUS_ALLOC_FAILED")
_SHORTEST, _LONGEST = 0.2, 30.0  # seconds over which the load of a machine is looked at
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_… of malloc.h


@dataclass(frozen=True)
class Usage:
    """Processor time up to a moment, in seconds."""

    when: float
    idle: float  # of the cores that this process may use
    own: float  # that this process has computed

    @classmethod
    def now(cls) -> "Usage | None":
        """That of this moment; ``None`` where the system does not tell."""
        try:
            idle = _idle_ticks(Path("/proc/stat").read_text(), _cores()) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, AttributeError):
            return None
        return cls(time.monotonic(), idle, time.process_time())

    def free_since(self, earlier: "Usage") -> float:
        """Cores that were free on average since then: idle, or busy with this process."""
        seconds = max(self.when - earlier.when, 1e-9)
        return (self.idle - earlier.idle + self.own - earlier.own) / seconds


def spin_briefly() -> None:
    """Let waiting threads sleep soon, if the environment tells nothing; before PyTorch is there."""
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}:
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)


def free_cores() -> int:
    """Cores that are free to this process, 1 or more, since it was last asked or in a moment."""
    global _earlier
    cores = min(len(_cores()), _quota())
    now = Usage.now()
    if _earlier is None or now is None:
        return cores
    if not _SHORTEST <= now.when - _earlier.when <= _LONGEST:
        _earlier = now
        time.sleep(_SHORTEST)
        now = Usage.now()
        assert now is not None
    free, _earlier = now.free_since(_earlier), now
    # What runs for a moment now and then leaves a core free; half of the time does not.
    return max(1, min(cores, int(free + 0.3)))


def choose_threads(numbers: int | None = None, processes: int = 1) -> int:
    """CPU threads for one of several processes, at most as many as PyTorch takes.

    ``OMP_NUM_THREADS`` decides where it is set; ``numbers`` are the pixels of a process's batch.
    """
    import torch

    global _most
    if os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads()
    _most = _most or torch.get_num_threads()
    useful = _most if numbers is None else numbers // NUMBERS_PER_THREAD
    return max(1, min(_most, free_cores() // processes, useful))


def use_free_cores() -> None:
    """Let PyTorch compute with as many threads as there are free cores."""
    import torch

    torch.set_num_threads(choose_threads())


def free_memory() -> int | None:
    """Bytes that a process can still have without swapping; ``None`` where nothing tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def is_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has ended: Python's own, or one of PyTorch."""
    return isinstance(error, MemoryError) or tells_of_memory(str(error))


def tells_of_memory(text: str) -> bool:
    """Whether PyTorch speaks of memory; the type of its error is lost or there is none."""
    return any(words in text for words in _NO_MEMORY)


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; whether it does now, which takes glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    # glibc takes no more than 32 MiB, so larger blocks still come and go; trimming ends altogether.
    limits = ((_MMAP_THRESHOLD, 32 * 2**20), (_TRIM_THRESHOLD, 2**31 - 1))
    return mallopt is not None and all(mallopt(*limit) for limit in limits)


def _cores() -> set[int]:
    """Cores that the operating system lets this process use."""
    try:
        return os.sched_getaffinity(0)
    except AttributeError:  # not on macOS, not on Windows
        return set(range(os.cpu_count() or 1))


def _quota() -> int:
    """Cores' worth of time that a container may use."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # not in a container, or without a limit
        return os.cpu_count() or 1


def _idle_ticks(text: str, cores: set[int]) -> int:
    """Idle time in /proc/stat, whose lines read ``cpu0 user nice system idle iowait ...``."""
    names = {f"cpu{core}" for core in cores}
    lines = (line.split() for line in text.splitlines())
    return sum(int(words[4]) + int(words[5]) for words in lines if words[0] in names)


_earlier = Usage.now()
_most: int | None = None  # what PyTorch, or its user, had chosen before anything here did
