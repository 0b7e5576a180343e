"""The benchmarks compare like with like; how fast anything is, is not for a test to say."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from genrev.bench import data, engine, measuring, transport
from genrev.cli import bench as cli_bench
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


def test_training_steps_by_the_authors_formulation_are_those_of_genrev():
    losses = []
    for kind in (transport._Authors, transport.Transport):
        torch.manual_seed(0)
        parts = transport._training(kind, 6)()
        losses.append({name: float(part) for name, part in parts.items()})
    assert losses[0].keys() == {"loss", "transport", "perturbation"}
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_transport_benchmark_prints_ratios(capsys, monkeypatch):
    monkeypatch.setattr(transport, "_SIZES", ((8, 2),))
    result = transport.run(repeats=1, images=5)
    assert json.loads(json.dumps(result))
    text = transport.format_result(result)
    assert "training step of mnist-released, 5 images of one class" in text


def test_every_candidate_is_called_once_a_round_and_once_to_warm_up():
    calls = []
    seconds = measuring.interleaved_seconds(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3
    )
    assert calls == ["a", "b"] * 4
    assert seconds.keys() == {"a", "b"}


def test_a_plot_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path, capsys, monkeypatch
):
    def refused(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(cli_bench, "TemporaryFile", refused)
    monkeypatch.setattr(engine, "run", lambda **settings: pytest.fail("measured"))
    assert main(["bench", "engine", "--out", str(tmp_path / "e.png")]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.endswith(
        "cannot be written (Permission denied); name a file in a folder that you may write to."
    )


def test_what_was_measured_is_printed_where_the_plot_cannot_be_written(
    tmp_path, capsys, monkeypatch
):
    def full(result, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engine, "run", lambda **settings: {"measured": 1})
    monkeypatch.setattr(engine, "format_result", lambda result: "measured")
    monkeypatch.setattr(engine, "plot", full)
    with pytest.warns(UserWarning, match=r"e\.png cannot be written \(No space left on device\)"):
        assert main(["bench", "engine", "--out", str(tmp_path / "e.png")]) == 0
    assert capsys.readouterr().out == "measured\n"


def test_data_benchmark_prints_json(capsys, monkeypatch):
    monkeypatch.setattr(data, "_IMAGES", data.BATCH)
    assert main(["bench", "data", "--repeats", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    rates = result["images_per_second"]
    assert result["speedup"] == pytest.approx(rates["genrev"] / rates["png"])
    for stream in result["streaming"].values():
        rates = stream["images_per_second"]
        assert stream["speedup"]["datasets"] == pytest.approx(rates["genrev"] / rates["datasets"])
    text = data.format_result(result).splitlines()
    assert [line.split(",")[0] for line in text[1:]] == [
        "streaming JPEG from parquet",
        "streaming JPEG from tar",
    ]


def test_everybody_streams_every_image_once_in_another_order_each_epoch(tmp_path):
    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 256, (2 * data.BATCH, 1, 1, 3), dtype=np.uint8)
    flat = [Image.fromarray(np.broadcast_to(block, (8, 8, 3)).copy()) for block in blocks]
    data.write_shards(tmp_path, flat)
    known = None
    for epochs in data.candidates(tmp_path, len(flat)).values():
        for name, epoch in epochs.items():
            orders = []
            for _ in range(2):
                batches = list(epoch())
                assert {(b.dtype, b.shape) for b in batches} == {
                    (torch.uint8, (data.BATCH, 3, 8, 8))
                }, name
                orders.append([tuple(color) for b in batches for color in b[:, :, 0, 0].tolist()])
            assert orders[0] != orders[1], name
            for order in orders:
                known = known or sorted(order)
                assert sorted(order) == known, name
