"""genrev: generative models that are invertible by construction.

>>> import torch, genrev
>>> net = genrev.revnet("digits")
>>> x = torch.rand(2, 1, 8, 8)
>>> torch.allclose(net.decode(net.encode(x)), x, atol=1e-5)
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from genrev import extras as _extras  # a package that is missing gets a sentence from here on

if TYPE_CHECKING:
    from genrev import evaluation as evaluation
    from genrev import export as export
    from genrev import figures as figures
    from genrev import objectives as objectives
    from genrev import priors as priors
    from genrev import training as training
    from genrev.data import DataConfig as DataConfig
    from genrev.data import ImageData as ImageData
    from genrev.data import load_images as load_images
    from genrev.data.sources import SOURCES as SOURCES
    from genrev.data.sources import Source as Source
    from genrev.errors import GenrevError as GenrevError
    from genrev.evaluation import METRICS as METRICS
    from genrev.evaluation import Metric as Metric
    from genrev.evaluation import distance as distance  # type: ignore[no-redef]
    from genrev.evaluation import evaluate as evaluate  # type: ignore[no-redef]
    from genrev.figures import FIGURES as FIGURES
    from genrev.models import GenerativeModel as GenerativeModel
    from genrev.models import load as load
    from genrev.networks import NETWORKS as NETWORKS
    from genrev.networks import Network as Network
    from genrev.networks import RevNet as RevNet
    from genrev.networks import RevNetConfig as RevNetConfig
    from genrev.networks import VectorFlow as VectorFlow
    from genrev.networks import VectorFlowConfig as VectorFlowConfig
    from genrev.networks import revnet as revnet  # type: ignore[no-redef]
    from genrev.priors import PRIORS as PRIORS
    from genrev.priors import Prior as Prior
    from genrev.recipes import load_recipe as load_recipe
    from genrev.recipes import resume as resume
    from genrev.recipes import train as train
    from genrev.registry import load_plugin as load_plugin
    from genrev.reversible import AdditiveCoupling as AdditiveCoupling
    from genrev.reversible import AffineCoupling as AffineCoupling
    from genrev.reversible import Block as Block
    from genrev.reversible import CheckerboardSubsample as CheckerboardSubsample
    from genrev.reversible import Engine as Engine
    from genrev.reversible import HaarBands as HaarBands
    from genrev.reversible import ReversibleSequential as ReversibleSequential
    from genrev.searching import search as search
    from genrev.training import METHODS as METHODS
    from genrev.training import Method as Method
    from genrev.training import fit_prior as fit_prior

__version__ = "0.1.0.dev0"  # here, for a source tree that is not installed

# Names are imported when they are first used. So `import genrev` costs what PyTorch costs, and the
# command can set what PyTorch reads when it is imported.
_HOMES = {
    "data": ("DataConfig", "ImageData", "load_images"),
    "data.sources": ("SOURCES", "Source"),
    "errors": ("GenrevError",),
    "evaluation": ("METRICS", "Metric", "distance", "evaluate"),
    "figures": ("FIGURES",),
    "models": ("GenerativeModel", "load"),
    "networks": (
        *("NETWORKS", "Network", "RevNet", "RevNetConfig", "VectorFlow", "VectorFlowConfig"),
        "revnet",
    ),
    "priors": ("PRIORS", "Prior"),
    "recipes": ("load_recipe", "resume", "train"),
    "registry": ("load_plugin",),
    "reversible": (
        *("AdditiveCoupling", "AffineCoupling", "Block", "CheckerboardSubsample", "Engine"),
        *("HaarBands", "ReversibleSequential"),
    ),
    "searching": ("search",),
    "training": ("METHODS", "Method", "fit_prior"),
}
_HOME_OF = {name: f"genrev.{home}" for home, names in _HOMES.items() for name in names}
_PACKAGES = ("evaluation", "export", "figures", "objectives", "priors", "training")

__all__ = sorted([*_HOME_OF, *_PACKAGES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"genrev.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'genrev' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
