"""What a training starts from: the active dimensions of an untrained network, and its prior."""

import pytest
import torch
from run_files import config_of, parts_of

from genrev.data import load_images
from genrev.training.start import build_model, encoding_moments


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


def test_class_conditional_gaussians_start_from_the_moments_of_each_class():
    config = config_of(prior={"active_dims": 5})
    data, model, _ = parts_of(config)
    with torch.no_grad():
        z = model.encode(data.tensor(range(len(data))))[:, model.prior.active_dims]
    labels = torch.from_numpy(data.labels.copy())
    for number in range(10):
        own = z[labels == number]
        torch.testing.assert_close(model.prior.mean[number], own.mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            model.prior.std[number], own.std(0, correction=0), rtol=1e-4, atol=1e-5
        )


def test_a_model_that_is_loaded_into_looks_at_no_image():
    config = config_of(prior={"active_dims": 5})
    data = load_images(config.data)
    model = build_model(config, config.network.options, data, measure=False)
    assert model.prior.active_dims.tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(model.prior.mean, torch.zeros(10, 5))


def test_moments_are_those_of_all_images():
    data = load_images("digits")

    def pixels(x):
        return x.flatten(1)

    x, labels = data.tensor(range(1500)).flatten(1), torch.from_numpy(data.labels.copy())
    moments = encoding_moments(pixels, data, 64, "cpu")
    assert int(moments.count.sum()) == 1500
    expected = x[labels == 3].mean(0)
    torch.testing.assert_close(moments.mean[3].float(), expected, rtol=1e-5, atol=1e-6)
