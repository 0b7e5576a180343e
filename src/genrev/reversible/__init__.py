"""Invertible blocks and chains of them; every ``forward`` has its ``inverse``."""

from genrev.reversible.affine import AffineCoupling
from genrev.reversible.conv import SmallMapConv2d
from genrev.reversible.coupling import AdditiveCoupling
from genrev.reversible.execution import Engine, Memory
from genrev.reversible.factor_out import FactorOut
from genrev.reversible.fixed_point import FixedPoint, round_to_grid
from genrev.reversible.lifting import HaarBands, Lifting, LumaChroma, Shear
from genrev.reversible.offset import Offset
from genrev.reversible.padding import ZeroPad
from genrev.reversible.scaling import DiagonalScaling
from genrev.reversible.sequential import ReversibleSequential
from genrev.reversible.subsample import CheckerboardSubsample

__all__ = [
    "AdditiveCoupling",
    "AffineCoupling",
    "CheckerboardSubsample",
    "DiagonalScaling",
    "Engine",
    "FactorOut",
    "FixedPoint",
    "HaarBands",
    "Lifting",
    "LumaChroma",
    "Memory",
    "Offset",
    "ReversibleSequential",
    "Shear",
    "SmallMapConv2d",
    "ZeroPad",
    "round_to_grid",
]
