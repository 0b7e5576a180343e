"""Benchmarks: ratios measured in one interleaved run against a named peer."""
