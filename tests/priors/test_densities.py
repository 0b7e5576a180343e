"""One contract of densities for all priors: by integrals, samples and finite differences."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Distribution, Gamma, Gumbel, Independent, Laplace, StudentT

from genrev.priors import (
    ActiveGaussian,
    ActiveLogistic,
    ActiveUniform,
    ClassConditionalGaussian,
    DistributionPrior,
    EqualMixture,
    FlowMatchingPrior,
    FlowPrior,
    GaussianMixturePrior,
    Prior,
)

ACTIVE = torch.tensor([3, 1])
PINNED = [0, 2, 4]


class Learned(Prior):
    """Somebody's: a method ``distribution``, parameters, and nothing else."""

    num_classes = 2

    def __init__(self, dim, active_dims=None, bound=None):
        super().__init__(dim, active_dims, bound)
        self.loc = nn.Parameter(torch.tensor([[0.0, 1.0], [-2.0, 0.5]]))
        self.width = nn.Parameter(torch.tensor([[0.5, 1.0], [0.7, 0.4]]))

    def distribution(self, label=None):
        if label is None:
            return EqualMixture([self.distribution(0), self.distribution(1)])
        return Independent(Gumbel(self.loc[label], self.width[label], validate_args=False), 1)


def flow(kind):
    prior = kind(2, 5, ACTIVE, layers=3, hidden=8)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
        prior.loc.copy_(torch.tensor([[0.5, -1.0], [1.0, 0.0]]))
        prior.factors.copy_(torch.tensor([[[0.5, 0.0], [0.3, 0.8]], [[1.0, 0.0], [-0.5, 0.6]]]))
        prior._measure_moments()
    return prior


def mixture(covariance):
    prior = GaussianMixturePrior(2, 2, covariance, 5, ACTIVE)
    prior.means.copy_(torch.tensor([[[0.0, 1.0], [2.0, 0.0]], [[-1.0, 0.0], [0.0, -2.0]]]))
    prior.factors.mul_(torch.tensor([0.5, 0.8])[:, None] if covariance == "full" else 0.6)
    prior.weights.copy_(torch.tensor([[0.2, 0.8], [0.5, 0.5]]))
    return prior


def classes():
    prior = ClassConditionalGaussian(2, 5, ACTIVE)
    with torch.no_grad():
        prior.mean.copy_(torch.tensor([[0.0, 1.0], [-2.0, 1.5]]))
        prior.std.copy_(torch.tensor([[0.5, 1.0], [0.4, 0.6]]))
    return prior


def of_family(family, **parameters):
    return DistributionPrior(5, ACTIVE, family=family, parameters=parameters)


PRIORS = {
    "gaussian": lambda: ActiveGaussian(5, ACTIVE),
    "uniform": lambda: ActiveUniform(5, ACTIVE, bound=1.5),
    "logistic": lambda: ActiveLogistic(5, ACTIVE),
    "classes": classes,
    "mixture": lambda: mixture("full"),
    "diagonal": lambda: mixture("diag"),
    "flow": lambda: flow(FlowPrior),
    "flow-matching": lambda: flow(FlowMatchingPrior),
    "laplace": lambda: of_family("Laplace", loc=torch.tensor([0.5, -1.0]), scale=0.7),
    "vectors": lambda: of_family(
        "MultivariateNormal",
        loc=torch.tensor([1.0, 0.0]),
        covariance_matrix=torch.tensor([[1.0, 0.6], [0.6, 0.5]]),
    ),
    "learned": lambda: Learned(5, ACTIVE),
}
LEARNED = ["classes", "flow", "flow-matching", "learned"]


def labels_of(prior):
    return [None, *(range(prior.num_classes) if prior.num_classes > 1 else ())]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth(active):
    """A function whose mean tells distributions apart."""
    return (active[:, 0] + active[:, 1].square()).cos()


@pytest.mark.parametrize("name", PRIORS)
@torch.no_grad()
def test_the_density_integrates_to_one_and_is_that_of_the_samples(name):
    prior = PRIORS[name]()
    # Wide and fine enough for a sum to be the integral; the density of one of them is slow.
    axis = torch.linspace(-14, 14, 141 if name == "flow-matching" else 561)
    width = float(axis[1] - axis[0])
    active = torch.cartesian_prod(axis, axis)
    z = prior.embed(active)
    z[:, PINNED] = 7.0  # whatever they are
    for label in labels_of(prior):
        distribution = prior.distribution(label)
        assert isinstance(distribution, Distribution)
        assert (distribution.batch_shape, distribution.event_shape) == ((), (2,))
        log_prob = torch.cat([distribution.log_prob(part) for part in active.split(40_000)])
        rows = slice(len(active) // 2, len(active) // 2 + 1000)
        torch.testing.assert_close(prior.log_prob(z[rows], label), log_prob[rows])
        density = log_prob.double().exp() * width**2
        assert float(density.sum()) == pytest.approx(1, abs=0.04 if name == "uniform" else 0.002)
        expected = float((density * smooth(active)).sum())
        mean, std = prior.moments(label)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            theirs = distribution.sample((30_000,))
        for drawn in (prior.restrict(prior.sample(30_000, label, seeded())), theirs):
            assert float(smooth(drawn).mean()) == pytest.approx(expected, abs=0.02)
            torch.testing.assert_close(drawn.mean(0), mean, atol=0.05, rtol=0)
            torch.testing.assert_close(drawn.std(0), std, atol=0.05, rtol=0)


@pytest.mark.parametrize("name", PRIORS)
def test_samples_are_those_of_rsample_and_of_the_two_halves(name):
    prior = PRIORS[name]()
    labels = torch.tensor([1, 0, 0, 1]) % prior.num_classes
    drawn = prior.sample(4, labels, seeded())
    assert not drawn.requires_grad
    assert not drawn[:, PINNED].any()
    assert torch.equal(drawn, prior.rsample(4, labels, seeded()))
    assert torch.equal(drawn, prior.from_noise(prior.noise(4, seeded()), labels))
    assert not torch.equal(drawn, prior.sample(4, labels, seeded(1)))
    going_on, before = seeded(), torch.random.get_rng_state()
    assert torch.equal(prior.sample(4, labels, going_on), drawn)
    assert not torch.equal(prior.sample(4, labels, going_on), drawn)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", PRIORS)
def test_labels_may_be_given_for_every_latent(name):
    prior = PRIORS[name]()
    z = torch.randn(6, 5)
    labels = torch.tensor([1, 0, 0, 1, 1, 0])
    found = prior.log_prob(z, labels)
    if prior.num_classes == 1:  # labels of data, to a prior that has no classes
        torch.testing.assert_close(found, prior.log_prob(z))
        return
    expected = torch.stack([prior.log_prob(z, label) for label in (0, 1)])
    torch.testing.assert_close(found, expected.gather(0, labels[None])[0])
    torch.testing.assert_close(prior.log_prob(z, labels.tolist()), found)
    whole = expected.logsumexp(0) - math.log(2)
    torch.testing.assert_close(prior.log_prob(z), whole)
    for label, message in ((2, "between 0 and 1"), (torch.tensor([0]), "6 samples need 6")):
        with pytest.raises(ValueError, match=message):
            prior.log_prob(z, label)


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("what", ["rsample", "log_prob"])
def test_gradients_are_finite_differences(name, what):
    prior = PRIORS[name]().double()
    labels, weights = torch.tensor([0, 1, 1]), torch.randn(3, 5, generator=seeded()).double()
    z = torch.randn(3, 5, generator=seeded(2)).double()
    # The same noise, of float32 where the prior draws it itself.
    noise = prior.noise(3, seeded()).detach()

    def value():
        if what == "log_prob":
            return (prior.log_prob(z, labels) * weights[:, 0]).sum()
        drawn = prior.rsample(3, labels, seeded())
        if name != "learned":
            torch.testing.assert_close(drawn, prior.from_noise(noise, labels))
        return (drawn * weights).sum()

    parameters = [p for p in prior.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(value(), parameters)
    assert any(bool(gradient.any()) for gradient in gradients)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        step = 1e-6
        for index in range(0, parameter.numel(), max(1, parameter.numel() // 5)):
            flat = parameter.data.view(-1)
            old = float(flat[index])
            ends = []
            for sign in (1, -1):
                flat[index] = old + sign * step
                with torch.no_grad():
                    ends.append(float(value()))
            flat[index] = old
            slope = (ends[0] - ends[1]) / (2 * step)
            assert float(gradient.reshape(-1)[index]) == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_what_is_not_reparameterised_has_samples_and_no_rsample():
    class Opaque(Independent):
        has_rsample = False

    class Fixed(Learned):
        num_classes = 1

        def distribution(self, label=None):
            return Opaque(Laplace(self.loc[0], self.width[0]), 1)

    prior = Fixed(5, ACTIVE)
    assert prior.sample(3, generator=seeded()).shape == (3, 5)
    with pytest.raises(NotImplementedError, match="Opaque has no rsample; take sample"):
        prior.rsample(3)


def test_a_family_is_that_of_torch():
    tails = {"df": 5.0, "loc": torch.tensor([0.0, 1.0]), "scale": 0.5}
    prior, z = of_family("StudentT", **tails), torch.randn(7, 5)
    expected = StudentT(5.0, tails["loc"], 0.5).log_prob(z[:, ACTIVE]).sum(1)
    torch.testing.assert_close(prior.log_prob(z), expected)
    assert prior.scale()[ACTIVE].tolist() == pytest.approx([0.5 * math.sqrt(5 / 3)] * 2)
    assert torch.equal(prior.center(), torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("family", "parameters", "message"),
    [
        ("Gamma", {"concentration": 1.0, "rate": 1.0}, "There is no family 'Gamma'; choose from"),
        ("os.system", {"loc": 0.0}, "There is no family"),
        ("Normal", {"mean": 0.0}, "Normal takes loc, scale and got mean"),
        ("Normal", {"loc": 0.0, "scale": -1.0}, "scale"),
        ("Normal", {"loc": torch.zeros(3), "scale": 1.0}, "expand|2"),
        ("StudentT", {"df": 2.0, "loc": 0.0, "scale": 1.0}, "no finite mean and standard"),
        (
            "MultivariateNormal",
            {"loc": torch.zeros(3), "scale_tril": torch.eye(3)},
            "2 active dimensions",
        ),
    ],
)
def test_distributions_that_make_no_prior(family, parameters, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        of_family(family, **parameters)


def test_a_mixture_of_classes_has_the_moments_of_its_samples():
    made = EqualMixture([Independent(Gamma(torch.tensor([a, 2.0]), 1.0), 1) for a in (1.0, 5.0)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = made.sample((50_000,))
    torch.testing.assert_close(drawn.mean(0), made.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.var(0), made.variance, atol=0.2, rtol=0)
