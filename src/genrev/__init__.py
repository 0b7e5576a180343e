"""genrev: generative models that are invertible by construction.

>>> import torch, genrev
>>> net = genrev.revnet("digits")
>>> x = torch.rand(2, 1, 8, 8)
>>> torch.allclose(net.decode(net.encode(x)), x, atol=1e-5)
True
"""

from importlib.metadata import version

from genrev import objectives, priors
from genrev.errors import GenrevError
from genrev.models import RevNet, RevNetConfig, load, revnet
from genrev.reversible import AdditiveCoupling, CheckerboardSubsample, ReversibleSequential

__version__ = version("genrev")

__all__ = [
    "AdditiveCoupling",
    "CheckerboardSubsample",
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
