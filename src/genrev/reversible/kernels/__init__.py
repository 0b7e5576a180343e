"""Convolutions that are fast on the small maps of a RevNet."""
