"""All candidates of the training benchmark take the same steps; how fast is not for a test."""

import json

import pytest
import torch

from genrev.bench import train
from genrev.networks import RevNet, RevNetConfig

SMALL = RevNetConfig(
    image_size=16, channels=1, hidden_channels=(4, 4), blocks=(1, 1), kernel_sizes=(3, 3)
)


def trained(candidate, adversarial):
    torch.manual_seed(0)
    net = RevNet(SMALL)
    training = train._Training(net, candidate)
    x = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        if adversarial:
            training.discriminator_step(x)
        training.encoder_step(x, adversarial)
    return torch.cat([p.detach().flatten() for p in training.net.parameters()]), net


@pytest.mark.parametrize("adversarial", [False, True])
def test_candidates_end_with_the_same_weights(adversarial):
    weights = {name: trained(c, adversarial)[0] for name, c in train._CANDIDATES.items()}
    expected = weights["authors"]
    start = torch.cat(
        [p.detach().flatten() for p in trained(train._CANDIDATES["authors"], False)[1].parameters()]
    )
    moved = (expected - start).abs().mean()
    for name, value in weights.items():
        # Adam's first steps are signs of gradients, and a tiny gradient may change its sign.
        assert (value - expected).abs().mean() < (0.3 if "bf16" in name else 0.05) * moved, name


def test_result_is_json_and_text():
    result = train.run(repeats=1, batch=2, config=SMALL)
    assert json.loads(json.dumps(result, allow_nan=False))
    assert result["phases"]["adversarial"]["authors"]["ratio"] == 1
    assert "genrev exact, bf16" in train.format_result(result)
