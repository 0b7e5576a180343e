"""Evaluation as a whole: a model against its own images, provenance, independence, refusals."""

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import genrev
from genrev.errors import GenrevError
from genrev.evaluation import METRICS, evaluate, format_report, samples_as_stored, train_classifier
from genrev.models.devices import all_at_once

# The other two are for some models only.
USUAL = [name for name in METRICS.names() if name not in ("likelihood", "classification")]

PROVENANCE = {
    "samples",
    "reference",
    "reference_split",
    "reference_count",
    "reference_fingerprint",
    "features",
    "features_sha256",
    "resize",
    "seed",
}


class Pixels:
    """Features that are the pixels: everything can be computed by hand."""

    name, sha256, dim, resize = "pixels", "0" * 64, 16, "none"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        assert images.dtype == torch.uint8
        return images.flatten(1).float() / 255


@pytest.fixture
def judge(conditional, draw):
    return train_classifier(draw(conditional, 400, seed=10), draw(conditional, 100, 11), steps=60)


def test_a_model_against_images_it_drew(conditional, draw, judge):
    conditional.train()
    data = draw(conditional, 600, seed=0)
    train = draw(conditional, 300, seed=2)
    result = evaluate(
        conditional, data, USUAL, 500, Pixels(), 1, classifier=judge, split="test", train=train
    )
    assert list(result) == USUAL
    assert conditional.training
    assert result["inversion"]["max_abs"] < 1e-6
    assert result["reconstruction"]["restricted"] == result["reconstruction"]["full"]
    assert result["latent"]["overall"]["sliced_wasserstein_relative"] == pytest.approx(1, abs=0.3)
    # 16 pixels of variance 0.12² + 0.15² and some hundred images: the bias is about this small.
    assert 0 < result["frechet"]["distance"] < 0.01
    assert abs(result["kid"]["estimate"]) < 4 * result["kid"]["standard_error"]
    assert result["prdc"]["density"] == pytest.approx(1, abs=0.2)
    assert min(result["prdc"][name] for name in ("precision", "recall", "coverage")) > 0.5
    assert result["accuracy"]["accuracy"] > 0.95
    assert list(result["accuracy"]["classes"]) == ["class 0", "class 1"]
    memorisation = result["memorisation"]
    assert memorisation["train_fingerprint"] == train.fingerprint
    for space, count in (("pixel_space", 300), ("feature_space", 300)):
        assert memorisation[space]["nearer_share"] < 0.05
        assert abs(memorisation[space]["copying_z"]) < 4
        assert memorisation[space]["train_count"] == count
    # The features are the pixels here.
    assert memorisation["pixel_space"] == pytest.approx(memorisation["feature_space"])


def test_another_model_is_farther(conditional, draw):
    data = draw(conditional, 500, seed=0)
    good = evaluate(conditional, data, ["frechet", "kid"], 500, Pixels())
    conditional.prior.mean.data += 0.2
    bad = evaluate(conditional, data, ["frechet", "kid"], 500, Pixels())
    # All 16 pixels brighter by 0.2, less what is clipped at white.
    assert bad["frechet"]["distance"] == pytest.approx(16 * 0.2**2, rel=0.2)
    assert bad["frechet"]["distance"] > 50 * good["frechet"]["distance"]
    assert bad["kid"]["estimate"] > 10 * bad["kid"]["standard_error"]


def test_every_number_says_what_it_was_measured_on(conditional, draw, judge):
    data = draw(conditional, 60, seed=0)
    train = draw(conditional, 80, seed=2)
    result = evaluate(
        conditional, data, USUAL, 40, Pixels(), 7, classifier=judge, split="test", train=train
    )
    for name, values in result.items():
        assert values.keys() >= PROVENANCE, name
        assert (values["reference"], values["reference_split"]) == ("toys", "test")
        assert values["seed"] == 7
    counts = {name: (v["samples"], v["reference_count"]) for name, v in result.items()}
    assert counts == {
        "inversion": (0, 60),
        "reconstruction": (0, 60),
        "latent": (0, 60),
        "frechet": (40, 60),
        "kid": (40, 60),
        "prdc": (40, 40),  # compares fairly at equal numbers only
        "accuracy": (40, 0),
        "memorisation": (40, 60),
    }
    assert result["memorisation"]["pixel_space"]["train_count"] == 80
    assert result["memorisation"]["feature_space"]["train_count"] == 40
    assert result["frechet"]["features"] == "pixels"
    assert result["accuracy"]["features_sha256"] == judge.sha256
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_batch_size_does_not_matter_and_the_seed_does(
    conditional, draw, judge, tmp_path, monkeypatch
):
    data, train = draw(conditional, 60, seed=0), draw(conditional, 80, seed=2)

    def run(batch_size, seed, cache):
        monkeypatch.setenv("GENREV_CACHE", str(tmp_path / cache))
        return evaluate(
            conditional, data, USUAL, 50, Pixels(), seed, batch_size, judge, train=train
        )

    one, two, other = run(7, 0, "a"), run(60, 0, "b"), run(60, 1, "c")
    for name in ("frechet", "kid", "prdc", "accuracy"):  # flat ones
        numbers = {key: v for key, v in one[name].items() if isinstance(v, float)}
        assert numbers
        assert numbers == pytest.approx({key: two[name][key] for key in numbers})
    for name, part in (("reconstruction", "full"), ("memorisation", "feature_space")):
        assert one[name][part] == pytest.approx(two[name][part])
    assert one["frechet"]["distance"] != pytest.approx(other["frechet"]["distance"])


def test_classifier_features_are_the_default(conditional, draw, judge):
    data = draw(conditional, 40, seed=0)
    result = evaluate(conditional, data, ["frechet"], 40, classifier=judge)
    assert result["frechet"]["features"] == "toys-classifier64"


def test_batches_that_do_not_fit_are_halved_everywhere(conditional, draw, judge, monkeypatch):
    data, train = draw(conditional, 60, seed=1), draw(conditional, 80, seed=2)
    ask = partial(evaluate, data=data, n=50, classifier=judge, train=train, split="test")
    names = [*USUAL, "classification"]
    expected = ask(conditional, metrics=names)

    def small(compute):
        def run(self, x):
            if len(x) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return compute(self, x)

        return run

    def sample(self, n, label=None, generator=None):  # as a GenerativeModel does
        return all_at_once(self.decode, self.prior.sample(n, label, generator)).clamp(0, 1)

    model = type(conditional)
    monkeypatch.setattr(model, "sample", sample)
    for kind, name in ((model, "encode"), (model, "decode"), (type(judge), "features")):
        monkeypatch.setattr(kind, name, small(getattr(kind, name)))
    with pytest.warns(UserWarning, match="does not fit into memory"):
        found = ask(conditional, metrics=names)
    assert found.keys() == expected.keys()
    for name in names:
        assert found[name] == nearly(expected[name]), name


def nearly(value):
    """The value as pytest compares it, whatever it is made of."""
    if isinstance(value, dict):
        return {key: nearly(part) for key, part in value.items()}
    if isinstance(value, list):
        return [nearly(part) for part in value]
    return pytest.approx(value, rel=1e-4, abs=1e-7) if isinstance(value, float) else value


def test_reference_features_are_computed_once(conditional, draw):
    data, extractor = draw(conditional, 40, seed=0), Pixels()
    evaluate(conditional, data, ["frechet", "kid", "prdc"], 40, extractor, batch_size=40)
    assert extractor.calls == 2
    evaluate(conditional, data, ["frechet"], 40, extractor, batch_size=40)
    assert extractor.calls == 3  # the samples only
    evaluate(conditional, draw(conditional, 40, seed=1), ["frechet"], 40, extractor, batch_size=40)
    assert extractor.calls == 5


def test_samples_are_balanced_bytes(conditional):
    samples, labels = samples_as_stored(conditional, 7, seed=0)
    assert samples.dtype == torch.uint8
    assert labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    # Class 0 is dark on the left, class 1 on the right.
    left, right = samples[..., :2].float().mean((1, 2, 3)), samples[..., 2:].float().mean((1, 2, 3))
    assert ((left > right).long() == labels).all()
    again, _ = samples_as_stored(conditional, 7, seed=0)
    assert torch.equal(samples, again)


def test_samples_are_rounded_as_in_a_file():
    values = torch.tensor([-0.5, 0.0, 0.49 / 255, 0.51 / 255, 0.5, 254.6 / 255, 1.0, 7.0])
    model = SimpleNamespace(
        image_shape=(1, 1, 8),
        prior=SimpleNamespace(num_classes=1, active_dims=torch.arange(1)),
        sample=lambda n, label, generator: values.view(1, 1, 1, 8).expand(n, 1, 1, 8),
    )
    samples, labels = samples_as_stored(model, 1, seed=0)
    assert labels is None
    assert samples.flatten().tolist() == [0, 0, 0, 1, 128, 255, 255, 255]


@pytest.mark.parametrize(
    ("metrics", "n", "message"),
    [
        ([], 50, "no metric ''; choose from inversion"),
        (["memorisation", "inversion", "accuracy"], 50, "none are held out"),
        (["fid"], 50, "no metric 'fid'; choose from inversion, reconstruction,"),
        (["frechet"], 9, "9 samples against 50 images of toys are too few"),
        (["frechet"], 50, "no labels, so there is no classifier .* --features FILE"),
        (["accuracy"], 50, "same classes"),
        (["memorisation"], 50, "none are held out"),
    ],
)
def test_refusals(unconditional, draw, metrics, n, message):
    with pytest.raises(GenrevError, match=message):
        evaluate(unconditional, draw(unconditional, 50, seed=0), metrics, n)


def test_a_network_is_no_model(unconditional, draw):
    with pytest.raises(GenrevError, match="A RevNet is no model with a prior; give a Gener"):
        evaluate(genrev.revnet("digits"), draw(unconditional, 50, seed=0), ["inversion"])


@pytest.mark.parametrize(
    ("late", "message"),
    [("likelihood", "gives images no likelihood"), ("classification", "classes")],
)
def test_what_cannot_be_measured_is_said_before_anything_is(
    late, message, unconditional, draw, monkeypatch
):
    measured = []
    monkeypatch.setattr(METRICS["inversion"], "measure", lambda *_: measured.append(1) or {})
    with pytest.raises(GenrevError, match=message):
        evaluate(unconditional, draw(unconditional, 50, seed=0), ["inversion", late], 50)
    assert not measured


def test_refuses_images_of_another_shape(unconditional, toys):
    data = toys(np.zeros((20, 1, 5, 5), np.uint8), np.zeros(20), 1)
    with pytest.raises(GenrevError, match=r"\(1, 4, 4\) and those of toys have \(1, 5, 5\)"):
        evaluate(unconditional, data, ["inversion"], 20)


def test_refuses_numbers_that_are_not_finite(unconditional, draw):
    data = draw(unconditional, 20, seed=0)
    unconditional.matrix.data[0, 0] = float("nan")
    with pytest.raises(GenrevError, match="metric inversion is not finite"):
        evaluate(unconditional, data, ["inversion"], 20)
    with pytest.raises(GenrevError, match="samples with values that are not finite"):
        evaluate(unconditional, data, ["frechet"], 20, Pixels())


def test_training_images_are_not_held_out(unconditional, draw):
    data = draw(unconditional, 50, seed=0)
    with pytest.raises(GenrevError, match="none are held out"):
        evaluate(unconditional, data, ["memorisation"], 50, train=data)


def test_a_part_of_the_training_images_is_not_held_out_either(unconditional, draw):
    data = draw(unconditional, 50, seed=0)
    options = {"n": 20, "train": data, "references": 20, "split": "test"}
    with pytest.raises(GenrevError, match="none are held out"):
        evaluate(unconditional, data, ["memorisation"], **options)
    report = evaluate(unconditional, data, **options)
    assert list(report) == ["inversion", "reconstruction", "latent"]  # what suits, without labels
    assert report["latent"]["reference_count"] == 20
    assert report["latent"]["reference_split"] == "all images"
    with pytest.raises(GenrevError, match="--references must be 1 or more and is 0"):
        evaluate(unconditional, data, n=20, references=0)


def test_without_features_copies_are_sought_in_pixels(unconditional, draw):
    data, train = draw(unconditional, 50, seed=0), draw(unconditional, 60, seed=1)
    result = evaluate(unconditional, data, ["memorisation"], 50, train=train)["memorisation"]
    assert "pixel_space" in result
    assert "feature_space" not in result
    assert result["features"] is None


def test_one_prior_of_data_with_classes(unconditional, conditional, draw, judge):
    data = draw(conditional, 60, seed=0)
    metrics = [name for name in USUAL if name not in ("accuracy", "memorisation")]
    result = evaluate(unconditional, data, metrics, 40, classifier=judge)
    assert result["frechet"]["features"] == "toys-classifier64"
    assert result["latent"]["classes"] == {}


def test_report(conditional, draw, judge):
    data = draw(conditional, 60, seed=0)
    train = draw(conditional, 80, seed=2)
    result = evaluate(
        conditional, data, USUAL, 40, Pixels(), 7, classifier=judge, split="test", train=train
    )
    lines = format_report(result).splitlines()
    numbers = [line for line in lines if not line.startswith("  ")]
    assert len(lines) == len(numbers) + len(USUAL)
    assert sum("memorisation" in line for line in numbers) == 2
    assert sum("reconstruction" in line for line in numbers) == 2
    width = max(len(line.partition("  ")[0]) for line in numbers)
    assert {line[width : width + 2] for line in numbers} == {"  "}  # one column
    assert all(line[width + 2] != " " for line in numbers)
    assert f"{result['frechet']['distance']:.3f}" in "".join(numbers)
    assert "  40 samples against 60 images of toys (test), features pixels (00000000), seed 7" in (
        lines
    )


def test_report_of_a_collapsed_prior(unconditional, draw):
    data = draw(unconditional, 20, seed=0)
    unconditional.prior.std.data.zero_()
    result = evaluate(unconditional, data, ["latent"], 20)
    json.dumps(result, allow_nan=False)
    assert "undefined, prior is a point" in format_report(result)


def test_data_that_have_a_name_bring_their_splits():
    model = genrev.GenerativeModel(genrev.revnet("digits"), genrev.priors.ActiveGaussian(64))
    report = evaluate(model, "digits", ["memorisation"], n=20, features=Pixels())["memorisation"]
    assert (report["reference"], report["reference_split"]) == ("digits", "test")
    report = evaluate(model, "digits", ["inversion"], split="train")["inversion"]
    assert (report["reference_split"], report["reference_count"]) == ("train", 1500)
