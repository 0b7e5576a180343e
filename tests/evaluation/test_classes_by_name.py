"""The numbers of classes depend on what other classes there are; only their names count."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from genrev.data import ImageData
from genrev.data.images import fingerprint
from genrev.errors import GenrevError
from genrev.evaluation import (
    classification_report,
    classifier_for,
    evaluate,
    known_classifier,
    latent_report,
    train_classifier,
)
from genrev.training.ex_post import restricted_encodings


def renumbered(data: ImageData, names: tuple[str, ...]) -> ImageData:
    """The same images of the same classes, whose names are in another order."""
    labels = np.array([names.index(data.class_names[label]) for label in data.labels], np.int64)
    return ImageData(data.images, labels, names, data.name, fingerprint(data.images, labels))


@pytest.fixture
def model(conditional):
    conditional.class_names = ("class 0", "class 1")
    return conditional


@pytest.fixture
def data(model, draw):
    return draw(model, 200, seed=0)


@pytest.fixture(
    params=[("class 1", "class 0"), ("class 1", "a", "class 0"), ("0", "class 0", "class 1")]
)
def other(request, data):
    return renumbered(data, request.param)


def test_latent_fit(model, data, other):
    assert latent_report(model, other) == latent_report(model, data)
    assert list(latent_report(model, other)["classes"]) == ["class 0", "class 1"]


def test_classification(model, data, other):
    assert classification_report(model, other) == classification_report(model, data)
    assert classification_report(model, other)["classification_accuracy"] > 0.9


def test_encodings_that_a_prior_is_fitted_to(model, data, other):
    for mine, its in zip(
        restricted_encodings(model, data), restricted_encodings(model, other), strict=True
    ):
        assert torch.equal(mine, its)


def test_samples_are_judged_by_name(model, other):
    judge = train_classifier(other, steps=60)
    result = evaluate(model, other, ["accuracy"], 100, classifier=judge)["accuracy"]
    assert result["accuracy"] > 0.9
    assert list(result["classes"]) == ["class 0", "class 1"]


def test_a_classifier_is_scored_by_name(data, other):
    assert (
        train_classifier(data, other if other.num_classes == 2 else data, steps=60).info.accuracy
        > 0.9
    )
    if other.num_classes == 2:
        odd = replace(other, class_names=("class 1", "zebra"))
        with pytest.raises(GenrevError, match="the class zebra, which is none of class 0, class 1"):
            train_classifier(data, odd, steps=60)


def test_a_kept_classifier_has_the_names_of_the_data(model, data, cache, capsys, monkeypatch):
    monkeypatch.setattr(
        "genrev.evaluation.features.training.train_classifier.__defaults__", (None, 0, 60, "cpu")
    )
    classifier_for(data)
    renamed = replace(data, class_names=("dark", "bright"))  # pixels and numbers are the same
    assert known_classifier(renamed).info.class_names == ("dark", "bright")
    model.class_names = ("bright", "dark")
    result = evaluate(model, renamed, ["accuracy"], 100)["accuracy"]
    assert result["accuracy"] < 0.1  # the model means the other class by each name


def test_unknown_and_missing_classes_get_a_sentence(model, data, draw):
    unknown = replace(data, class_names=("class 0", "zebra"))
    for measure in (latent_report, classification_report, restricted_encodings):
        with pytest.raises(GenrevError, match="the class zebra, which is none of class 0, class 1"):
            measure(model, unknown)
        with pytest.raises(GenrevError, match="toys has no labels"):
            measure(model, replace(data, class_names=("all",), labels=0 * data.labels))
    judge = train_classifier(unknown, steps=10)
    with pytest.raises(
        GenrevError, match=r"accuracy needs .* class 0, class 1 and toys class 0, zebra"
    ):
        evaluate(model, unknown, ["accuracy"], 50, classifier=judge)
    some = data.labels == 1
    half = ImageData(data.images[some], 0 * data.labels[some], ("class 1",), "half", "")
    with pytest.raises(GenrevError, match="fewer than two images of the class class 0"):
        latent_report(model, half)
    assert classification_report(model, half)["classes"].keys() == {"class 1"}
    assert restricted_encodings(model, half)[1].unique().tolist() == [1]


def test_a_model_that_does_not_tell_its_classes_has_those_of_the_data(conditional, draw):
    data = draw(conditional, 100, seed=0)
    renamed = replace(data, class_names=("x", "y"))
    assert list(latent_report(conditional, renamed)["classes"]) == ["x", "y"]
    with pytest.raises(GenrevError, match="2 classes and the data toys has 3"):
        latent_report(conditional, replace(data, class_names=("x", "y", "z")))
