"""Reconstruction errors against numbers computed by hand."""

import math

import numpy as np
import pytest
import torch

from genrev.evaluation import reconstruction_report


def test_pinned_dimensions_are_lost_and_others_are_not(rotated, draw):
    data = draw(rotated, 40, seed=0)
    report = reconstruction_report(rotated, data, batch_size=7)
    x = data.tensor(range(40))
    q = rotated.matrix.detach()[:, :4]  # the active directions
    projected = ((x - 0.5).flatten(1) @ q).clamp(-2, 2) @ q.T + 0.5
    difference = projected.clamp(0, 1) - x.flatten(1)
    mse = float(difference.square().mean())
    expected = {
        "l1": float(difference.abs().mean()),
        "mse": mse,
        "psnr": -10 * math.log10(mse),
        "l1_unclipped": float((projected - x.flatten(1)).abs().mean()),
    }
    assert report["restricted"] == pytest.approx(expected, rel=1e-4)
    assert expected["l1_unclipped"] > expected["l1"]
    assert report["full"]["l1"] < 1e-6
    assert report["full"]["psnr"] > 100


def test_values_no_picture_holds_are_clipped(unconditional, toys):
    white = toys(np.full((12, 1, 4, 4), 255, np.uint8), np.zeros(12), 1)
    unconditional.decode = lambda z: torch.full((len(z), 1, 4, 4), 7.0)
    report = reconstruction_report(unconditional, white)
    expected = {"l1": 0, "mse": 0, "psnr": None, "l1_unclipped": 6}
    assert report["full"] == report["restricted"] == expected


def test_nothing_is_clipped_away_that_is_no_number(unconditional, draw):
    unconditional.decode = lambda z: torch.full((len(z), 1, 4, 4), torch.nan)
    report = reconstruction_report(unconditional, draw(unconditional, 12, seed=0))
    assert math.isnan(report["full"]["l1"])


def test_the_model_is_left_in_its_mode(unconditional, draw):
    unconditional.train()
    reconstruction_report(unconditional, draw(unconditional, 12, seed=0))
    assert unconditional.training
