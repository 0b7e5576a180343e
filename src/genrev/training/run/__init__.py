"""Runs: their folder, checkpoints and resumption, and the loop that trains them."""
