"""``genrev export`` as a user types it."""

import json

import pytest
import torch

from genrev.cli.main import main
from genrev.models import GenerativeModel, save
from genrev.networks import RevNet, RevNetConfig
from genrev.priors import ActiveGaussian


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = RevNet(
        RevNetConfig(image_size=2, channels=1, hidden_channels=(3,), blocks=(1,), kernel_sizes=(1,))
    )
    save(GenerativeModel(net, ActiveGaussian(4, torch.tensor([1, 2]))), tmp_path / "m")
    return tmp_path / "m"


def test_both_directions_by_default_one_on_request(folder, tmp_path, capsys):
    assert main(["export", "m", "--to", "out/m.pt2"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("wrote out/m.encode.pt2 (images -> latents); largest difference")
    assert second.startswith("wrote out/m.decode.pt2 (latents -> images)")
    assert main(["export", "m", "--to", "s.pt2", "--direction", "sample", "--json"]) == 0
    (written,) = json.loads(capsys.readouterr().out)
    assert written["inputs"] == ["noise"]
    assert written["path"] == "s.pt2"
    assert main(["export", "m", "--to", "w.safetensors"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"m", "out", "s.pt2", "w.safetensors"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "m.onx"], "must end in one of"),
        (["--to", "w.safetensors", "--direction", "encode"], "no direction"),
        (["--to", "m.pt2", "--direction", "up"], "invalid choice"),
        ([], "required: --to"),
    ],
)
def test_mistakes_are_told(folder, capsys, arguments, message):
    assert main(["export", "m", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
