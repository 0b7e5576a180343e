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
    from genrev import objectives, priors
    from genrev.errors import GenrevError
    from genrev.models import load
    from genrev.networks.revnet import RevNet, RevNetConfig, revnet
    from genrev.reversible import (
        AdditiveCoupling,
        CheckerboardSubsample,
        Engine,
        ReversibleSequential,
    )

    __version__: str

__all__ = [
    "AdditiveCoupling",
    "CheckerboardSubsample",
    "Engine",
    "GenrevError",
    "RevNet",
    "RevNetConfig",
    "ReversibleSequential",
    "__version__",
    "load",
    "objectives",
    "priors",
    "revnet",
]

# Names are imported when they are first used: the command has to set what PyTorch reads when it is
# imported.
_HOMES = {
    "AdditiveCoupling": "genrev.reversible",
    "CheckerboardSubsample": "genrev.reversible",
    "Engine": "genrev.reversible",
    "GenrevError": "genrev.errors",
    "RevNet": "genrev.networks",
    "RevNetConfig": "genrev.networks",
    "ReversibleSequential": "genrev.reversible",
    "load": "genrev.models",
    "revnet": "genrev.networks",
}


def __getattr__(name: str) -> Any:
    if name in ("objectives", "priors"):
        return import_module(f"genrev.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("genrev")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'genrev' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
