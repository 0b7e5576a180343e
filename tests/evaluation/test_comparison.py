"""Table 1: intervals against scipy, equal treatment of all models, the table's text."""

import csv
import io
import json

import numpy as np
import pytest
import scipy.stats

from genrev.errors import GenrevError
from genrev.evaluation import (
    compare_models,
    comparison_csv,
    comparison_markdown,
    evaluate,
    mean_and_interval,
)


class Pixels:
    name, sha256, dim, resize = "pixels", "0" * 64, 16, "none"

    def __call__(self, images):
        return images.flatten(1).float() / 255


@pytest.fixture
def comparison(unconditional, conditional, draw):
    models = {"one": unconditional, "a|b": conditional}
    data = draw(unconditional, 60, seed=9)
    return compare_models(models, data, 40, Pixels(), (3, 4), split="test")


def test_interval_is_scipys():
    values = np.random.default_rng(0).normal(size=7)
    result = mean_and_interval(values.tolist())
    low, high = scipy.stats.t.interval(0.95, 6, values.mean(), scipy.stats.sem(values))
    assert result["mean"] - result["half_width"] == pytest.approx(low)
    assert result["mean"] + result["half_width"] == pytest.approx(high)


def test_intervals_cover_the_mean_as_often_as_they_say():
    draws = np.random.default_rng(1).normal(5, 2, size=(1000, 3))
    found = [mean_and_interval(row.tolist()) for row in draws]
    covered = np.mean([abs(entry["mean"] - 5) < entry["half_width"] for entry in found])
    assert covered == pytest.approx(0.95, abs=0.03)


def test_one_value_has_no_interval():
    assert mean_and_interval([2.5]) == {"mean": 2.5, "half_width": None, "values": [2.5]}


def test_every_number_is_the_evaluators(comparison, conditional, draw, unconditional):
    data = draw(unconditional, 60, seed=9)
    row = comparison["models"][1]
    for index, seed in enumerate((3, 4)):
        alone = evaluate(conditional, data, ["frechet", "kid", "prdc"], 40, Pixels(), seed)
        assert row["distance"]["values"][index] == alone["frechet"]["distance"]
        assert row["estimate"]["values"][index] == alone["kid"]["estimate"]
        assert row["recall"]["values"][index] == alone["prdc"]["recall"]
    errors = evaluate(conditional, data, ["reconstruction"], 40)["reconstruction"]
    assert row["reconstruction"] == {name: errors[name] for name in ("restricted", "full")}
    assert row["parameters"] == 16 * 16 + 2 * 2 * 16


def test_what_was_measured_is_told(comparison, draw, unconditional):
    assert json.loads(json.dumps(comparison, allow_nan=False)) == comparison
    assert comparison["seeds"] == [3, 4]
    assert comparison["samples"] == 40
    assert comparison["features"] == "pixels"
    assert comparison["reference_count"] == 60
    assert "distance" not in comparison


def test_markdown(comparison):
    comparison["models"][0] |= {"seconds": 1500.0, "steps": 6000, "published_fid": 65.0}
    table, _, notes = comparison_markdown(comparison, ["A note."]).partition("\n\n")
    lines = [line.replace("\\|", "/").split("|") for line in table.splitlines()]
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    header, _, first, second = ([cell.strip() for cell in line[1:-1]] for line in lines)
    assert header[0] == "model"
    assert (first[0], second[0]) == ("one", "a/b")
    assert first[-3:] == ["25 min", "6,000", "65"]
    assert second[-3:] == ["?", "?", ""]
    mean, _, half = first[1].partition(" ± ")
    distance = comparison["models"][0]["distance"]
    assert float(mean) == pytest.approx(distance["mean"], abs=0.005)
    assert float(half) == pytest.approx(distance["half_width"], abs=0.005)
    assert "over 2 sampling seeds" in notes
    assert "not other trainings" in notes
    assert notes.endswith("- A note.\n")


def test_csv(comparison):
    rows = list(csv.DictReader(io.StringIO(comparison_csv(comparison))))
    assert [row["name"] for row in rows] == ["one", "a|b"]
    for row, expected in zip(rows, comparison["models"], strict=True):
        assert float(row["frechet"]) == expected["distance"]["mean"]
        assert float(row["frechet_ci95"]) == expected["distance"]["half_width"]
        assert float(row["restricted_l1"]) == expected["reconstruction"]["restricted"]["l1"]
        assert row["features"] == "pixels"


def test_refuses_models_of_different_shapes(unconditional, conditional, draw):
    data = draw(unconditional, 20, seed=0)
    conditional.image_shape = (1, 5, 5)
    with pytest.raises(GenrevError, match="different image shapes"):
        compare_models({"a": unconditional, "b": conditional}, data, 20, Pixels())
