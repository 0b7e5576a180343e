"""All candidates of the engine benchmark compute the same step; how fast is not for a test."""

import json

import pytest
import torch

from genrev.bench import engine, engine_peers
from genrev.bench.measuring import machine, peak_bytes
from genrev.cli.main import main
from genrev.networks import RevNetConfig

# 256 dimensions, of which 64 are active: with all of them active the images would come back, and
# the gradient of their absolute error would be rounding.
SMALL = RevNetConfig(
    image_size=16, channels=1, hidden_channels=(4, 4), blocks=(1, 1), kernel_sizes=(3, 3)
)


@pytest.fixture(scope="module")
def comparison():
    return engine.compare(SMALL, batch=4, repeats=1, device="cpu")


def test_every_candidate_has_the_gradient_of_float64(comparison):
    for name, row in comparison["candidates"].items():
        if name == "memcnn":  # known to fail or give NaN: the benchmark says which
            continue
        assert "failed" not in row, name
        assert row["gradient_error"] < (0.1 if "bf16" in name else 1e-3), name
    assert {"plain autograd", "torch checkpoint", "genrev reversible"} <= set(
        comparison["candidates"]
    )


def test_when_time_is_short_other_libraries_are_left_out():
    late = iter([False] * 7)  # asked before each candidate but the first
    result = engine.compare(SMALL, 4, 1, "cpu", precisely=False, is_late=lambda: next(late, True))
    rows = result["candidates"]
    measured = [name for name, row in rows.items() if row.get("failed") != "no time was left"]
    own = ["plain autograd", "genrev stored", "genrev reversible", "genrev exact"]
    assert measured == own + [f"{name}, bf16" for name in own]
    assert list(rows)[1] == "torch checkpoint"  # as in the tables


def test_result_is_json_text_and_plot(comparison, tmp_path):
    result = {
        "benchmark": "engine",
        "machine": machine(),
        "missing": ["memcnn"],
        "celeba64": [comparison],
        "depth": [{"blocks": 1, **comparison}],
    }
    assert json.loads(json.dumps(result, allow_nan=False))
    text = engine.format_result(result)
    assert "skipped, not installed: memcnn" in text
    assert "genrev exact, bf16" in text
    engine.plot(result, tmp_path / "depth.png")
    assert [path.name for path in tmp_path.iterdir()] == ["depth.png"]


def test_peak_is_what_is_held_at_once():
    def step():
        first = torch.ones(1 << 20)  # 4 MiB
        second = first + 1
        del first
        third = second + 1
        del second, third

    assert peak_bytes(step, torch.device("cpu")) == pytest.approx(8 * 2**20, rel=0.01)


@pytest.mark.parametrize("name", list(engine_peers.PEERS))
def test_a_missing_library_is_left_out(monkeypatch, name):
    monkeypatch.setattr(engine_peers, "find_spec", lambda module: None)
    assert set(engine_peers.missing_peers()) == set(engine_peers.PEERS)
    from genrev.networks import RevNet

    net = engine_peers.with_plain_convolutions(RevNet(SMALL))
    assert name not in engine_peers.peers(net)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_sentence(capsys):
    assert main(["bench", "engine", "--device", "cuda"]) == 2
    assert capsys.readouterr().err.startswith("genrev: There is no device 'cuda' here")


@pytest.mark.gpu
def test_every_candidate_runs_on_cuda():
    rows = engine.compare(SMALL, batch=4, repeats=1, device="cuda")["candidates"]
    assert rows["genrev reversible"]["activations_mib"] < rows["plain autograd"]["activations_mib"]
