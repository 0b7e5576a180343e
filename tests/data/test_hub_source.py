"""The hub itself is out of reach of tests: ``load_dataset`` is replaced where hub.py calls it."""

import datasets
import numpy as np
import pytest
from image_files import png

from genrev.data import DataConfig, load_images, summary
from genrev.data.sources.hub import Celeba, Mnist
from genrev.errors import GenrevError


@pytest.fixture
def hub(monkeypatch):
    """Serve the data sets put into the returned dictionary, and note what was asked for."""
    served: dict[str, datasets.DatasetDict] = {}
    asked: list[tuple[str, str | None]] = []

    def load_dataset(repository: str, revision: str | None = None) -> datasets.DatasetDict:
        asked.append((repository, revision))
        if repository not in served:
            raise ConnectionError(f"Couldn't reach '{repository}' on the Hub\n(second line)")
        return served[repository]

    monkeypatch.setattr("genrev.data.sources.hub.load_dataset", load_dataset)
    return served, asked


def table(arrays, labels=None) -> datasets.Dataset:
    features = {"image": datasets.Image()}
    rows = {"image": [{"bytes": png(array), "path": None} for array in arrays]}
    if labels is not None:
        features["label"] = datasets.ClassLabel(names=["zero", "one"])
        rows["label"] = labels
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def test_mnist_is_the_hubs_and_splits_are_kept_apart(hub, pixels):
    served, asked = hub
    served[Mnist.address] = datasets.DatasetDict(
        train=table(pixels[:8], [0, 1] * 4), test=table(pixels[8:], [1] * 4)
    )
    train, test = load_images("mnist"), load_images("mnist", "test")
    assert asked == [("ylecun/mnist", None)] * 2
    assert train.name == "mnist"
    assert train.class_names == test.class_names == ("zero", "one")
    np.testing.assert_array_equal(train.images[:, 0], pixels[:8])
    np.testing.assert_array_equal(test.images[:, 0], pixels[8:])
    assert test.labels.tolist() == [1] * 4


def test_celeba_is_cropped_and_resized_unless_told_otherwise(hub):
    served, _ = hub
    face = np.random.default_rng(0).integers(0, 256, (218, 178, 3)).astype(np.uint8)
    served[Celeba.address] = datasets.DatasetDict(train=table([face]))
    data = load_images("celeba")
    assert data.image_shape == (3, 64, 64)
    assert data.class_names == ("all",)
    plain = datasets.DatasetDict(train=table([face[39:179, 19:159]]))
    served["owner/cropped"] = plain
    same = load_images(DataConfig(source="hub:owner/cropped", image_size=64))
    assert same.fingerprint == data.fingerprint
    other = load_images(DataConfig(source="celeba", crop=100, image_size=32))
    assert other.image_shape == (3, 32, 32)
    whole = load_images(DataConfig(source="celeba", crop="none"))
    served["owner/whole"] = datasets.DatasetDict(train=table([face]))
    same = load_images(DataConfig(source="hub:owner/whole", image_size=64))
    assert whole.fingerprint == same.fingerprint != data.fingerprint


def test_revision_is_passed_on(hub, pixels):
    served, asked = hub
    served["owner/name"] = datasets.DatasetDict(train=table(pixels))
    assert load_images("hub:owner/name@refs/convert/parquet").name == "owner/name"
    assert asked == [("owner/name", "refs/convert/parquet")]


def test_another_state_of_the_data_set_is_decoded_again(hub, pixels):
    served, _ = hub
    served["owner/name"] = datasets.DatasetDict(train=table(pixels))
    before = load_images("hub:owner/name")
    served["owner/name"] = datasets.DatasetDict(train=table(pixels[:5]))
    assert (len(before), len(load_images("hub:owner/name"))) == (12, 5)


def test_secret_labels_are_no_labels(hub, pixels):
    served, _ = hub
    served["owner/name"] = datasets.DatasetDict(test=table(pixels, [-1] * 12))
    assert load_images("hub:owner/name", "test").class_names == ("all",)


def test_hub_out_of_reach_is_one_sentence(hub):
    with pytest.raises(GenrevError) as caught:
        load_images("hub:ylecun/mnsit")
    message = str(caught.value)
    assert "\n" not in message
    assert "no network" in message
    assert 'did you mean "hub:ylecun/mnist"?' in message
    assert "--data takes digits" in message
    with pytest.raises(GenrevError) as caught:
        load_images("mnist")
    assert "did you mean" not in str(caught.value)


def test_missing_split_on_the_hub(hub, pixels):
    served, _ = hub
    served["owner/name"] = datasets.DatasetDict(train=table(pixels), extra=table(pixels))
    with pytest.raises(GenrevError, match='no split "test"; it has train, extra'):
        load_images("hub:owner/name", "test")


def test_splits_of_the_hub_go_by_all_their_names(hub, pixels):
    served, _ = hub
    served["owner/name"] = datasets.DatasetDict(train=table(pixels[:8]), valid=table(pixels[8:]))
    for name in ("valid", "validation", "Dev"):
        assert len(load_images("hub:owner/name", name)) == 4
    assert summary(load_images("hub:owner/name")) == "owner/name: train 8, valid 4, no classes"
    served["owner/both"] = datasets.DatasetDict(val=table(pixels[:8]), valid=table(pixels[8:]))
    assert len(load_images("hub:owner/both", "val")) == 8
    with pytest.raises(GenrevError, match='no split "dev"; it has val, valid'):
        load_images("hub:owner/both", "dev")
