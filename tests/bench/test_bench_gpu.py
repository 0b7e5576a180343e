"""The benchmark of a card: within its minutes, whole on the CPU, and stopped by nothing."""

import json
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from genrev.bench import gpu, gpu_checks, gpu_report, measuring, parts, train
from genrev.cli.main import main
from genrev.networks import RevNet


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu") / "made" / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GENREV_DATA", raising=False)
        patch.setenv("GENREV_CACHE", str(out.parent / "cache"))
        gpu.run(5, out, device="cpu")
    return out, json.loads((out / gpu.RESULTS).read_text())


def test_everything_is_measured_and_written(measured):
    out, result = measured
    assert sorted(path.name for path in out.iterdir()) == [gpu.PLOT, gpu.RESULTS, gpu.REPORT]
    assert {name: part["status"] for name, part in result["parts"].items()} == dict.fromkeys(
        ["ceilings", "checks", "engine", "training", "memory", "evaluation"], "done"
    )
    found = result["parts"]
    assert "need a CUDA device" in found["checks"]["skipped"][0]
    assert [row["batch"] for row in found["engine"]["rows"]] == [4, 8]
    trained = [(row["batch"], row["precision"], row["phase"]) for row in found["training"]["rows"]]
    assert trained[:3] == [
        (4, "bf16", "reconstruction"), (8, "bf16", "reconstruction"), (4, "bf16", "adversarial")
    ]  # fmt: skip
    assert {row[1] for row in trained} == {"bf16", "float32"}
    assert found["training"]["rows"][2]["candidates"]["genrev exact"]["seconds"] > 0
    assert len(found["memory"]["rows"]) == 2 * len(gpu.ON_CPU.depths)
    assert found["evaluation"]["frechet"]["samples"] == 40
    text = (out / gpu.REPORT).read_text()
    for heading in ("Ceilings", "Checks", "Engine", "Training", "Memory", "Evaluation"):
        assert f"## {heading}" in text
    assert "left out: features of Inception" in text
    assert text.rstrip("\n") == gpu.format_result(result)


def test_shares_are_of_the_ceilings_of_the_same_run(measured):
    _, result = measured
    tflops = result["parts"]["ceilings"]["tflops"]
    row = result["parts"]["engine"]["rows"][1]
    for name, precision in (("plain autograd", "float32"), ("genrev reversible, bf16", "bf16")):
        candidate = row["candidates"][name]
        rate = row["step_tflop"] / candidate["seconds"]
        assert candidate["share_of_products"] == pytest.approx(rate / tflops[precision])
        rate = candidate["step_gb"] / candidate["seconds"]
        copies = result["parts"]["ceilings"]["copy_gb_s"]
        assert candidate["share_of_copies"] == pytest.approx(rate / copies)


def test_training_does_as_much_as_a_step_of_the_engine(measured):
    _, result = measured
    parts = result["parts"]
    step = parts["engine"]["rows"][0]["step_tflop"]
    row = parts["training"]["rows"][0]["candidates"]["authors"]
    share = step / row["seconds"] / parts["ceilings"]["tflops"]["bf16"]
    assert row["share_of_products"] == pytest.approx(share)


def test_memory_is_constant_in_depth_and_gradients_are_those_of_stored(measured):
    _, result = measured
    rows = result["parts"]["memory"]["rows"]
    for coupling in ("additive", "affine"):
        # One coupling alone has its peak before all of its gradients are there.
        _, first, *_, last = (row for row in rows if row["coupling"] == coupling)
        assert last["stored"] > 1.4 * first["stored"]
        assert last["reversible"] < 1.1 * first["reversible"]
        assert last["gradient_to_stored"] < 1e-4


def test_a_step_is_counted_as_by_hand():
    conv = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    x = torch.rand(2, 3, 8, 8)
    # Input, weight and output, once each: a convolution is one operation.
    floats = x.numel() + conv.weight.numel() + 2 * 5 * 8 * 8
    with torch.no_grad():
        assert measuring.traffic_bytes(lambda: conv(x).view(-1)) == 4 * floats


def test_a_part_that_fails_is_written_down_and_stops_no_other():
    written = []

    def first(found, clock):
        found["so_far"] = 1
        raise RuntimeError("the card is too small\nfor this")

    def second(found, clock):
        found["after"] = [2, {"diverged": float("nan")}]

    result = {}
    chosen = {"first": parts.Part(1, first), "second": parts.Part(1, second)}
    parts.measure_parts(chosen, 1, result, lambda r: written.append(json.dumps(r, allow_nan=False)))
    bad, good = result["parts"].values()
    assert (bad["status"], bad["so_far"]) == ("failed", 1)
    assert bad["error"] == "RuntimeError: the card is too small"
    assert "in first" in bad["traceback"]
    assert (good["status"], good["after"]) == ("done", [2, {"diverged": None}])
    assert [list(json.loads(text)["parts"]) for text in written] == [["first"], ["first", "second"]]


def test_parts_share_the_time_and_the_last_ones_are_left_out(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    had = {}

    def working(name, seconds):
        def measure(found, clock):
            had[name] = clock.left
            now[0] += seconds

        return measure

    chosen = {
        "short": parts.Part(1, working("short", 0)),
        "long": parts.Part(2, working("long", 60)),
        "late": parts.Part(3, working("late", 0)),
    }
    result = {}
    parts.measure_parts(chosen, 1, result, lambda r: None)
    # What the first did not use, the second has: two fifths of all.
    assert had == {"short": pytest.approx(10), "long": pytest.approx(24)}
    assert result["parts"]["late"]["status"] == "skipped"
    assert result["parts"]["late"]["skipped"] == ["late: no time was left"]


def test_without_time_there_still_is_a_report(tmp_path):
    result = gpu.run(1e-9, tmp_path, device="cpu")
    assert {part["status"] for part in result["parts"].values()} == {"skipped"}
    assert "left out: engine: no time was left" in (tmp_path / gpu.REPORT).read_text()
    assert (tmp_path / gpu.PLOT).stat().st_size > 0


TESTS = """
import pytest

@pytest.mark.gpu
def test_good():
    pass

@pytest.mark.gpu
def test_bad():
    assert 1 + 1 == 3

@pytest.mark.gpu
@pytest.mark.skipif(True, reason="not here")
def test_elsewhere():
    pass

def test_of_no_card():
    raise SystemExit
"""


def test_the_tests_of_a_source_tree_are_run_and_their_failures_told(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_card.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: needs a card\n")
    found = {}
    gpu_checks.run_tests(found, 100, tmp_path)
    tests = found["tests"]
    assert {name: tests[name] for name in ("passed", "failed", "skipped")} == {
        "passed": 1, "failed": 1, "skipped": 1
    }  # fmt: skip
    assert tests["failures"] == {"tests.test_card.test_bad": "assert (1 + 1) == 3"}
    told = "\n".join(gpu_report._checks({"tests": tests}))
    assert "1 passed, 1 failed, 1 skipped" in told


def test_without_tests_or_without_pytest_they_are_left_out(tmp_path, monkeypatch):
    found = {}
    gpu_checks.run_tests(found, 100, tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_card.py").write_text(TESTS)
    monkeypatch.setattr(gpu_checks, "find_spec", lambda name: None)
    gpu_checks.run_tests(found, 100, tmp_path)
    assert found["skipped"] == [
        f"the tests marked gpu: there are none in {tmp_path / 'tests'}",
        "the tests marked gpu: pytest and hypothesis not installed",
    ]


@pytest.mark.filterwarnings("ignore:Steps run without CUDA graphs")
def test_a_step_that_is_no_graph_does_not_pass_for_one():
    assert not any(name.endswith(", graph") for name in gpu._trainings("bf16", captured=False))
    assert sum(name.endswith(", graph") for name in gpu._trainings("bf16", captured=True)) == 3
    net, x = RevNet(gpu.ON_CPU.network), torch.rand(4, 3, 16, 16)
    captured = {"one": train.Candidate(graph=True)}  # nothing can be recorded on a CPU
    row = train.measure(net, captured, "reconstruction", x, 1)["one"]
    assert row["failed"].startswith("Its steps are no CUDA graphs (")


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "ON_GPU", gpu.ON_CPU)
    status = main(["bench", "gpu", "--minutes", "1e-9", "--out", str(tmp_path / "out"), "--json"])
    assert status == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / gpu.RESULTS).read_text())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["gpu", "--out", "x"], "`genrev bench gpu` needs --minutes; see --help."),
        (["gpu", "--minutes", "1"], "`genrev bench gpu` needs --out; see --help."),
        (["gpu", "--minutes", "-1", "--out", "x"], "--minutes must be above 0 and is -1."),
        (
            ["gpu", "--repeats", "1"],
            "--repeats belongs to engine, train, transport, data and not to gpu",
        ),
        (
            ["data", "--out", "x"],
            "--out belongs to engine, gpu, table1 and not to data; leave it out.",
        ),
        (
            ["table1", "--minutes", "1", "--data", "x", "--out", "x", "-n", "9"],
            "-n must be 10 or more and is 9.",
        ),
        (["table1", "--minutes", "1", "--out", "x"], "`genrev bench table1` needs --data"),
    ],
)
def test_wrong_lines_are_one_sentence(line, told, capsys):
    assert main(["bench", *line]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"genrev: {told}")
    assert err.count("\n") == 1


@pytest.mark.gpu
def test_a_card_is_measured(tmp_path, monkeypatch):
    small = replace(gpu.ON_CPU, precisions=gpu.ON_GPU.precisions)
    monkeypatch.setattr(gpu, "ON_GPU", small)
    monkeypatch.setattr(gpu, "run_tests", lambda found, seconds: None)  # this one is among them
    result = gpu.run(5, tmp_path, device="cuda")
    assert {part["status"] for part in result["parts"].values()} == {"done"}
    assert "tf32" in result["parts"]["ceilings"]["tflops"]
