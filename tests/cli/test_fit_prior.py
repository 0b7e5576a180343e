"""genrev fit-prior as a user types it."""

import json
import sys

import pytest
import torch
from spoken import spoken

import genrev
from genrev.cli.main import main
from genrev.priors import PRIORS, GaussianMixturePrior

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
    capsys.readouterr()
    # Another fit takes its place, and says so.
    assert main(["fit-prior", str(run), "--components", "1", "--covariance", "diag"]) == 0
    assert f"is in {folder}, in place of the one before. Next" in capsys.readouterr().out
    assert genrev.load(folder).prior.components == 1


@pytest.mark.parametrize("kind", ["flow", "flow-matching"])
def test_a_flow_is_a_run_to_all_commands_and_tells_how_well_it_fits(capsys, tmp_path, run, kind):
    small = ["--kind", kind, "--layers", "2", "--hidden", "8", "--steps", "30"]
    assert main(["fit-prior", str(run), *small, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    folder = run / f"prior-{kind}"
    assert (printed["folder"], printed["kind"]) == (str(folder), kind)
    # Likelihood is what splines learn by; the other tells an estimate of it.
    assert printed["held_out_log_prob"] >= printed["held_out_gaussian"] - (kind != "flow")
    model = genrev.load(folder)
    assert PRIORS.name_of(type(model.prior)) == kind
    assert model.prior.describe() == {**model.prior.describe(), "layers": 2, "hidden": 8}
    assert torch.equal(model.prior.active_dims, genrev.load(run).prior.active_dims)
    assert model.info[kind]["held_out_log_prob"] == printed["held_out_log_prob"]
    assert main(["evaluate", str(folder), "-n", "100", "--metrics", "frechet,latent"]) == 0
    assert main(["traverse", str(folder), "--label", "3", "--out", str(tmp_path / "t.png")]) == 0
    draw = ["sample", str(folder), "-n", "10", "--seed", "4", "--out"]
    for name in ("one.png", "two.png"):
        assert main([*draw, str(tmp_path / name)]) == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (
        main(["export", str(folder), "--direction", "sample", "--to", str(tmp_path / "s.pt2")]) == 0
    )
    # Another fit takes its place, and a mixture another one.
    capsys.readouterr()
    assert main(["fit-prior", str(run), *small[:-1], "1"]) == 0
    told = capsys.readouterr().out
    assert "held-out log-likelihood" in told
    assert "nats a dimension" in told


def test_a_fitted_prior_can_be_fitted_again(capsys, tmp_path, run):
    first, second = tmp_path / "mixture", tmp_path / "flow"
    mixture = ["--components", "1", "--covariance", "diag", "--out", str(first)]
    assert main(["fit-prior", str(run), *mixture]) == 0
    flow = ["--kind", "flow", "--layers", "1", "--hidden", "4", "--steps", "1"]
    assert main(["fit-prior", str(first), "--data", "digits", *flow, "--out", str(second)]) == 0
    assert "mixture" not in genrev.load(second).info
    assert genrev.load(second).info["flow"]["layers"] == 1


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (["--components", "2"], "Fitted 2 Gaussians with full covariances to 1,500 encodings"),
        (
            ["--kind", "flow", "--layers", "1", "--hidden", "4", "--steps", "1"],
            "nats a dimension (one Gaussian: ",
        ),
    ],
    ids=["mixture", "flow"],
)
def test_a_model_without_classes_is_told_of_none(capsys, tmp_path, kind, told):
    prior = genrev.priors.ActiveGaussian(64, torch.arange(4))
    genrev.GenerativeModel(genrev.revnet("digits"), prior).save_pretrained(tmp_path / "model")
    line = ["fit-prior", str(tmp_path / "model"), "--data", "digits", *kind]
    assert main([*line, "--out", str(tmp_path / "fitted")]) == 0
    assert told in capsys.readouterr().out


def test_encodings_beyond_the_clamp_are_told(capsys, tmp_path, run):
    model = genrev.load(run)
    model.prior.bound = 0.01
    model.save_pretrained(tmp_path / "tight")
    line = ["fit-prior", str(tmp_path / "tight"), "--data", "digits", "--components", "1"]
    assert main([*line, "--out", str(tmp_path / "fitted")]) == 0
    with torch.no_grad():
        z = model.prior.restrict(model.encode(genrev.load_images("digits").tensor(range(1500))))
    share = float((z.abs() > 0.01).double().mean())
    assert (
        f"{share:.1%} of the numbers in these encodings lie beyond ±0.01" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "flow", "--components", "3"], "--components belongs to --kind mixture"),
        (
            ["--layers", "3"],
            "--layers belongs to --kind flow or flow-matching; leave it",
        ),
        (["--kind", "flow", "--seed", "-1"], "--seed: must lie between 0 and 2^32 - 1 and is -1"),
        (["--kind", "flow", "--steps", "0"], "--steps must be 1 or more"),
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


def test_without_zuko_nothing_is_encoded(capsys, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    assert main(["fit-prior", str(run), "--kind", "flow"]) == 2
    _, err = spoken(capsys)
    assert err.strip().endswith('add it with `pip install "genrev[flows]"`.')
    assert len(err.strip().splitlines()) == 1


def test_a_shipped_model_needs_a_place(capsys):
    assert main(["fit-prior", "mnist"]) == 2
    assert "--out FOLDER" in capsys.readouterr().err
