"""Which dimensions of an untrained network become the active ones."""

import pytest
import torch
from genrev.training.encodings import build_model

from genrev.data import load_images
from genrev.networks import RevNetConfig
from genrev.training import EngineConfig, MatchingConfig

DATA = load_images("digits")


def active(factor_out, k):
    network = RevNetConfig(
        image_size=8,
        channels=1,
        hidden_channels=(8, 8, 8),
        blocks=(1, 1, 1),
        kernel_sizes=(3, 3, 1),
        factor_out=factor_out,
    )
    torch.manual_seed(2)
    model = build_model(MatchingConfig(network=network, active_dims=k), EngineConfig(), DATA)
    stds = model.encode(DATA.tensor(range(len(DATA)))).std(0)
    return model.prior.active_dims, stds


def test_they_are_the_widest():
    chosen, stds = active(factor_out=False, k=16)
    assert set(chosen.tolist()) == set(stds.topk(16).indices.tolist())


@pytest.mark.parametrize(("k", "coarse"), [(5, 5), (16, 16), (20, 16)])
def test_in_a_hierarchy_those_that_pass_through_all_stages_come_first(k, coarse):
    chosen, stds = active(factor_out=True, k=k)
    assert (chosen >= 48).sum() == coarse  # 32 and 16 of 64 left before
    assert stds.topk(k).indices.min() < 48  # the widest of all would have been others
    fine = chosen[chosen < 48]
    assert set(fine.tolist()) == set(stds[:48].topk(k - coarse).indices.tolist())
