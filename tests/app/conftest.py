import importlib.util
import shutil

import pytest
import torch

from genrev.app import Exhibit
from genrev.models import GenerativeModel
from genrev.networks import revnet
from genrev.priors import ActiveGaussian, ClassConditionalGaussian


def pytest_collection_modifyitems(items):
    """The page is opened where a browser, its driver and gradio are there."""
    missing = [m for m in ("gradio", "playwright") if importlib.util.find_spec(m) is None]
    if shutil.which("chromium") is None:
        missing.append("chromium")
    if not missing:
        return
    skip = pytest.mark.skip(reason=f"{' and '.join(missing)} not installed")
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(skip)


def _model(prior):
    torch.manual_seed(0)
    return GenerativeModel(revnet("digits"), prior).eval()


@pytest.fixture
def gaussian():
    """One class, 5 of 64 dimensions active."""
    return _model(ActiveGaussian(64, torch.tensor([3, 17, 20, 41, 60])))


@pytest.fixture
def classes():
    """Three classes with means and standard deviations of their own, 4 dimensions active."""
    prior = ClassConditionalGaussian(3, 64, torch.tensor([3, 17, 20, 41]))
    with torch.no_grad():
        prior.mean.copy_(torch.linspace(-1, 1, 12).view(3, 4))
        prior.std.copy_(torch.tensor([[0.1, 0.4, 0.3, 0.2], [0.4, 0.3, 0.2, 0.1], [0.2] * 4]))
    return _model(prior)


@pytest.fixture
def everything():
    """All 64 dimensions active and unbounded: a latent space without a rest."""
    return _model(ActiveGaussian(64, None, None))


@pytest.fixture
def exhibit(gaussian):
    return Exhibit("g", gaussian, ["all"])
