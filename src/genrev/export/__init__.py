"""Trained models as programs that run without genrev."""

from genrev.export.export import FORMATS, Exported, export
from genrev.export.programs import DIRECTIONS, Direction

__all__ = ["DIRECTIONS", "FORMATS", "Direction", "Exported", "export"]
