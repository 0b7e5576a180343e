"""Small sheets of samples are kept through training, from before the first step on."""

import torch

from genrev.data import DataConfig
from genrev.figures import stored_sheets
from genrev.figures.progress import _read_sheet
from genrev.models import load
from genrev.training import EngineConfig, RunConfig, TrainerConfig, TransportConfig, train


def run(folder, every):
    config = RunConfig(
        batch_size=40,
        data=DataConfig(source="digits"),
        model=TransportConfig(network="digits", active_dims=6, reconstruction_weight=1.0),
        engine=EngineConfig(memory="stored"),
        trainer=TrainerConfig(
            max_steps=6, accelerator="cpu", threads=1, progress=False, sample_every=every
        ),
    )
    train(config, folder)
    return folder


def test_sheets_show_the_same_noise_from_the_untrained_to_the_trained_model(tmp_path):
    folder = run(tmp_path / "run", every=2)
    sheets = stored_sheets(folder / "samples")
    assert list(sheets) == [0, 2, 4, 6]
    last, _ = _read_sheet(sheets[6])
    expected = load(folder).sample(len(last), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(last, expected, rtol=0, atol=0.5 / 255 + 1e-6)
    first, _ = _read_sheet(sheets[0])
    assert not torch.equal(first, last)


def test_drawing_changes_nothing_in_the_training(tmp_path):
    often, never = run(tmp_path / "often", 1), run(tmp_path / "never", 100)
    for a, b in zip(load(often).parameters(), load(never).parameters(), strict=True):
        assert torch.equal(a, b)
