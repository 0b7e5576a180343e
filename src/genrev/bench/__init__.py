"""Benchmarks: ratios measured in one interleaved run against a named peer."""

from genrev.bench.memory import peak_bytes

__all__ = ["peak_bytes"]
