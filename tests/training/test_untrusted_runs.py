"""Going on with a stranger's run executes nothing that lies in its folder."""

from dataclasses import asdict

import pytest
import torch
import yaml

from genrev.cli.main import main
from genrev.data import DataConfig
from genrev.models import RevNetConfig
from genrev.training import RunConfig, TrainerConfig, TransportConfig

NETWORK = RevNetConfig(8, 1, hidden_channels=(4,), blocks=(1,), kernel_sizes=(1,))
CONFIG = RunConfig(
    batch_size=20,
    data=DataConfig("digits"),
    model=TransportConfig(network=NETWORK, active_dims=4),
    trainer=TrainerConfig(max_steps=4, accelerator="cpu", threads=1, progress=False),
)
EXECUTED = []


class Malicious:
    def __reduce__(self):
        return EXECUTED.append, ("code of a stranger",)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(CONFIG)))
    return folder


def refused(run, capsys, message):
    assert main(["resume", str(run)]) == 2
    error = capsys.readouterr().err
    told = [line for line in error.splitlines() if line.startswith("genrev: ")]
    assert message in told[-1]
    assert "Traceback" not in error
    assert EXECUTED == []


def test_a_malicious_checkpoint_is_not_unpickled(run, capsys):
    torch.save({"state_dict": Malicious(), "epoch": 0}, run / "checkpoints/step3.ckpt")
    refused(run, capsys, "holds more than numbers")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe: !!python/object/apply:os.system ['touch executed']\n", "not valid YAML"),
        ("!!python/object/new:genrev.training.RunConfig {}\n", "not valid YAML"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("model: {network: os.system}\n", "os.system"),
    ],
    ids=["call", "object", "deep", "class path"],
)
def test_a_malicious_configuration_is_plain_yaml(run, capsys, tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (run / "config.yaml").write_text(text)
    refused(run, capsys, message)
    assert not (tmp_path / "executed").exists()
