"""All candidates of the training benchmark take the same steps; how fast is not for a test."""

import json

import pytest
import torch

from genrev.bench import train
from genrev.networks import RevNet, RevNetConfig

SMALL = RevNetConfig(
    image_size=16, channels=1, hidden_channels=(4, 4), blocks=(1, 1), kernel_sizes=(3, 3)
)


def trained(candidate, phase, monkeypatch):
    """Weights of a candidate before and after three calls of its step."""
    models = []
    build = train.Step

    def remembered(model, *args, **options):
        models.append(model)
        return build(model, *args, **options)

    monkeypatch.setattr(train, "Step", remembered)
    torch.manual_seed(0)
    x = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    net = RevNet(SMALL)
    step = train._step(net, candidate, phase, x)
    for _ in range(3):
        step()
    return [torch.cat([p.detach().flatten() for p in n.parameters()]) for n in (net, models[0].net)]


@pytest.mark.parametrize("phase", ["reconstruction", "adversarial"])
def test_candidates_end_with_the_same_weights(monkeypatch, phase):
    weights = {name: trained(c, phase, monkeypatch) for name, c in train._CANDIDATES.items()}
    start, expected = weights["authors"]
    moved = (expected - start).abs().mean()
    assert moved > 0
    for name, (_, value) in weights.items():
        # Adam's first steps are signs of gradients, and a tiny gradient may change its sign.
        assert (value - expected).abs().mean() < (0.3 if "bf16" in name else 0.05) * moved, name


def test_result_is_json_and_text():
    result = train.run(repeats=1, batch=2, config=SMALL)
    assert json.loads(json.dumps(result, allow_nan=False))
    assert result["phases"]["adversarial"]["authors"]["ratio"] == 1
    assert "genrev exact, bf16" in train.format_result(result)
