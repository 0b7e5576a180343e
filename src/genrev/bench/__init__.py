"""Benchmarks: ratios measured in one interleaved run against a named peer."""

from genrev.bench.measuring import peak_bytes
