"""The encodings of past batches that take part in the transport."""

import pytest
import torch
from run_files import config_of

from genrev.training import METHODS, train


def memory_of(batches):
    return METHODS["transport"](transport="debiased", transport_memory=batches)


def batches(count, points=6):
    return [torch.randn(10, points, 4) + 100 * i for i in range(count)]


@pytest.mark.parametrize("memory", [0, 1, 3])
def test_the_last_batches_take_part_and_older_ones_do_not(memory):
    method = memory_of(memory)
    fresh = batches(6)
    for i, batch in enumerate(fresh):
        points = method._with_memory(batch)
        expected = torch.cat(fresh[max(0, i - memory) : i + 1], dim=1)
        assert torch.equal(points.sort(dim=1).values, expected.sort(dim=1).values)


def test_either_half_has_as_many_fresh_points():
    method = memory_of(2)
    first, second, third = batches(3)
    method._with_memory(first)
    method._with_memory(second)
    for half in method._with_memory(third).chunk(2, dim=1):
        assert (half > 150).all(dim=2).sum(dim=1).tolist() == [3] * 10


def test_a_fresh_point_is_pulled_as_much_as_without_memory():
    """A mean over all points has the gradient 1 / fresh points at every fresh one."""
    method = memory_of(3)
    for batch in batches(3):
        method._with_memory(batch)
    fresh = torch.randn(10, 6, 4, requires_grad=True)
    points = method._with_memory(fresh)
    assert points.shape == (10, 24, 4)
    points.mean(dim=1).sum().backward()
    assert torch.allclose(fresh.grad, torch.full_like(fresh, 1 / 6))


def test_standard_deviations_stop_at_zero(tmp_path):
    config = config_of(
        batch_size=40, prior={"active_dims": 4, "lr": 10.0}, trainer={"max_steps": 3}
    )
    std = train(config, tmp_path / "run").prior.std
    assert (std >= 0).all()
    assert (std == 0).any()  # where the step went past it
