"""Which dimensions of an untrained network become the active ones."""

import pytest
from run_files import config_of, parts_of


def active(factor_out, k):
    config = config_of(
        seed=2,
        network={
            "hidden_channels": [8, 8, 8],
            "blocks": [1, 1, 1],
            "kernel_sizes": [3, 3, 1],
            "factor_out": factor_out,
        },
        prior={"kind": "gaussian", "active_dims": k},
        method="matching",
    )
    data, model, _ = parts_of(config)
    stds = model.encode(data.tensor(range(len(data)))).std(0)
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
