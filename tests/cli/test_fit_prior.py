"""genrev fit-prior as a user types it."""

import json

import pytest
import torch
from spoken import spoken

import genrev
from genrev.cli.main import main
from genrev.priors import GaussianMixturePrior

TRAIN = [
    "--trainer.max_steps", "12", "--trainer.progress", "false", "--trainer.threads", "1",
    "--batch_size", "40", "--prior.active_dims", "6", "--trainer.accelerator", "cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit") / "run"
    assert main(["train", "digits", *TRAIN, "--out", str(folder)]) == 0
    return folder


def test_the_new_model_is_a_run_to_all_commands(capsys, tmp_path, run):
    before = {path: path.read_bytes() for path in run.glob("*.*") if path.is_file()}
    assert main(["fit-prior", str(run), "--components", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    folder = run / "prior-mixture"
    assert printed["folder"] == str(folder)
    assert printed["images"] == 1500
    assert {path: path.read_bytes() for path in before} == before
    model, original = genrev.load(folder), genrev.load(run)
    assert isinstance(model.prior, GaussianMixturePrior)
    assert model.class_names == original.class_names
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(model.encode(x), original.encode(x))
    assert torch.equal(model.prior.active_dims, original.prior.active_dims)
    # It finds the data of the run it lies in.
    assert main(["evaluate", str(folder), "-n", "100", "--metrics", "frechet,latent"]) == 0
    assert main(["traverse", str(folder), "--label", "3", "--out", str(tmp_path / "t.png")]) == 0
    assert main(["sample", str(folder), "-n", "10", "--out", str(tmp_path / "s.png")]) == 0
    # Another fit takes its place.
    assert main(["fit-prior", str(run), "--components", "1", "--covariance", "diag"]) == 0
    assert genrev.load(folder).prior.components == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--components", "0"], "--components must be 1 or more"),
        (["--components", "100"], "use --components 20 or fewer"),
        (["--out", "RUN"], "kept as it is"),
        (["--data", "mnist-of-another-shape"], "mnist-of-another-shape"),
    ],
    ids=" ".join,
)
def test_mistakes_get_one_sentence(capsys, run, arguments, message):
    arguments = [str(run) if word == "RUN" else word for word in arguments]
    assert main(["fit-prior", str(run), *arguments]) == 2
    _, err = spoken(capsys)
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_shipped_model_needs_a_place(capsys):
    assert main(["fit-prior", "mnist"]) == 2
    assert "--out FOLDER" in capsys.readouterr().err
