"""Reversible networks on vectors: round trips, densities, gradients, memory, conditions, errors."""

import copy
import itertools

import pytest
import torch
from kept_memory import kept_bytes
from torch import nn
from torch.distributions import Independent, Laplace, Normal

import genrev
from genrev.options import OptionError
from genrev.reversible import Engine, round_to_grid

KINDS = [
    pytest.param(dict(zip(("coupling", "mixing", "features", "context"), options, strict=True)))
    for options in itertools.product(
        ("additive", "affine"), ("rotation", "permutation"), (4, 5), (0, 3)
    )
]


def config(**options):
    return genrev.VectorFlowConfig(**{"features": 4, "couplings": 3, "hidden": 7} | options)


def built(memory="reversible", **options):
    """A network far from the identity, in float64, with vectors and their context."""
    torch.manual_seed(0)
    flow = genrev.VectorFlow(config(**options), engine=Engine(memory=memory)).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(6, flow.config.features, dtype=torch.float64)
    told = torch.randn(6, flow.config.context, dtype=torch.float64) if flow.config.context else None
    return flow, x, told


@pytest.mark.parametrize("options", KINDS)
def test_decoding_undoes_encoding(options):
    flow, x, told = built(**options)
    z = flow.encode(x, told)
    assert (z - x).abs().mean() > 0.1
    torch.testing.assert_close(flow.decode(z, told), x, rtol=0, atol=1e-10)
    torch.testing.assert_close(flow.encode(flow.decode(x, told), told), x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("options", KINDS)
def test_log_determinants_are_those_of_the_jacobian(options):
    flow, x, told = built(**options)
    z, log_det = flow.encode_with_log_det(x, told)
    torch.testing.assert_close(z, flow.encode(x, told))
    for row, number in enumerate(log_det):
        given = None if told is None else told[row]
        jacobian = torch.autograd.functional.jacobian(
            lambda one, given=given: flow.encode(one[None], given)[0], x[row]
        )
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, number)


@pytest.mark.parametrize("options", KINDS)
def test_gradients_are_the_stored_ones(options):
    found = []
    for memory in ("reversible", "stored"):
        flow, x, told = built(memory, **options)
        inputs = [t.requires_grad_() for t in (x, told) if t is not None]
        loss = flow.log_prob(x, told).square().sum() + flow.decode(x, told).cos().sum()
        found.append(torch.autograd.grad(loss, [*inputs, *flow.parameters()]))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def likelihood(flow, x):
    return flow.log_prob(x).sum()


@pytest.mark.parametrize("features", [4, 5])
def test_memory_does_not_grow_with_the_depth(features):
    x, kept = torch.randn(100, features), {}
    for memory, couplings in itertools.product(("reversible", "stored"), (2, 20)):
        shape = config(features=features, couplings=couplings)
        flow = genrev.VectorFlow(shape, engine=Engine(memory=memory))
        kept[memory, couplings] = kept_bytes(likelihood, flow, x)
    assert kept["reversible", 20] == kept["reversible", 2] < 10 * x.nbytes
    assert kept["stored", 20] > 5 * kept["stored", 2]


@pytest.mark.parametrize("mixing", ["rotation", "permutation"])
@pytest.mark.parametrize("features", [2, 3, 4, 5, 7, 8])
def test_every_feature_reaches_every_latent(mixing, features):
    flow, x, _ = built(features=features, mixing=mixing, couplings=5)
    jacobian = torch.autograd.functional.jacobian(lambda x: flow.encode(x).sum(0), x)
    assert (jacobian.abs().amax(1) > 0).all()


def test_the_density_integrates_to_one():
    flow, *_ = built(features=2)
    flow.initialise_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64))
    with torch.no_grad():
        side = torch.linspace(-40, 40, 1601, dtype=torch.float64)
        log_prob = flow.log_prob(torch.cartesian_prod(side, side))
    assert float(log_prob.exp().sum() * 0.05**2) == pytest.approx(1, abs=0.01)


def test_it_begins_with_the_units_of_the_data():
    flow = genrev.VectorFlow(config(mixing="permutation"))
    x = torch.randn(500, 4) * torch.tensor([1e-3, 1.0, 10.0, 1e3]) + 7
    flow.initialise_(x)
    z = flow.encode(x)  # couplings begin as the identity
    torch.testing.assert_close(z.mean(0), torch.zeros(4), atol=1e-2, rtol=0)
    torch.testing.assert_close(z.std(0), torch.ones(4), atol=1e-2, rtol=0)


def test_samples_follow_the_prior_and_the_context():
    law = Independent(Laplace(torch.zeros(4), torch.ones(4)), 1)
    flow = genrev.VectorFlow(config(context=2, couplings=1), prior=law)
    x, classes = torch.randn(3, 4), torch.tensor([0, 1, 0])
    torch.testing.assert_close(flow.log_prob(x, classes), law.log_prob(x))  # the identity
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    hot = nn.functional.one_hot(classes, 2).float()
    torch.testing.assert_close(flow.log_prob(x, classes), flow.log_prob(x, hot))
    drawn = []
    for context in (classes, hot, torch.tensor(0), torch.tensor([1.0, 0.0])):
        torch.manual_seed(1)
        drawn.append(flow.sample(3, context))
    torch.testing.assert_close(drawn[0], drawn[1])
    torch.testing.assert_close(drawn[2], drawn[3])
    torch.testing.assert_close(drawn[0][::2], drawn[2][::2])
    assert (drawn[0][1] - drawn[2][1]).abs().max() > 1e-3
    assert not flow.sample(3, classes).requires_grad
    assert flow.rsample(3, classes).requires_grad


def test_priors_that_learn_are_part_of_it():
    zuko = pytest.importorskip("zuko", reason="zuko is not installed (extra flows)")
    flow = genrev.VectorFlow(config(couplings=1), prior=zuko.flows.MAF(4, hidden_features=(8,)))
    flow.log_prob(torch.randn(5, 4)).sum().backward()
    assert all(p.grad is not None for p in flow.prior.parameters())
    assert flow.sample(3).shape == (3, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_bit_for_bit(dtype):
    fixed = {"coupling": "additive", "mixing": "permutation", "scaling": False}
    flow, x, told = built(**fixed, context=3)
    flow.to(dtype).set_engine(Engine(exact=True))
    x, told = round_to_grid(x.to(dtype)), told.to(dtype)
    assert torch.equal(flow.decode(flow.encode(x, told), told), x)


def test_saved_and_loaded(tmp_path):
    flow, x, _ = built()
    torch.save(flow.state_dict(), tmp_path / "flow.pt")
    other = genrev.VectorFlow(genrev.VectorFlowConfig(**flow.config.plain())).double()
    assert not torch.equal(other.log_prob(x), flow.log_prob(x))
    other.load_state_dict(torch.load(tmp_path / "flow.pt", weights_only=True))
    assert torch.equal(other.log_prob(x), flow.log_prob(x))
    assert torch.equal(copy.deepcopy(flow).log_prob(x), flow.log_prob(x))


def test_what_does_not_fit_is_one_sentence():
    plain, told = genrev.VectorFlow(config()), genrev.VectorFlow(config(context=3))
    x = torch.randn(2, 4)
    fixed = {"coupling": "additive", "mixing": "permutation", "scaling": False}
    wrong = {"coupling": "affine", "mixing": "rotation", "scaling": True, "features": 5}
    for name, value in wrong.items():
        with pytest.raises(OptionError, match=r"^Exact arithmetic needs an even .* out\.$"):
            genrev.VectorFlow(config(**fixed | {name: value}), engine=Engine(exact=True))
    with pytest.raises(OptionError, match="features takes a whole number of 2 or more"):
        config(features=1)
    with pytest.raises(ValueError, match=r"event shape \(4,\).*has \(\) and \(4,\).*Independent"):
        genrev.VectorFlow(config(), prior=Normal(torch.zeros(4), torch.ones(4)))
    with pytest.raises(ValueError, match=r"and has \(4,\) and \(3,\); give one of vectors"):
        genrev.VectorFlow(config(), prior=Independent(Normal(torch.zeros(3, 4), 1.0), 1))
    with pytest.raises(ValueError, match=r"takes none as its context and got torch.float32"):
        plain.encode(x, torch.randn(2, 3))
    for context, got in ((None, "none"), (torch.randn(2, 4), "torch.float32")):
        with pytest.raises(ValueError, match=rf"classes below 3, .* and got {got}"):
            told.log_prob(x, context)
    with pytest.raises(ValueError, match=r"labels from 0 to 3"):
        told.sample(2, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=r"vectors must be of shape \(N, 4\)"):
        plain.log_prob(torch.randn(2, 3))
    with pytest.raises(TypeError, match=r"vectors must be floats and are torch.int64; give their"):
        plain.encode(torch.ones(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="latents must be of shape"):
        plain.decode(torch.randn(2, 3))
    for flow, vectors in ((plain, x[:1]), (genrev.VectorFlow(config(scaling=False)), x)):
        with pytest.raises(ValueError, match="initialise_ takes two vectors or more"):
            flow.initialise_(vectors)


def test_what_is_no_vector_flow_is_told():
    flow = genrev.VectorFlow(genrev.VectorFlowConfig(features=2))
    for call, told in (
        (lambda: genrev.VectorFlow(2), "takes a VectorFlowConfig"),
        (lambda: genrev.VectorFlow(flow.config, "gaussian"), "must be a distribution"),
        (lambda: flow.sample("5"), "n must be a whole number"),
        (lambda: flow.initialise_(torch.ones(10, 2).numpy()), "must be a torch tensor"),
    ):
        with pytest.raises(TypeError, match=told):
            call()
    with pytest.raises(ValueError, match=r"vectors must be of shape \(N, 2\)"):
        flow.initialise_(torch.rand(10, 3))
