import warnings

import numpy as np
import pytest
import torch

from genrev.errors import GenrevError
from genrev.figures import (
    dimensions_in_use,
    loss_curves,
    moving_average,
    read_metrics,
    widest_dims,
)
from genrev.models.walks import largest_dims


def lines(axis) -> dict[str, np.ndarray]:
    return {line.get_label().split(":")[0]: line.get_ydata() for line in axis.get_lines()}


def legend(axis) -> list[str]:
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_standard_deviations_are_those_of_prior_and_encodings(model):
    labels = torch.arange(90) % 3
    x = torch.rand(90, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    figure = dimensions_in_use(model, x, labels)
    assert [axis.get_title() for axis in figure.axes] == ["class 0", "class 1", "class 2"]
    for label, axis in enumerate(figure.axes):
        prior = np.sort(model.prior.stds[label].numpy())[::-1]
        z = model.encode(x).numpy()[labels.numpy() == label]
        encodings = np.sort(z.std(axis=0, ddof=1))[::-1]
        drawn = lines(axis)
        np.testing.assert_allclose(drawn["prior"][:5], prior)
        assert (drawn["prior"][5:] < 1e-3).all()  # pinned: below the edge of the plot
        np.testing.assert_allclose(drawn["encodings"], encodings, rtol=1e-4)
        assert legend(axis) == [
            f"prior: {(prior > 0.1).sum()}",
            f"encodings: {(encodings > 0.1).sum()}",
        ]


def test_the_threshold_changes_the_count(model):
    x, labels = torch.rand(30, 1, 8, 8), torch.arange(30) % 3
    axis = dimensions_in_use(model, x, labels, threshold=100.0).axes[0]
    assert legend(axis) == ["prior: 0", "encodings: 0"]
    assert "above 100, of 64" in axis.get_legend().get_title().get_text()


def test_every_panel_shows_its_largest_value(model):
    """The panels share an axis, which must fit the last as well as the first."""
    model.prior.stds[2] = 50.0
    figure = dimensions_in_use(model, torch.rand(30, 1, 8, 8), torch.arange(30) % 3)
    for axis in figure.axes:
        low, high = axis.get_ylim()
        assert low == pytest.approx(1e-3)
        assert high > 50


@pytest.mark.parametrize(("classes", "panels"), [(1, 1), (2, 2), (6, 6), (7, 7), (12, 10)])
def test_there_is_a_panel_per_class_up_to_ten(make_model, classes, panels):
    model = make_model(classes=classes)
    labels = None if classes == 1 else torch.arange(60) % classes
    figure = dimensions_in_use(model, torch.rand(60, 1, 8, 8), labels)
    assert len(figure.axes) == panels
    title = figure.get_suptitle()
    assert ("first 10 of 12 classes" in title) == (classes == 12)
    figure.canvas.draw()


def test_a_class_without_images_shows_its_prior(model):
    figure = dimensions_in_use(model, torch.rand(4, 1, 8, 8), torch.tensor([0, 0, 0, 1]))
    assert "encodings: too few" not in legend(figure.axes[0])
    for axis in figure.axes[1:]:
        assert legend(axis)[1] == "encodings: too few"


def test_missing_and_wrong_labels_are_told(model):
    x = torch.rand(4, 1, 8, 8)
    with pytest.raises(GenrevError, match=r"3 classes.*labelled data"):
        dimensions_in_use(model, x)
    with pytest.raises(ValueError, match="4 images"):
        dimensions_in_use(model, x, torch.zeros(3))


def test_the_widest_dimensions_are_those_of_the_encodings_where_the_prior_does_not_tell(make_model):
    model = make_model(classes=1, active=6)
    x = torch.rand(40, 1, 8, 8) * torch.linspace(0.1, 1, 64).view(8, 8)
    assert widest_dims(model, x, 4) == largest_dims(model, 4)  # its scales differ
    model.prior.stds.fill_(1)
    std = model.encode(x).numpy().std(axis=0, ddof=1)
    expected = sorted(model.prior.active_dims.tolist(), key=lambda dim: -std[dim])
    assert expected != largest_dims(model, 6)
    assert widest_dims(model, x, 4) == expected[:4]
    assert widest_dims(model, x, 99) == expected
    with warnings.catch_warnings(action="error"):  # one image has no spread to be measured
        assert widest_dims(model, x[:1]) == largest_dims(model, 6)
    with pytest.raises(ValueError, match="x must be of shape"):
        widest_dims(model, torch.rand(4, 3, 8, 8))


CSV = """epoch,step,train/loss,val/loss,empty
0,0,1.0,,
0,10,0.5,,
0,10,,0.75,
1,20,nan,,
1,30,0.25,0.5,
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        path = tmp_path / "metrics.csv"
        path.write_text(text)
        return path

    return write


def test_blank_cells_are_left_out(write):
    metrics = read_metrics(write(CSV))
    assert list(metrics) == ["train/loss", "val/loss"]
    assert metrics["val/loss"] == {10: 0.75, 30: 0.5}
    assert list(metrics["train/loss"]) == [0, 10, 20, 30]


def test_curves_have_a_panel_per_metric_and_count_what_is_not_finite(write):
    figure = loss_curves(write(CSV))
    train, val = figure.axes
    assert train.get_title() == "train/loss (1 values not finite)"
    assert val.get_title() == "val/loss"
    assert train.get_lines()[0].get_xydata().tolist() == [[0, 1], [10, 0.5], [30, 0.25]]
    assert val.get_lines()[0].get_xydata().tolist() == [[10, 0.75], [30, 0.5]]
    figure.canvas.draw()


def test_a_repeated_step_counts_once_and_steps_are_put_in_order(write):
    path = write("step,loss\n0,1\n10,2\n20,3\n10,5\n20,6\n5,9\n")
    assert list(read_metrics(path)["loss"].items()) == [(0, 1), (5, 9), (10, 5), (20, 6)]


def test_a_line_that_is_still_being_written_is_no_error(write):
    assert read_metrics(write("step,a,b\n0,1,2\n1,3"))["a"] == {0: 1, 1: 3}


@pytest.mark.parametrize("reach", [0, 1, 4, 50])
def test_the_moving_average_is_a_mean_over_neighbours(reach):
    values = np.random.default_rng(0).normal(size=23)
    expected = [values[max(0, i - reach) : i + reach + 1].mean() for i in range(23)]
    np.testing.assert_allclose(moving_average(values, reach), expected)


def test_long_curves_are_smoothed_over_the_raw_line(write):
    rng = np.random.default_rng(0)
    rows = [f"{i},{1 + 0.1 * rng.normal()},{10.0 ** (-i / 100)}" for i in range(400)]
    noisy, falling = loss_curves(write("\n".join(["step,noisy,falling", *rows]))).axes
    raw, smooth = (line.get_ydata() for line in noisy.get_lines())
    assert len(raw) == len(smooth) == 400
    assert smooth.std() < raw.std() / 3
    assert (noisy.get_yscale(), falling.get_yscale()) == ("linear", "log")
    raw, smooth = (line.get_ydata() for line in falling.get_lines())
    # A straight line on the logarithmic axis is smoothed to itself, away from its ends.
    np.testing.assert_allclose(smooth[20:-20], raw[20:-20], rtol=1e-6)


def test_panels_leave_no_empty_axes_and_can_be_drawn(write):
    names = [f"m{i}" for i in range(7)]
    rows = [",".join([str(s), *(str(s * i) for i in range(7))]) for s in range(30)]
    figure = loss_curves(write("\n".join([",".join(["step", *names]), *rows])))
    assert [axis.get_title() for axis in figure.axes] == names
    figure.canvas.draw()


def test_metrics_of_other_times_stand_over_the_same_steps(write):
    """The columns of an adversarial run: one from a step on, two now and then, one diverging."""
    rows = []
    for step in range(0, 1001, 10):
        cells = {
            "loss/reconstruction": str(1 / (1 + step)),
            "loss/discriminator": str(2 - step / 1000) if step >= 500 else "",
            "drift/float32": str(1e-7 * 2 ** (step / 200)) if step % 200 == 0 else "",
            "drift/bfloat16": "inf" if step % 200 == 0 else "",
            "frechet": "80.5" if step == 500 else "",
        }
        rows.append(",".join([str(step), *cells.values()]))
    figure = loss_curves(write("\n".join([",".join(["step", *cells]), *rows])))
    figure.canvas.draw()
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [n if n != "drift/bfloat16" else f"{n} (6 values not finite)" for n in cells]
    assert len({axis.get_xlim() for axis in figure.axes}) == 1
    assert len(figure.axes[1].get_lines()[0].get_xdata()) == 51
    assert figure.axes[2].get_lines()[0].get_xdata().tolist() == [0, 200, 400, 600, 800, 1000]
    assert figure.axes[4].get_lines()[0].get_xydata().tolist() == [[500, 80.5]]
    ticks = [tick for axis in figure.axes for tick in axis.xaxis.get_major_ticks()]
    assert all(tick.label1.get_visible() for tick in ticks)


def test_files_that_are_no_metrics_are_told(write, tmp_path):
    with pytest.raises(GenrevError, match=r"No such file.*metrics\.csv of a run"):
        loss_curves(tmp_path / "none.csv")
    with pytest.raises(GenrevError, match="no column 'step'"):
        loss_curves(write("time,loss\n0,1\n"))
    with pytest.raises(GenrevError, match="no column 'step'"):
        loss_curves(write(""))
    with pytest.raises(GenrevError, match="no metrics yet"):
        loss_curves(write("step,loss\n"))
    with pytest.raises(GenrevError, match=r"Line 3 of .* 'oops' in column 'loss'"):
        loss_curves(write("step,loss\n0,1\n1,oops\n"))
    with pytest.raises(GenrevError, match=r"Line 2 of .* '' in column 'step'"):
        loss_curves(write("step,loss\n,1\n"))
