"""Priors on active dimensions: the three maps, the samples, the moments."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    Poisson,
    Uniform,
)

from genrev.priors import (
    PRIORS as REGISTRY,
)
from genrev.priors import (
    ActiveGaussian,
    ActiveLogistic,
    ActiveUniform,
    ClassConditionalGaussian,
    ClassMoments,
    FlowMatchingPrior,
    FlowPrior,
    largest_std_dims,
)
from genrev.priors.prior import EqualMixture

ACTIVE = torch.tensor([7, 0, 3])
PRIORS = [
    lambda: ActiveGaussian(9, ACTIVE),
    lambda: ActiveUniform(9, ACTIVE),
    lambda: ActiveLogistic(9, ACTIVE),
    lambda: ClassConditionalGaussian(4, 9, ACTIVE, bound=1.5),
    lambda: ClassConditionalGaussian(4, 9),
]


def randomised(make):
    prior = make()
    for parameter in prior.parameters():
        torch.nn.init.uniform_(parameter, 0.2, 3.0)
    return prior


@pytest.mark.parametrize("make", PRIORS)
def test_restrict_undoes_embed_and_clamp_is_a_projection(make):
    prior = randomised(make)
    active = torch.randn(5, len(prior.active_dims))
    assert torch.equal(prior.restrict(prior.embed(active)), active)
    z = 3 * torch.randn(5, 9)
    once = prior.clamp(z)
    assert torch.equal(prior.clamp(once), once)
    pinned = sorted(set(range(9)) - set(prior.active_dims.tolist()))
    assert not once[:, pinned].any()
    expected = prior.restrict(z)
    if prior.bound is not None:
        expected = expected.clamp(-prior.bound, prior.bound)
    assert torch.equal(prior.restrict(once), expected)


@pytest.mark.parametrize("make", PRIORS)
@pytest.mark.parametrize("label", [None, 2])
def test_moments_of_samples_are_center_and_scale(make, label):
    prior = randomised(make)
    if label is not None and prior.num_classes == 1:
        pytest.skip("not conditional")
    z = prior.sample(40_000, label, torch.Generator().manual_seed(0))
    assert torch.allclose(z.mean(0), prior.center(label), atol=0.08)
    assert torch.allclose(z.std(0), prior.scale(label), atol=0.08)


@pytest.mark.parametrize("make", PRIORS)
def test_samples_follow_their_generator(make):
    prior = make()
    draws = [prior.sample(3, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_samples_are_differentiable_in_the_learned_parameters():
    prior = ClassConditionalGaussian(2, 3)
    labels = torch.tensor([0, 1, 1])
    z = prior.rsample(3, labels, torch.Generator().manual_seed(0))
    z.sum().backward()
    assert prior.mean.grad.tolist() == [[1.0] * 3, [2.0] * 3]
    noise = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.stack((noise[0], noise[1] + noise[2]))
    assert torch.allclose(prior.std.grad, expected)


def test_standard_deviations_stay_at_zero_or_above():
    prior = ClassConditionalGaussian(2, 3)
    with torch.no_grad():
        prior.std.copy_(torch.tensor([[-1.0, 0.0, 2.0], [1.0, -3.0, 0.5]]))
    prior.project_()
    assert prior.std.tolist() == [[0.0, 0.0, 2.0], [1.0, 0.0, 0.5]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ActiveGaussian(4, torch.tensor([4])), "from 0 to 3"),
        (lambda: ActiveGaussian(4, torch.tensor([], dtype=torch.long)), "from 0 to 3"),
        (lambda: ActiveGaussian(4, torch.tensor([1, 1])), "repeat"),
        (lambda: ActiveGaussian(4, bound=0.0), "positive"),
        (lambda: ActiveUniform(4, bound=None), "needs a bound"),
        (lambda: ClassConditionalGaussian(0, 4), "1 or more"),
        (lambda: ClassConditionalGaussian(3, 4).sample(1, 3), "between 0 and 2"),
        (lambda: ClassConditionalGaussian(3, 4).sample(1, -1), "between 0 and 2"),
        (lambda: ClassConditionalGaussian(3, 4).sample(2, torch.tensor([0])), "2 labels"),
        (lambda: ClassConditionalGaussian(3, 4).sample(1, torch.tensor([5])), "between 0 and 2"),
        (lambda: largest_std_dims(torch.ones(3), 0), "between 1 and 3"),
        (lambda: largest_std_dims(torch.ones(3), 4), "between 1 and 3"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
def test_largest_std_dims_are_the_largest(values, data):
    k = data.draw(st.integers(1, len(values)))
    stds = torch.tensor(values, dtype=torch.float)
    chosen = largest_std_dims(stds, k).tolist()
    assert chosen == sorted(chosen)
    rest = [values[i] for i in range(len(values)) if i not in chosen]
    assert min(values[i] for i in chosen) >= max(rest, default=0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
def test_coarse_dims_come_before_all_others(values, data):
    k = data.draw(st.integers(1, len(values)))
    coarse = data.draw(st.integers(0, len(values)))
    stds = torch.tensor(values, dtype=torch.float)
    chosen = largest_std_dims(stds, k, coarse).tolist()
    lifted = stds + 100 * (torch.arange(len(values)) >= len(values) - coarse)
    assert chosen == largest_std_dims(lifted, k).tolist()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 2**31))
def test_streamed_moments_are_those_of_the_whole(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(n, 3, generator=generator) + 100 for n in sizes]
    labels = [torch.randint(3, (n,), generator=generator) for n in sizes]
    moments = ClassMoments(3, 3)
    for z, y in zip(parts, labels, strict=True):
        moments.update(z, y)
    z, y = torch.cat(parts).double(), torch.cat(labels)
    for c in y.unique().tolist():
        assert torch.allclose(moments.mean[c], z[y == c].mean(0), atol=1e-10)
        assert torch.allclose(moments.std[c], z[y == c].std(0, correction=0), atol=1e-8)
    assert torch.allclose(moments.overall_std, z.std(0, correction=0), atol=1e-8)


def test_log_densities_are_those_of_torch():
    z = 1.5 * torch.randn(50, 9)
    active = z[:, ACTIVE]
    normal = Normal(0.0, 1.0).log_prob(active).sum(1)
    torch.testing.assert_close(ActiveGaussian(9, ACTIVE).log_prob(z), normal)
    uniform = Uniform(-2.0, 2.0, validate_args=False).log_prob(active).sum(1)
    assert uniform.isinf().any()
    assert uniform.isfinite().any()
    torch.testing.assert_close(ActiveUniform(9, ACTIVE).log_prob(z), uniform)
    prior = randomised(lambda: ClassConditionalGaussian(4, 9, ACTIVE))
    classes = Independent(Normal(prior.mean, prior.std), 1)
    torch.testing.assert_close(
        prior.log_prob(z, 2), Independent(Normal(prior.mean[2], prior.std[2]), 1).log_prob(active)
    )
    mixture = MixtureSameFamily(Categorical(torch.ones(4)), classes)
    torch.testing.assert_close(prior.log_prob(z), mixture.log_prob(active))
    torch.nn.init.zeros_(prior.std)
    assert prior.log_prob(z).isfinite().all()


def test_the_logistic_density_integrates_to_one():
    z = torch.linspace(-40, 40, 100_001, dtype=torch.float64).unsqueeze(1)
    density = ActiveLogistic(1).log_prob(z).exp()
    assert torch.trapezoid(density, z[:, 0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", REGISTRY.names())
def test_every_prior_starts_and_is_built_again_from_its_description(name):
    kind = REGISTRY[name]
    assert kind.Options().active_dims is None
    options = kind.Options(active_dims=3, bound=1.5)
    prior = kind.start(options, 9, ACTIVE, num_classes=2 if kind.class_conditional else 1)
    assert prior.num_classes == (2 if kind.class_conditional else 1)
    assert prior.bound == 1.5
    again = kind.build(prior.describe(), 9)
    assert type(again) is kind
    assert again.describe() == prior.describe()
    again.load_state_dict(prior.state_dict())
    z = [p.sample(4, generator=torch.Generator().manual_seed(0)) for p in (prior, again)]
    assert torch.equal(*z)
    assert prior.log_prob(z[0]).shape == (4,)


@pytest.mark.parametrize("dim", [-64, 0])
def test_a_prior_of_no_dimension_is_refused(dim):
    with pytest.raises(ValueError, match=f"dim must be 1 or more and is {dim}"):
        ActiveGaussian(dim)


@pytest.mark.parametrize("make", PRIORS)
def test_a_seed_in_place_of_a_generator_is_answered_with_what_to_write(make):
    with pytest.raises(TypeError, match=r"is 3; a seed becomes one by torch\.Generator"):
        make().sample(2, generator=3)


def test_active_dimensions_may_be_any_sequence():
    for dims in ([3, 1], (3, 1), range(3, 0, -2), np.array([3, 1]), torch.tensor([3, 1])):
        prior = ActiveGaussian(4, dims)
        assert prior.active_dims.tolist() == [3, 1]
        assert prior.active_dims.dtype == torch.int64


@pytest.mark.parametrize("name", REGISTRY.names())
def test_the_default_of_the_constructor_is_that_of_the_options(name):
    prior = REGISTRY[name]
    bound = inspect.signature(prior).parameters["bound"].default
    assert bound == prior.Options.model_fields["bound"].default


def test_distributions_of_double_precision_are_drawn_from():
    for prior in (FlowPrior(2, 4, layers=2, hidden=4), FlowMatchingPrior(2, 4, layers=1, hidden=4)):
        drawn = prior.double().distribution(0).sample((3,))
        assert drawn.dtype == torch.float64
        assert drawn.shape == (3, 4)


def test_a_mixture_of_what_cannot_be_differentiated_says_so():
    normal = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
    poisson = Independent(Poisson(torch.ones(2)), 1)
    assert EqualMixture([normal, normal]).has_rsample
    assert not EqualMixture([normal, poisson]).has_rsample


def test_other_latents_are_told():
    prior = ActiveGaussian(9, ACTIVE)
    for z in (torch.rand(4, 3), torch.rand(4, 10), torch.rand(9)):
        for ask in (prior.log_prob, prior.clamp, prior.restrict):
            with pytest.raises(ValueError, match=r"latents must be of shape \(N, 9\)"):
                ask(z)


def test_a_number_of_active_dimensions_is_no_list_of_them():
    with pytest.raises(TypeError, match=r"got 8; give a list or a range"):
        ActiveGaussian(64, 8)


def test_a_distribution_of_single_numbers_is_told():
    class Alone(ActiveGaussian):
        def distribution(self, label=None):
            return Normal(torch.zeros(3), torch.ones(3))

    with pytest.raises(ValueError, match=r"Independent\(distribution, 1\)"):
        Alone(9, ACTIVE).log_prob(torch.rand(4, 9))


def test_a_name_is_registered_and_not_a_class():
    with pytest.raises(TypeError, match=r"takes the name of a prior"):

        @REGISTRY.register
        class Alone(ActiveGaussian):
            pass
