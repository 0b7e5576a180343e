"""Invertible blocks and chains of them; every ``forward`` has its ``inverse``."""

from genrev.reversible.block import Block, ModuleBlock
from genrev.reversible.chains import FactorOut, ReversibleSequential
from genrev.reversible.context import ContextPair
from genrev.reversible.couplings import AdditiveCoupling, AffineCoupling
from genrev.reversible.elementwise import DiagonalScaling, Offset
from genrev.reversible.engine.execution import Engine, Memory
from genrev.reversible.kernels.convolution import SmallMapConv2d
from genrev.reversible.kernels.low_precision import low_precision_weights
from genrev.reversible.kernels.pair import ConvPair
from genrev.reversible.lifting import HaarBands, Lifting, LumaChroma, Shear
from genrev.reversible.mixing import Deal, Rotation
from genrev.reversible.shapes import CheckerboardSubsample, ZeroPad
from genrev.reversible.stream import FixedPoint, round_to_grid
