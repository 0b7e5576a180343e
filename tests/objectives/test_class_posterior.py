"""Class posteriors against scikit-learn's naive Bayes and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.naive_bayes import GaussianNB

from genrev.objectives import class_log_probs, posterior_loss


def test_posteriors_are_those_of_naive_bayes():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    z = rng.normal(size=(90, 4)) * (1 + labels[:, None]) + labels[:, None]
    bayes = GaussianNB(priors=[1 / 3] * 3, var_smoothing=0).fit(z, labels)
    means, stds = torch.from_numpy(bayes.theta_), torch.from_numpy(bayes.var_).sqrt()
    points = torch.from_numpy(3 * rng.normal(size=(50, 4)))
    densities = class_log_probs(points, means, stds)
    assert np.allclose(densities.softmax(1), bayes.predict_proba(points.numpy()))
    assert np.allclose(densities[:, 1], stats.norm.logpdf(points, bayes.theta_[1], stds[1]).sum(1))
    targets = torch.arange(50) % 3
    expected = -np.log(bayes.predict_proba(points.numpy())[np.arange(50), targets]).mean()
    assert posterior_loss(points, means, stds, targets).item() == pytest.approx(expected)


def test_gaussians_that_tell_nothing_cost_the_logarithm_of_their_number():
    loss = posterior_loss(
        torch.randn(7, 2), torch.zeros(5, 2), torch.ones(5, 2), torch.arange(7) % 5
    )
    assert loss.item() == pytest.approx(math.log(5), rel=1e-6)


def test_a_dimension_out_of_use_does_not_outvote_the_others():
    means, stds = torch.tensor([[0.0, 0.0], [4.0, 1e-6]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    points = torch.tensor([[0.0, 1e-6], [4.0, 0.0]])
    assert class_log_probs(points, means, stds).argmax(1).tolist() == [0, 1]
