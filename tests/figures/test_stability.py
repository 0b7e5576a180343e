import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrev.errors import GenrevError
from genrev.figures import frechet_curves, mean_and_range

SEEDS = [
    {100: 90.0, 200: 60.0, 300: 33.0},
    {100: 80.0, 200: 25.0, 300: 30.0},  # worse at the end
    {100: 70.0, 200: 20.0},  # still running
]


@pytest.fixture
def write(tmp_path):
    """Writes a metrics.csv with a loss at every tenth step and blank distances in between."""

    def write(name: str, series: dict[int, float], steps_per_epoch: float | None = None):
        steps = range(10, max(series, default=50) + 10, 10)
        rows = [f"{step},{1 / step},{series.get(step, '')}" for step in steps]
        names = "step,train/loss,frechet"
        if steps_per_epoch is not None:
            names += ",epoch"
            rows = [
                f"{row},{step / steps_per_epoch}" for row, step in zip(rows, steps, strict=True)
            ]
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join([names, *rows]) + "\n")
        return path

    return write


def lines(figure) -> dict[str, list[tuple[float, float]]]:
    return {
        line.get_label(): [(float(x), float(y)) for x, y in line.get_xydata()]
        for line in figure.axes[0].get_lines()
    }


def test_there_is_a_line_per_seed_with_its_last_value(write):
    figure = frechet_curves({f"seed{i}": write(f"s{i}", s) for i, s in enumerate(SEEDS)})
    drawn = lines(figure)
    assert drawn["seed0: 33"] == list(SEEDS[0].items())
    assert drawn["seed1: 30"] == list(SEEDS[1].items())
    assert drawn["seed2: 20"] == list(SEEDS[2].items())


def test_mean_and_band_are_those_of_the_steps_that_all_have(write):
    figure = frechet_curves({f"seed{i}": write(f"s{i}", s) for i, s in enumerate(SEEDS)})
    assert lines(figure)["mean of 3: 35"] == [(100, 80), (200, 35)]
    (band,) = figure.axes[0].collections
    corners = {(float(x), float(y)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(100, 70), (100, 90), (200, 20), (200, 60)}
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["seed0: 33", "seed1: 30", "seed2: 20", "range", "mean of 3: 35"]


def test_one_run_has_a_line_and_no_band(write):
    figure = frechet_curves({"run": write("run", SEEDS[0])})
    assert list(lines(figure)) == ["run: 33"]
    assert not figure.axes[0].collections


def test_runs_that_have_no_step_in_common_have_no_mean(write):
    figure = frechet_curves({"a": write("a", {100: 5.0}), "b": write("b", {200: 4.0})})
    assert list(lines(figure)) == ["a: 5", "b: 4"]
    figure.canvas.draw()


def test_values_that_are_not_finite_are_left_out_and_counted(write):
    broken = {100: 8.0, 200: math.inf, 300: math.nan, 400: 6.0}
    steady = dict.fromkeys((100, 200, 300, 400), 4.0)
    drawn = lines(frechet_curves({"a": write("a", broken), "b": write("b", steady)}))
    assert drawn["a: 6 (2 not finite)"] == [(100, 8), (400, 6)]
    assert drawn["mean of 2: 5"] == [(100, 6), (400, 5)]


def test_runs_without_a_value_are_left_out(write):
    figure = frechet_curves({"a": write("a", SEEDS[0]), "new": write("new", {})})
    assert list(lines(figure)) == ["a: 33"]
    with pytest.raises(GenrevError, match=r"new holds a Fr.*--trainer\.frechet_every"):
        frechet_curves({"new": write("new", {})})
    with pytest.raises(GenrevError, match="no run holds"):
        frechet_curves({})
    with pytest.raises(GenrevError, match=r"none\.csv"):
        frechet_curves({"a": write("a", SEEDS[0]), "b": "none.csv"})


@pytest.mark.parametrize(
    ("features", "samples", "label"),
    [
        (None, None, "Fréchet distance"),
        ("fid768", 2000, "Fréchet distance\nfid768, 2,000 samples"),
        ("fid768", None, "Fréchet distance\nfid768"),
        (None, 2000, "Fréchet distance\n2,000 samples"),
    ],
)
def test_the_axis_tells_features_and_samples(write, features, samples, label):
    axis = frechet_curves({"a": write("a", SEEDS[0])}, features, samples).axes[0]
    assert axis.get_ylabel() == label
    assert axis.get_xlabel() == "step"


def test_the_axis_counts_epochs_with_steps_above(write):
    """Figure 10: wherever a tick says e, the upper axis says e times the steps of an epoch."""
    figure = frechet_curves({"a": write("a", SEEDS[0], 25), "b": write("b", SEEDS[1], 25)})
    figure.canvas.draw()
    axis = figure.axes[0]
    (above,) = axis.child_axes
    assert (axis.get_xlabel(), above.get_xlabel()) == ("epoch", "step")
    assert len(axis.get_xticks()) > 2
    for place, label in zip(axis.get_xticks(), axis.get_xticklabels(), strict=True):
        assert float(label.get_text()) * 25 == pytest.approx(place)
    assert lines(figure)["a: 33"] == list(SEEDS[0].items())


@pytest.mark.parametrize("other", [None, 50])
def test_runs_of_unlike_or_unknown_epochs_are_over_steps(write, other):
    figure = frechet_curves({"a": write("a", SEEDS[0], 25), "b": write("b", SEEDS[1], other)})
    assert figure.axes[0].get_xlabel() == "step"
    assert not figure.axes[0].child_axes


def test_a_wide_range_gets_a_logarithmic_axis_and_a_narrow_one_starts_at_zero(write):
    narrow = frechet_curves({"a": write("a", {10: 90.0, 20: 10.0})}).axes[0]
    wide = frechet_curves({"a": write("a", {10: 90.0, 20: 8.0})}).axes[0]
    assert (narrow.get_yscale(), narrow.get_ylim()[0]) == ("linear", 0)
    assert wide.get_yscale() == "log"


curves = st.lists(
    st.dictionaries(st.integers(0, 9), st.floats(0, 1e3, width=32), min_size=1), min_size=1,
    max_size=5,
)  # fmt: skip


@given(curves)
def test_mean_and_range_by_hand(series):
    steps, mean, low, high = mean_and_range(series)
    expected = [step for step in range(10) if all(step in one for one in series)]
    assert steps.tolist() == expected
    for i, step in enumerate(expected):
        values = sorted(one[step] for one in series)
        assert (low[i], high[i]) == (values[0], values[-1])
        assert mean[i] == pytest.approx(math.fsum(values) / len(values), rel=1e-12, abs=1e-12)


@given(curves)
def test_the_order_of_the_seeds_does_not_matter(series):
    for one, other in zip(mean_and_range(series), mean_and_range(series[::-1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
