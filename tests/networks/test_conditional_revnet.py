"""A RevNet that is told a class, features or a map beside the image."""

import pytest
import torch
from torch.nn import functional

from genrev.networks import RevNet
from genrev.networks.revnet import PRESETS, RevNetConfig
from genrev.reversible import Engine, round_to_grid

SMALL = RevNetConfig(
    image_size=6, channels=1, padding=1, hidden_channels=(6, 8), blocks=(2, 1),
    kernel_sizes=(3, 3), context=3, centred=True, bands="haar",
)  # fmt: skip
FLOW = SMALL.replace(image_size=4, padding=0, coupling="affine", scaling=True)
CONTEXTS = {
    "classes": lambda net: torch.tensor([2, 0, 1, 2]),
    "features": lambda net: torch.randn(4, 3),
    "maps": lambda net: torch.randn(4, 3, *net.image_shape[1:]),
}


def images(net, n=4):
    return torch.rand(n, *net.image_shape)


@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("factor_out", [False, True])
def test_decoding_with_the_same_context_inverts(kind, factor_out):
    net = RevNet(SMALL.replace(factor_out=factor_out))
    x, context = images(net), CONTEXTS[kind](net)
    z = net.encode(x, context)
    torch.testing.assert_close(net.decode(z, context), x, rtol=0, atol=1e-5)
    assert (net.decode(z, context.roll(1, 0)) - x).abs().max() > 1e-3


def test_a_class_is_its_feature_and_one_class_will_do_for_all():
    net = RevNet(SMALL)
    x = images(net)
    z = net.encode(x, torch.tensor([1, 1, 1, 1]))
    assert torch.equal(z, net.encode(x, functional.one_hot(torch.tensor([1] * 4), 3).float()))
    assert torch.equal(z, net.encode(x, torch.tensor(1)))


def test_a_map_acts_where_it_is():
    """What changes in one corner of a map changes nothing in the opposite one."""
    config = SMALL.replace(
        image_size=32, padding=0, hidden_channels=(6,), blocks=(1,), kernel_sizes=(3,)
    )
    net = RevNet(config)
    x, context = images(net, 1), torch.zeros(1, 3, 32, 32)
    changed = context.clone()
    changed[..., :4, :4] = 1
    far = net.encode(x, context).view(4, 16, 16) - net.encode(x, changed).view(4, 16, 16)
    assert far[:, :2, :2].abs().min() > 0
    assert far[:, 8:, 8:].abs().max() == 0


@pytest.mark.parametrize("kind", ["features", "maps"])
@pytest.mark.parametrize("config", [SMALL, FLOW])
def test_reversible_gradients_are_the_stored_ones(config, kind):
    stored = RevNet(config, Engine(memory="stored")).double()
    reversible = RevNet(config).double()
    reversible.load_state_dict(stored.state_dict())
    x, context = images(stored).double(), CONTEXTS[kind](stored).double()
    found = []
    for net in (stored, reversible):
        given = context.clone().requires_grad_()
        loss = (net.decode(0.5 * net.encode(x, given), given) - x).abs().mean()
        if net.bijective:
            loss = loss + net.encode_with_log_det(x, given)[1].cos().sum()
        found.append(torch.autograd.grad(loss, (given, *net.parameters())))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() <= 1e-9 * theirs.norm()
    assert found[0][0].abs().min() > 0


def test_exact_bit_for_bit():
    net = RevNet(SMALL, Engine(exact=True))
    x = round_to_grid(images(net))
    for kind in CONTEXTS:
        context = CONTEXTS[kind](net)
        assert torch.equal(net.decode(net.encode(x, context), context), x)


def test_log_determinants_are_those_of_the_jacobian():
    net = RevNet(FLOW).double()
    torch.nn.init.normal_(net.scaling.log_scale)
    x, labels = images(net).double(), torch.tensor([2, 0, 1, 2])
    _, log_det = net.encode_with_log_det(x, labels)
    for image, label, found in zip(x, labels, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda flat, label=label: net.encode(flat.view(1, 1, 4, 4), label[None])[0],
            image.flatten(),
        )
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], found)


def test_it_builds_and_runs_on_the_meta_device():
    with torch.device("meta"):
        net = RevNet(PRESETS["digits"].replace(context=10))
        z = net.encode(torch.empty(5, 1, 8, 8), torch.empty(5, dtype=torch.int64))
    assert z.shape == (5, 64)


def test_without_a_context_nothing_is_added():
    torch.manual_seed(0)
    plain = RevNet(PRESETS["digits"]).state_dict()
    conditional = RevNet(PRESETS["digits"].replace(context=10)).state_dict()
    assert {name: t.shape for name, t in plain.items()} == {
        name: t.shape for name, t in conditional.items() if not name.endswith("context.weight")
    }


SENTENCES = [
    (None, ValueError, r"takes a context and got none; give classes \(N,\) below 3, or floats"),
    ([1, 2, 0, 0], TypeError, r"takes a context and got \[1, 2, 0, 0\]; give classes"),
    (torch.rand(4, 2), ValueError, r"got torch.float32 of shape \(4, 2\) for 4 images; give"),
    (torch.rand(3, 3), ValueError, r"of shape \(3, 3\) for 4 images; give classes \(N,\) below 3"),
    (torch.rand(4, 3, 8, 8), ValueError, r"or floats \(N, 3\) or \(N, 3, 6, 6\)\.$"),
    (torch.ones(4, 1).long(), ValueError, r"got torch.int64 of shape \(4, 1\) for 4 images"),
    (torch.tensor([0, 1, 3, 0]), ValueError, r"labels from 0 to 3, and the network knows .* 2\.$"),
]


@pytest.mark.parametrize(("context", "error", "sentence"), SENTENCES)
def test_what_is_no_context_is_told_in_one_sentence(context, error, sentence):
    net = RevNet(SMALL)
    for run in (
        lambda: net.encode(images(net), context),
        lambda: net.decode(torch.rand(4, 64), context),
    ):
        with pytest.raises(error, match=sentence):
            run()


def test_a_network_without_takes_none():
    net = RevNet(SMALL.replace(context=0))
    with pytest.raises(ValueError, match=r"takes no context; leave it out, or build it with one\."):
        net.encode(images(net), torch.tensor([0, 1, 2, 0]))
