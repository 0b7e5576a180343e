"""Several machines: who is first, and the same training whoever starts the processes."""

import os
import socket
import subprocess
import sys

import pytest
from run_files import (
    assert_same_weights,
    changed,
    config_of,
    metrics,
    train_on_two_ranks,
    weights,
)

from genrev.errors import GenrevError
from genrev.training import is_first_process, train

NAMES = ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),  # Lightning's second process
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),  # torchrun's first on the second machine
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),  # Lightning's, in an interactive job
        ({"NODE_RANK": "1"}, False),  # Lightning's first on the second machine
        ({"NODE_RANK": "0", "LOCAL_RANK": "0"}, True),
    ],
)
def test_only_one_process_is_the_first(monkeypatch, variables, first):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is first


CONFIG = config_of(
    batch_size=40,
    prior={"kind": "gaussian", "active_dims": 8, "bound": 2.0},
    method={
        "name": "matching",
        "discriminator_hidden": [10, 20],
        "prior_samples": 50,
        "reconstruction_steps": 3,
    },
    trainer={"max_steps": 9},
)


def test_a_batch_is_shared_by_the_processes_of_all_machines(tmp_path):
    uneven = changed(CONFIG, batch_size=30, trainer={"devices": 3, "nodes": 3})
    with pytest.raises(GenrevError, match=r"9 process\(es\)"):
        train(uneven, tmp_path / "run")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def torchrun(node, port):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node_rank"]
    address = ["--master_addr", "127.0.0.1", "--master_port", str(port), "--nproc_per_node", "1"]
    return [*launcher, str(node), *address], {}


def slurm(node, port):
    variables = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NODEID": str(node),
        "SLURM_PROCID": str(node),
        "SLURM_LOCALID": "0",
        "MASTER_PORT": str(port),
    }
    return [sys.executable], variables


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [torchrun, slurm])
def test_two_machines_train_what_two_processes_of_one_do(tmp_path, launcher):
    reference = train_on_two_ranks(CONFIG, tmp_path, timeout=300)
    file, run, port = tmp_path / "two/config.yaml", tmp_path / "nodes", free_port()
    machines = []
    for node in range(2):
        command, variables = launcher(node, port)
        command += ["-m", "genrev", "train", str(file), "--trainer.devices", "1"]
        command += ["--trainer.nodes", "2", "--out", str(run)]
        environment = {**os.environ, **variables}
        machines.append(subprocess.Popen(command, env=environment, stdout=-1, stderr=-2, text=True))
    outputs = [machine.communicate(timeout=300)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], "\n".join(outputs)
    assert_same_weights(weights(reference), weights(run))
    assert len(metrics(run)) == len(metrics(reference))
    assert outputs[1].count("wrote") == 0, outputs[1]  # only the first process reports
