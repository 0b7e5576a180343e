"""genrev: generative models that are invertible by construction.

>>> import torch, genrev
>>> net = genrev.revnet("digits")
>>> x = torch.rand(2, 1, 8, 8)
>>> torch.allclose(net.decode(net.encode(x)), x, atol=1e-5)
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genrev import evaluation, figures, objectives, priors, training
    from genrev.data import DataConfig, ImageData, load_images
    from genrev.data.sources import SOURCES, Source
    from genrev.errors import GenrevError
    from genrev.evaluation import METRICS, Metric, evaluate  # type: ignore[no-redef]
    from genrev.figures import FIGURES
    from genrev.models import GenerativeModel, load
    from genrev.networks import (  # type: ignore[no-redef]
        NETWORKS,
        Network,
        RevNet,
        RevNetConfig,
        revnet,
    )
    from genrev.priors import PRIORS, Prior
    from genrev.recipes import load_recipe, train
    from genrev.registry import load_plugin
    from genrev.reversible import (
        AdditiveCoupling,
        AffineCoupling,
        Block,
        CheckerboardSubsample,
        Engine,
        HaarBands,
        ReversibleSequential,
    )
    from genrev.training import METHODS, Method

    __version__: str

__all__ = [
    "FIGURES",
    "METHODS",
    "METRICS",
    "NETWORKS",
    "PRIORS",
    "SOURCES",
    "AdditiveCoupling",
    "AffineCoupling",
    "Block",
    "CheckerboardSubsample",
    "DataConfig",
    "Engine",
    "GenerativeModel",
    "GenrevError",
    "HaarBands",
    "ImageData",
    "Method",
    "Metric",
    "Network",
    "Prior",
    "RevNet",
    "RevNetConfig",
    "ReversibleSequential",
    "Source",
    "__version__",
    "evaluate",
    "evaluation",
    "figures",
    "load",
    "load_images",
    "load_plugin",
    "load_recipe",
    "objectives",
    "priors",
    "revnet",
    "train",
    "training",
]

# Names are imported when they are first used. So `import genrev` costs what PyTorch costs, and the
# command can set what PyTorch reads when it is imported.
_HOMES = {
    "data": ("DataConfig", "ImageData", "load_images"),
    "data.sources": ("SOURCES", "Source"),
    "errors": ("GenrevError",),
    "evaluation": ("METRICS", "Metric", "evaluate"),
    "figures": ("FIGURES",),
    "models": ("GenerativeModel", "load"),
    "networks": ("NETWORKS", "Network", "RevNet", "RevNetConfig", "revnet"),
    "priors": ("PRIORS", "Prior"),
    "recipes": ("load_recipe", "train"),
    "registry": ("load_plugin",),
    "reversible": (
        "AdditiveCoupling",
        "AffineCoupling",
        "Block",
        "CheckerboardSubsample",
        "Engine",
        "HaarBands",
        "ReversibleSequential",
    ),
    "training": ("METHODS", "Method"),
}
_HOME_OF = {name: f"genrev.{home}" for home, names in _HOMES.items() for name in names}
_PACKAGES = ("evaluation", "figures", "objectives", "priors", "training")


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"genrev.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("genrev")
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'genrev' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
