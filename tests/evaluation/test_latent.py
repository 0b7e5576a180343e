"""Latent report: 1 for encodings that are prior samples, more otherwise, and known counts."""

import numpy as np
import pytest
import torch

from genrev.errors import GenrevError
from genrev.evaluation import latent_report, relative_sliced_wasserstein
from genrev.objectives.transport import random_directions
from genrev.priors import ActiveGaussian, ClassConditionalGaussian


def relative(active, prior, labels=None):
    generator = torch.Generator().manual_seed(1)
    directions = random_directions(64, active.shape[1], generator)
    return relative_sliced_wasserstein(prior, active, labels, directions, generator)[1]


def test_prior_samples_cannot_be_told_from_the_prior():
    prior = ActiveGaussian(20, torch.arange(3, 11))
    active = prior.restrict(prior.sample(2000, generator=torch.Generator().manual_seed(0)))
    assert relative(active, prior) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("scale", "shift"), [(0.7, 0.0), (1.3, 0.0), (1.0, 0.3)])
def test_other_encodings_are_farther_and_more_so_with_more_of_them(scale, shift):
    prior = ActiveGaussian(8)
    active = scale * prior.sample(4000, generator=torch.Generator().manual_seed(0)) + shift
    few, many = relative(active[:400], prior), relative(active, prior)
    assert few > 1.3
    assert many > 2 * few


def test_labels_decide_which_prior_encodings_are_compared_with():
    prior = ClassConditionalGaussian(2, 4)
    prior.mean.data[1] = 3
    labels = torch.arange(500) % 2
    with torch.no_grad():
        active = prior.sample(500, labels, torch.Generator().manual_seed(0))
        assert relative(active, prior, labels) == pytest.approx(1, abs=0.3)
        assert relative(active, prior, torch.zeros(500, dtype=torch.int64)) > 10


def test_collapsed_prior():
    prior = ClassConditionalGaussian(1, 3)
    prior.std.data.zero_()
    with torch.no_grad():
        assert relative(torch.zeros(10, 3), prior) == 1
        assert relative(torch.ones(10, 3), prior) is None


def test_report_of_a_model_that_matches_its_prior(conditional, draw):
    report = latent_report(conditional, draw(conditional, 2000, seed=0))
    assert list(report["classes"]) == ["class 0", "class 1"]
    for group in report["classes"].values():
        assert group["count"] == 1000
        assert group["prior_std"] == pytest.approx([0.12] * 16)
        assert group["encoding_std"] == pytest.approx([0.12] * 16, rel=0.15)
        assert group["prior_dims"] == group["encoding_dims"] == group["encoding_dims_full"] == 16
        # Rounding, and clipping at 2.9 standard deviations, cost next to nothing.
        assert group["sliced_wasserstein_relative"] == pytest.approx(1, abs=0.3)
    overall = report["overall"]
    assert overall["count"] == 2000
    assert overall["prior_std"] == pytest.approx([np.hypot(0.12, 0.15)] * 16)
    assert overall["encoding_std"] == pytest.approx(overall["prior_std"], rel=0.1)
    assert overall["sliced_wasserstein_relative"] == pytest.approx(1, abs=0.3)


def test_overall_prior_weighs_classes_as_the_data_does(conditional, draw, toys):
    data = draw(conditional, 400, seed=0)
    kept = np.flatnonzero((data.labels == 0) | (np.arange(400) < 100))  # 200 and 50
    data = toys(data.images[kept], data.labels[kept], 2)
    overall = latent_report(conditional, data)["overall"]
    # A mixture of two points 0.3 apart with weights 0.8 and 0.2, and noise.
    expected = np.sqrt(0.12**2 + 0.8 * 0.2 * 0.3**2)
    assert overall["prior_std"] == pytest.approx([expected] * 16)
    assert overall["encoding_std"] == pytest.approx([expected] * 16, rel=0.15)
    assert overall["sliced_wasserstein_relative"] < 1.6


def test_dimensions_in_use(rotated, toys):
    # Images vary in the first six latent dimensions, of which four are active.
    latents = np.zeros((300, 16))
    latents[:, :6] = np.random.default_rng(0).normal(0, 0.2, (300, 6))
    pixels = latents @ rotated.matrix.detach().numpy().T + 0.5
    images = np.rint(pixels * 255).clip(0, 255).astype(np.uint8).reshape(-1, 1, 4, 4)
    report = latent_report(rotated, toys(images, np.zeros(300), 1), batch_size=64)
    overall = report["overall"]
    assert report["classes"] == report["shared"] == {}
    assert (report["active_dims"], report["dims"]) == (4, 16)
    assert (overall["prior_dims"], overall["encoding_dims"]) == (4, 4)
    assert overall["encoding_dims_full"] == 6
    assert overall["encoding_std"] == pytest.approx(latents[:, :4].std(0, ddof=1), rel=0.02)
    assert overall["sliced_wasserstein_relative"] > 3  # std 0.2 where the prior has 1


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_dimensions_shared_by_classes_are_counted(conditional, toys, classes):
    """Dimensions switched on and off at will, class by class, against counting by hand."""
    rng = np.random.default_rng(classes)
    labels = np.repeat(np.arange(classes), 60)
    for _ in range(8):
        used = rng.random((classes, 16)) < rng.random(16)
        conditional.prior = ClassConditionalGaussian(classes, 16)
        conditional.prior.std.data.copy_(torch.from_numpy(np.where(used, 0.11, 0.09)))
        z = rng.standard_normal((len(labels), 16)) * np.where(used, 0.2, 0.02)[labels]
        images = np.rint((z + 0.5) * 255).clip(0, 255).astype(np.uint8).reshape(-1, 1, 4, 4)
        report = latent_report(conditional, toys(images, labels, classes))
        expected = {"all": 0, "several": 0, "one": 0, "none": 0}
        for dim in range(16):
            count = sum(bool(row[dim]) for row in used)
            kind = "all" if count == classes else ("none", "one", "several")[min(count, 2)]
            expected[kind] += 1
        assert report["shared"] == {"prior": expected, "encodings": expected}
        per_class = [group["prior_dims"] for group in report["classes"].values()]
        assert per_class == [int(row.sum()) for row in used]


def test_batch_size_does_not_matter(conditional, draw):
    data = draw(conditional, 50, seed=0)
    one, other = (latent_report(conditional, data, batch_size)["overall"] for batch_size in (7, 50))
    assert one.keys() == other.keys()
    for name in one:
        assert one[name] == pytest.approx(other[name], rel=1e-5), name


def test_refuses_data_of_other_classes(conditional, unconditional, draw):
    with pytest.raises(GenrevError, match="2 classes and the data toys has 1;"):
        latent_report(conditional, draw(unconditional, 50, seed=0))


def test_refuses_a_class_with_one_image(conditional, draw, toys):
    data = draw(conditional, 50, seed=0)
    data = toys(data.images[:9], np.arange(9) == 0, 2)
    with pytest.raises(GenrevError, match=r"^Among the .* fewer than two images"):
        latent_report(conditional, data)
