"""Several threads use one chain: each gets what it would have got alone."""

import sys
import threading

import pytest
import torch
from torch import nn

from genrev.models import GenerativeModel
from genrev.models.inference import inference
from genrev.networks import RevNet, RevNetConfig
from genrev.priors import ActiveGaussian
from genrev.reversible import AdditiveCoupling, AffineCoupling, ReversibleSequential

ROUNDS = 6


@pytest.fixture(autouse=True)
def _interleaved():
    """Threads take turns after every few instructions, so that each sees the others' half-work."""
    interval, threads = sys.getswitchinterval(), torch.get_num_threads()
    sys.setswitchinterval(1e-6)
    torch.set_num_threads(1)
    yield
    sys.setswitchinterval(interval)
    torch.set_num_threads(threads)


def network(channels, outputs=None, *extra):
    outputs = outputs or channels
    return nn.Sequential(nn.Conv2d(channels, 4, 1), nn.ReLU(), *extra, nn.Conv2d(4, outputs, 1))


def chain_of(*extra, affine=False, **options):
    blocks = [AdditiveCoupling(network(2, 2, *extra), network(2, 2, *extra)) for _ in range(3)]
    if affine:
        blocks.append(AffineCoupling(network(2, 4), network(2, 4), 4))
    return ReversibleSequential(*blocks, **options).double()


def together(*works):
    """Run them at the same time; raise what the first of them raised."""
    errors = []

    def guarded(work):
        try:
            work()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def train(chain, x):
    for _ in range(ROUNDS):
        chain(x).square().sum().backward()


OPTIONS = [
    {"memory": "stored"},
    {"memory": "reversible"},
    {"memory": "reversible", "exact": True},
    {"memory": "reversible", "affine": True},
]


@pytest.mark.parametrize("hooks", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_threads_that_train_give_the_sum_of_their_gradients(options, hooks):
    chain = chain_of(**options)
    parameters = list(chain.parameters())
    if hooks:
        for parameter in parameters:
            parameter.register_hook(lambda grad: 2 * grad)
    batches = list(torch.rand(4, 2, 4, 2, 2, dtype=torch.float64))
    for x in batches:
        train(chain, x)
    expected = [p.grad.clone() for p in parameters]
    chain.zero_grad()
    together(*(lambda x=x: train(chain, x) for x in batches))
    assert all(a is b for a, b in zip(parameters, chain.parameters(), strict=True))
    torch.testing.assert_close([p.grad for p in parameters], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("hooks", [False, True])
def test_a_thread_that_decodes_does_not_see_that_another_trains(exact, hooks):
    chain = chain_of(memory="reversible", exact=exact)
    if hooks:
        chain[1].f[0].weight.register_hook(lambda grad: grad)
    x, z = torch.rand(2, 2, 4, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        expected = chain.inverse(z)
    seen = []

    def look():
        with torch.no_grad():
            for _ in range(3 * ROUNDS):
                assert torch.equal(chain.inverse(z), expected)
                seen.append(all(isinstance(p, nn.Parameter) for p in chain.parameters()))

    together(look, lambda: train(chain, x), lambda: train(chain, x))
    assert all(seen)


def test_the_mode_at_the_backward_pass_is_nobody_elses_business():
    """A replay in training mode leaves the chain, which was put into evaluation mode, as it is."""
    modes = []

    class Watched(nn.Conv2d):
        def forward(self, x):
            modes.append((self.training, chain.training, chain[0].f.training))
            return super().forward(x)

    chain = ReversibleSequential(AdditiveCoupling(Watched(2, 2, 1), Watched(2, 2, 1)))
    loss = chain(torch.rand(2, 4, 2, 2)).square().sum()
    chain.eval()
    modes.clear()
    loss.backward()
    assert modes == [(True, False, False)] * 2


def test_threads_that_look_at_a_model_leave_it_in_its_mode():
    net = RevNet(
        RevNetConfig(image_size=4, channels=1, hidden_channels=(2,), blocks=(1,), kernel_sizes=(1,))
    )
    model = GenerativeModel(net, ActiveGaussian(16))
    first, second = threading.Event(), threading.Event()

    def come_first():
        with inference(model):
            first.set()
            second.wait(10)

    def go_last():
        first.wait(10)
        with inference(model):
            second.set()
            thread.join()
            assert not any(module.training for module in model.modules())

    thread = threading.Thread(target=come_first)
    thread.start()
    go_last()
    assert all(module.training for module in model.modules())


def test_dropout_is_repeated_or_the_disturbance_is_told():
    """All threads draw from one generator: another mask would be another gradient, silently."""
    chain = chain_of(nn.Dropout(0.5), memory="reversible")
    x = torch.rand(2, 4, 2, 2, dtype=torch.float64)

    class Disturbed(nn.Module):
        disturb = False

        def forward(self, x):
            if Disturbed.disturb:
                thread = threading.Thread(target=lambda: torch.rand(3))
                thread.start()
                thread.join()
            return x

    chain[1].f.insert(0, Disturbed())
    for first_run in (True, False):
        Disturbed.disturb = first_run
        loss = chain(x).square().sum()
        Disturbed.disturb = not first_run
        with pytest.raises(RuntimeError, match=r"another thread drew .* memory='stored'"):
            loss.backward()
    Disturbed.disturb = False
    chain(x).square().sum().backward()


def test_who_draws_nothing_is_not_disturbed():
    chain = chain_of(memory="reversible")
    loss = []

    class Noisy(nn.Module):
        def forward(self, x):
            if not loss:
                torch.rand(3)  # as another thread might
            return x

    chain[1].f.insert(0, Noisy())
    loss.append(chain(torch.rand(2, 4, 2, 2, dtype=torch.float64)).square().sum())
    loss[0].backward()
    assert chain[0].f[0].weight.grad is not None
