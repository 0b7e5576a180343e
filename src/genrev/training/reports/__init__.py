"""Callbacks that measure a training and write down what they find."""
