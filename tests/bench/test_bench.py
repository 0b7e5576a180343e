"""The benchmarks compare like with like; how fast anything is, is not for a test to say."""

import json

import pytest
import torch

from genrev.bench import timing, transport
from genrev.cli.main import main
from genrev.objectives import optimal_transport_loss


def test_the_authors_formulation_is_the_same_loss_with_the_same_gradient():
    generator = torch.Generator().manual_seed(0)
    z, samples = (torch.randn(30, 5, generator=generator) for _ in range(2))
    results = []
    for loss in (transport._authors_loss, optimal_transport_loss):
        points = z.clone().requires_grad_()
        value = loss(points, samples)
        value.backward()
        results.append((value.item(), points.grad))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-6)


def test_every_candidate_is_called_once_a_round_and_once_to_warm_up():
    calls = []
    seconds = timing.interleaved_seconds(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3
    )
    assert calls == ["a", "b"] * 4
    assert seconds.keys() == {"a", "b"}


def test_data_benchmark_prints_json(capsys):
    assert main(["bench", "data", "--repeats", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    rates = result["images_per_second"]
    assert result["speedup"] == pytest.approx(rates["genrev"] / rates["png"])
