"""Blocks of one's own: forward and inverse suffice, and what more they say is used."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from genrev.reversible import (
    AdditiveCoupling,
    Block,
    FixedPoint,
    ModuleBlock,
    ReversibleSequential,
    round_to_grid,
)


class Rotate(Block):
    """A permutation of ten lines: rotate the channels, and change the signs of all numbers."""

    is_permutation = True

    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, x):
        return -x.roll(self.by, 1)

    def inverse(self, y):
        return -y.roll(-self.by, 1)


class Shift(Block):
    """Preserves volume and grid, and leaves the rest to the base class."""

    preserves_volume = preserves_grid = True

    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.rand(4, 1, 1, dtype=torch.float64))

    def forward(self, x):
        return self._shifted(x, 1)

    def inverse(self, y):
        return self._shifted(y, -1)

    def _shifted(self, x, sign):
        if isinstance(x, FixedPoint):
            return x.shifted(self.by.square().expand(x.steps.shape), sign)
        return x + sign * self.by.square()


class Stretch(Block):
    """Says nothing of itself."""

    def forward(self, x):
        return 2 * x

    def inverse(self, y):
        return y / 2


class Measured(Stretch):
    """The same with a log-determinant."""

    def forward_with_log_det(self, x):
        return self(x), x.new_full((len(x),), x[0].numel() * torch.tensor(2.0).log().item())


def coupling():
    f, g = (nn.Sequential(nn.Conv2d(2, 3, 1), nn.Tanh(), nn.Conv2d(3, 2, 1)) for _ in "fg")
    return AdditiveCoupling(f, g)


def results(blocks, x, **options):
    """Output and gradients of a loss in both directions."""
    chain = ReversibleSequential(*blocks, **options).double()
    x = x.clone().requires_grad_()
    y = chain(x)
    loss = (y * y.detach().cos()).sum() + chain.inverse(0.9 * y).square().sum()
    parameters = list(chain.parameters())
    return [y.detach(), *torch.autograd.grad(loss, (x, *parameters), allow_unused=True)]


BLOCKS = {"permutation": Rotate, "shift": lambda _: Shift()}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", BLOCKS)
@given(by=st.integers(-4, 4), n=st.integers(1, 3), side=st.integers(1, 3))
@settings(max_examples=15)
def test_they_work_in_every_way_that_a_chain_is_run(name, exact, by, n, side):
    blocks = [coupling(), BLOCKS[name](by), coupling(), BLOCKS[name](by + 1)]
    x = round_to_grid(torch.rand(n, 4, side, side, dtype=torch.float64))
    ours = results(blocks, x, memory="reversible", exact=exact)
    stored = results(blocks, x, memory="stored", exact=exact)
    for a, b in zip(ours, stored, strict=True):
        assert torch.equal(a, b) if exact else torch.allclose(a, b, atol=1e-12)
    chain = ReversibleSequential(*blocks, exact=exact)
    y, log_det = chain.forward_with_log_det(x)
    assert torch.equal(y, chain(x))
    assert torch.equal(log_det, torch.zeros(n, dtype=torch.float64))
    back = chain.inverse(y)
    assert torch.equal(back, x) if exact else torch.allclose(back, x, atol=1e-12)


def test_a_permutation_says_all_there_is():
    assert (Rotate.preserves_volume, Rotate.preserves_grid) == (True, True)
    assert (Stretch.preserves_volume, Stretch.preserves_grid) == (False, False)


def test_a_permutation_is_never_run_for_its_gradient():
    seen = []

    class Watched(Rotate):
        def forward(self, x):
            seen.append(x.requires_grad)
            return super().forward(x)

    x = torch.rand(2, 4, 1, 1, requires_grad=True)
    ReversibleSequential(coupling(), Watched(1))(x).sum().backward()
    assert not any(seen)


def test_what_a_block_does_not_say_is_not_assumed():
    chain = ReversibleSequential(coupling(), Stretch())
    x = torch.rand(2, 4, 2, 2)
    assert torch.allclose(chain.inverse(chain(x)), x, atol=1e-6)
    with pytest.raises(TypeError, match=r"^The log-determinant of a Stretch is not known; set "):
        chain.forward_with_log_det(x)
    with pytest.raises(TypeError, match=r"fixed point, and block 1, a Stretch, does not say so"):
        ReversibleSequential(coupling(), Stretch(), exact=True)
    _, log_det = ReversibleSequential(coupling(), Measured(), Rotate(1)).forward_with_log_det(x)
    assert torch.allclose(log_det, torch.full((2,), 16 * torch.tensor(2.0).log().item()))


def test_a_block_without_an_inverse_cannot_be_made():
    class Half(Block):
        def forward(self, x):
            return x

    with pytest.raises(TypeError, match="inverse"):
        Half()


class Plain(nn.Module):
    """Knows nothing of genrev."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, x):
        return x * self.log_scale.exp()

    def inverse(self, y):
        return y / self.log_scale.exp()


def test_a_plain_module_is_wrapped_by_hand():
    x = torch.rand(3, 4, 2, 2, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"Block 1 is a Plain and no .*wrap .* in a ModuleBlock\.$"):
        ReversibleSequential(coupling(), Plain())
    blocks = [ModuleBlock(Plain()), coupling(), ModuleBlock(Plain())]
    ours, stored = (results(blocks, x, memory=memory) for memory in ("reversible", "stored"))
    for a, b in zip(ours, stored, strict=True):
        assert torch.allclose(a, b, atol=1e-12)
    with pytest.raises(TypeError, match="A ReLU has no inverse, so it is no block"):
        ModuleBlock(nn.ReLU())


def test_a_chain_is_a_block():
    first, second, third = coupling(), Rotate(1), coupling()
    x = torch.rand(3, 4, 2, 2, dtype=torch.float64)
    flat = results([first, second, third], x, memory="stored")
    for memory in ("reversible", "stored"):
        inner = ReversibleSequential(second, third, memory=memory)
        for a, b in zip(results([first, inner], x), flat, strict=True):
            assert torch.allclose(a, b, atol=1e-12)
        _, log_det = ReversibleSequential(inner, Measured()).forward_with_log_det(x)
        assert log_det.gt(0).all()
