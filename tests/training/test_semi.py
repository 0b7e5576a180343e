"""Few labels: no other is looked at; classification, resuming, two ranks."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from run_files import (
    assert_close_weights,
    assert_same_weights,
    changed,
    config_of,
    cut_short,
    metrics,
    train_on_two_ranks,
    weights,
    write_images,
)

import genrev
from genrev.data import load_images
from genrev.errors import GenrevError
from genrev.evaluation import classification_report, classify
from genrev.models import GenerativeModel
from genrev.priors import ActiveGaussian, ClassConditionalGaussian
from genrev.training import resume, train
from genrev.training.methods.semi import choose_labelled

CONFIG = config_of(
    batch_size=40,
    prior={"active_dims": 8},
    method={"name": "semi", "labels_per_class": 4, "transport_start": 0.4, "heldout_every": 5},
    optimizer={"clip": 5.0},
    engine={"memory": "stored", "drift_every": None},
    trainer={"max_steps": 15, "log_every": 1, "checkpoint_every": 4, "sample_every": 100},
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("semi") / "whole"
    train(CONFIG, run)
    return run


def test_no_label_but_those_chosen_matters(whole, monkeypatch, tmp_path):
    data = load_images("digits")
    chosen = choose_labelled(data, 4, seed=0)
    labels = np.random.default_rng(0).integers(0, 10, len(data))
    labels[chosen.indices] = chosen.labels
    labels.setflags(write=False)

    def choose(*_):
        return chosen  # among other labels, others would be chosen

    def load(config, split="train"):
        images = load_images(config, split)
        return replace(images, labels=labels) if split == "train" else images

    monkeypatch.setattr(sys.modules["genrev.training.run.train"], "load_images", load)
    monkeypatch.setattr("genrev.training.methods.semi.choose_labelled", choose)
    train(CONFIG, tmp_path / "run")
    assert_same_weights(weights(whole), weights(tmp_path / "run"))


def test_labelled_images_are_chosen_by_the_seed_and_balanced():
    data = load_images("digits")
    chosen = choose_labelled(data, 6, seed=1)
    assert torch.equal(chosen.labels, torch.arange(10).repeat_interleave(6))
    assert torch.equal(torch.from_numpy(data.labels[chosen.indices]), chosen.labels)
    assert torch.equal(chosen.images, data.tensor(chosen.indices))
    assert len(set(chosen.indices.tolist())) == 60
    assert torch.equal(chosen.indices, choose_labelled(data, 6, seed=1).indices)
    assert not torch.equal(chosen.indices, choose_labelled(data, 6, seed=2).indices)


def test_the_loss_is_the_weighted_sum_and_the_accuracy_that_of_the_step(whole):
    rows = metrics(whole)
    for number, row in enumerate(rows):
        loss = 10 * float(row["reconstruction"]) + 10 * float(row["clamp"])
        if number >= 6:
            loss += 0.1 * float(row["labelled"]) + float(row["mixture"]) + float(row["posterior"])
        else:
            assert not row["mixture"]
        assert float(row["loss"]) == pytest.approx(loss, rel=1e-5)
    assert [row["step"] for row in rows if row["heldout_accuracy"]] == ["5", "10", "15"]
    report = classification_report(genrev.load(whole), load_images("digits", "test"))
    assert float(rows[-1]["heldout_accuracy"]) == report["classification_accuracy"]


def test_classification_by_hand():
    """Encodings are the pixels of an untouched network; classes differ in one of them."""
    shape = CONFIG.network.options
    net = genrev.RevNet(shape)
    for p in net.parameters():
        p.data.zero_()
    prior = ClassConditionalGaussian(2, 64, torch.tensor([0, 5]))
    prior.mean.data = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    model = GenerativeModel(net, prior)
    z = torch.zeros(3, 64)
    z[:, 0] = torch.tensor([0.2, 0.7, 0.9])
    assert classify(model, model.decode(z)).tolist() == [0, 1, 1]
    with pytest.raises(GenrevError, match="same classes"):
        classification_report(GenerativeModel(net, ActiveGaussian(64)), load_images("digits"))


@pytest.mark.slow
def test_unlabelled_images_help(tmp_path):
    config = changed(
        CONFIG,
        batch_size=100,
        network="digits",
        prior={"active_dims": 16},
        method={"labels_per_class": 2, "heldout_every": 1000},
        trainer={"max_steps": 150, "checkpoint_every": 1000, "log_every": 50},
    )
    test = load_images("digits", "test")
    accuracy = {}
    for name, fields in {
        "all": {},
        "labelled": {"mixture_weight": 0, "reconstruction_weight": 0, "clamp_weight": 0},
    }.items():
        trained = train(changed(config, method=fields), tmp_path / name)
        accuracy[name] = classification_report(trained, test)["classification_accuracy"]
    assert accuracy["all"] > accuracy["labelled"] + 0.05


def test_a_resumed_run_is_the_same_bit_for_bit(whole, tmp_path):
    cut = cut_short(whole, tmp_path / "cut", checkpoint=8)
    resume(CONFIG, cut)
    assert_same_weights(weights(whole), weights(cut))
    assert metrics(whole) == metrics(cut)


@pytest.mark.slow
def test_two_ranks_train_as_one_with_the_same_global_batch(whole, tmp_path):
    run = train_on_two_ranks(CONFIG, tmp_path, timeout=250)
    assert_close_weights(weights(whole), weights(run))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": {"labels_per_class": 400}}, "images of the class 0; take fewer"),
        ({"batch_size": 30}, "multiple of 20 for two halves of 10 classes"),
    ],
)
def test_unusable_configurations_leave_no_folder(tmp_path, change, message):
    with pytest.raises(GenrevError, match=message):
        train(changed(CONFIG, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_without_labels_is_told(tmp_path):
    images = write_images(tmp_path / "images")
    with pytest.raises(GenrevError, match="needs data with labels"):
        train(changed(CONFIG, data=images), tmp_path / "run")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"labels_per_class": 1}, "a whole number of 2 or more"),
        ({"transport_start": 1.0}, "from 0 to below 1"),
        ({"posterior_weight": -1.0}, "a number of 0 or more"),
    ],
)
def test_values_out_of_range_make_no_configuration(method, message):
    with pytest.raises(GenrevError, match=message):
        changed(CONFIG, method=method)
