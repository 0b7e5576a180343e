"""A metric and a figure of somebody else's, each in a file of its own."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from spoken import spoken

from genrev.cli.main import main
from genrev.data import load_images
from genrev.errors import GenrevError
from genrev.evaluation import METRICS, compare_models, comparison_csv, comparison_markdown, evaluate
from genrev.figures import FIGURES, FigureRun, draw_figures
from genrev.models import GenerativeModel, load, save
from genrev.networks import RevNet, RevNetConfig
from genrev.priors import ActiveGaussian
from genrev.registry import load_plugin

METRIC = '''
"""How bright samples are."""
from genrev.evaluation import METRICS, Column, Metric


@METRICS.register("brightness")
class Brightness(Metric):
    sampled = True
    columns = (Column("brightness", "brightness"),)
    note = "brightness is the mean pixel"

    def refusal(self, run):
        if run.model.image_shape[0] == 3:
            return "The metric brightness needs grey images; leave it out."

    def measure(self, run):
        samples, _ = run.drawn
        return {"brightness": float(samples.double().mean()) / 255}

    def lines(self, values):
        yield "brightness of samples", f"{values['brightness']:.3f}"
'''

FIGURE = '''
"""The mean of the prior, decoded."""
from genrev.figures import FIGURES, image_grid


@FIGURES.register("mean")
def draw_mean(run):
    if run.model.image_shape[0] == 3:
        return {}
    z = run.model.prior.center()[None]
    return {"mean.png": image_grid(run.model.decode(z).detach())}
'''


@pytest.fixture
def plugin(tmp_path):
    """Loads a file, and forgets afterwards what it registered."""

    def add(text: str) -> None:
        file = tmp_path / "plugin.py"
        file.write_text(text)
        load_plugin(file)

    yield add
    for registry in (METRICS, FIGURES):
        registry._others.clear()


def tiny_net(channels, hidden):
    shape = {"hidden_channels": (hidden,), "blocks": (1,), "kernel_sizes": (3,)}
    return RevNet(RevNetConfig(image_size=8, channels=channels, **shape))


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = tiny_net(channels=1, hidden=3)
    save(GenerativeModel(net, ActiveGaussian(64), ("all",)), "model")
    return load("model")


def test_a_metric_is_measured_printed_and_compared(plugin, model, capsys):
    plugin(METRIC)
    data = load_images("digits", "test")
    values = evaluate(model, data, ["brightness"], n=50, split="test")["brightness"]
    assert 0 < values["brightness"] < 1
    assert (values["samples"], values["reference_count"], values["features"]) == (50, 297, None)
    assert "brightness" in evaluate(model, data, n=50)  # where no metrics are named
    command = ["evaluate", "model", "--data", "digits", "-n", "50", "--metrics", "brightness"]
    assert main(command) == 0
    label, told = spoken(capsys)[0].splitlines()
    assert label == f"brightness of samples  {values['brightness']:.3f}"
    assert told == "  50 samples against 297 images of digits (test), seed 0"
    assert main([*command, "--json"]) == 0
    assert json.loads(spoken(capsys)[0]) == {"brightness": values}
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert "classification, brightness" in " ".join(capsys.readouterr().out.split())
    comparison = compare_models({"one": model}, data, 50, seeds=(0,))
    assert comparison["models"][0]["brightness"]["mean"] == values["brightness"]
    assert "| brightness |" in comparison_markdown(comparison)
    assert "; brightness is the mean pixel; L1 is" in comparison_markdown(comparison)
    assert "brightness,brightness_ci95" in comparison_csv(comparison)


def test_two_metrics_cannot_have_one_column(plugin, model):
    plugin(METRIC.replace('Column("brightness"', 'Column("distance"'))
    with pytest.raises(GenrevError, match="Two metrics have a column 'distance'"):
        compare_models({"one": model}, load_images("digits", "test"), 50, seeds=(0,))


def test_a_metric_refuses_in_a_sentence_or_is_left_out(plugin, tmp_path, capsys):
    plugin(METRIC)
    net = tiny_net(channels=3, hidden=12)
    model = GenerativeModel(net, ActiveGaussian(net.config.latent_dim), ("all",))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    data = load_images(str(tmp_path), "test")
    assert list(evaluate(model, data, n=20)) == ["inversion", "reconstruction", "latent"]
    with pytest.raises(GenrevError, match="needs grey images; leave it out"):
        evaluate(model, data, ["brightness"], n=20)


def test_a_metric_that_nobody_loaded_is_told(model, capsys):
    command = ["evaluate", "model", "--data", "digits", "--metrics", "brightness"]
    assert main(command) == 2
    assert "no metric 'brightness'; choose from inversion," in capsys.readouterr().err


def test_figures_are_drawn_from_python_as_by_the_command(model, tmp_path, capsys):
    data = {split: load_images("digits", split) for split in ("train", "test")}
    assert main(["figures", "model", "--data", "digits"]) == 0
    by_command = [Path(line.removeprefix("wrote ")) for line in spoken(capsys)[0].splitlines()]
    drawn = list(draw_figures(FigureRun(model, data["test"], data["train"]), tmp_path / "mine"))
    assert [path.name for path in drawn] == [path.name for path in by_command]
    assert len(drawn) == 8
    for one, other in zip(drawn, by_command, strict=True):
        with Image.open(one) as mine, Image.open(other) as theirs:
            assert mine.tobytes() == theirs.tobytes()
    untrained = draw_figures(FigureRun(model, data["test"]), tmp_path / "mine")
    assert "neighbours.png" not in [path.name for path in untrained]


def test_a_figure_is_drawn_among_the_others(plugin, model, capsys):
    plugin(FIGURE)
    assert main(["figures", "model", "--data", "digits"]) == 0
    drawn = spoken(capsys)[0].split("wrote ")
    assert drawn[-1].strip() == "model/figures/mean.png"
    with Image.open("model/figures/mean.png") as picture:
        assert picture.size[0] > 8
