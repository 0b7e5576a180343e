"""Samples stand above their nearest training images."""

import numpy as np
import pytest
import torch

from genrev.figures import neighbour_rows


def place(picture, shade):
    """Middle (row, column) of the square of one shade."""
    mask = picture == shade
    return tuple(float(np.nonzero(mask.sum(axis) > 60)[0].mean()) for axis in (1, 0))


def test_pairs_stand_below_each_other():
    shades = torch.tensor([0, 50, 60, 70])
    samples = (shades / 255).view(4, 1, 1, 1).expand(4, 1, 8, 8)
    picture = np.asarray(neighbour_rows(samples, samples + 100 / 255, columns=2))
    above = [place(picture, int(shade)) for shade in shades]
    below = [place(picture, int(shade) + 100) for shade in shades]
    for (row, column), (row_below, column_below) in zip(above, below, strict=True):
        assert column == column_below
        assert row < row_below
    assert above[0][0] == above[1][0] < below[0][0] < above[2][0]


def test_an_unfinished_row_is_left_out():
    images = torch.rand(5, 1, 8, 8)
    assert neighbour_rows(images, images, 2).size == neighbour_rows(images[:4], images[:4], 2).size
    assert neighbour_rows(images, images).size[0] > 0  # fewer than a row has place for


@pytest.mark.parametrize("count", [0, 3])
def test_refuses_what_does_not_fit(count):
    with pytest.raises(ValueError, match="one neighbour"):
        neighbour_rows(torch.rand(count, 1, 8, 8), torch.rand(count, 1, 8, 9))
