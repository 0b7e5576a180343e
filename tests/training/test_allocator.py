"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from genrev.training.allocator import keep_freed_memory

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


def test_no_page_faults_after_the_first_time():
    # In a process of its own, for the setting cannot be taken back.
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    if done.stdout.strip() == "none":
        pytest.skip("this C library has no mallopt")
    usual, kept = map(int, done.stdout.split())
    assert kept < usual / 10
