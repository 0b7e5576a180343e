"""FID's features as an extra that may be missing. The network itself is never fetched here."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from genrev.errors import GenrevError
from genrev.evaluation import InceptionFeatures, choose_features, has_inception

MODULE = "torch_fidelity.feature_extractor_inceptionv3"


class Stand(nn.Module):
    """Takes torch-fidelity's arguments, and returns a tuple as it does."""

    def __init__(self, name, features_list):
        super().__init__()
        assert features_list == ["2048"]
        self.weight = nn.Parameter(torch.ones(3, 2048))

    def forward(self, images):
        assert images.dtype == torch.uint8
        return (images.double().mean((2, 3)) @ self.weight.double(),)


def install(monkeypatch, network):
    module = ModuleType(MODULE)
    module.FeatureExtractorInceptionV3 = network
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, MODULE, module)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(GenrevError, match=r'pip install "genrev\[fid\]"'):
        InceptionFeatures()


def test_weights_that_cannot_be_fetched(monkeypatch):
    def offline(name, features_list):
        raise OSError("no route to host")

    install(monkeypatch, offline)
    with pytest.raises(GenrevError, match=r"no route to host.*connect to the network once"):
        InceptionFeatures()


def test_images_to_features(monkeypatch):
    install(monkeypatch, Stand)
    extractor = InceptionFeatures()
    grey = torch.full((2, 1, 5, 5), 10, dtype=torch.uint8)
    features = extractor(grey)
    assert features.dtype == torch.float32
    assert features.shape == (2, extractor.dim)
    assert features[0, 0] == 30  # a grey image counts three times
    assert extractor.name == "fid2048"
    assert extractor.sha256 == InceptionFeatures().sha256
    with pytest.raises(TypeError, match="uint8"):
        extractor(grey.float())


def test_colour_images_without_labels_take_it_where_it_is_installed(monkeypatch, toys):
    colour = toys(np.zeros((4, 3, 8, 8), np.uint8), np.zeros(4), 1)
    grey = toys(np.zeros((4, 1, 8, 8), np.uint8), np.zeros(4), 1)
    labelled = toys(np.zeros((4, 3, 8, 8), np.uint8), np.arange(4) % 2, 2)
    install(monkeypatch, Stand)
    for installed in (True, False):
        monkeypatch.setattr(
            "genrev.evaluation.features.choice.has_inception", lambda here=installed: here
        )
        assert isinstance(choose_features(None, colour), InceptionFeatures) == installed
        assert choose_features(None, grey) is None
        assert choose_features(None, labelled) is None
    assert isinstance(choose_features("fid", grey), InceptionFeatures)
    with pytest.raises(GenrevError, match=r"none\.pt"):
        choose_features("none.pt", colour)


def test_asking_whether_it_is_installed_imports_nothing():
    has_inception()
    assert MODULE not in sys.modules


def test_classifiers_that_come_with_genrev_go_by_the_names_of_their_data(toys):
    digits = toys(np.zeros((4, 1, 8, 8), np.uint8), np.zeros(4), 1)
    assert choose_features("digits", digits).name == "digits-classifier64"
    with pytest.raises(
        GenrevError, match=r"of mnist takes images of 1x28x28 .* are 1x8x8; give fid"
    ):
        choose_features("mnist", digits)
