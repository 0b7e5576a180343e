"""genrev compare as a user types it."""

import json
import shutil
from types import SimpleNamespace

import pytest
from PIL import Image
from spoken import spoken

import genrev
from genrev.cli.main import main
from genrev.evaluation import compare
from genrev.models import save
from genrev.priors import ActiveGaussian, GaussianMixturePrior

TRAIN = [
    "--trainer.max_steps", "12", "--trainer.progress", "false", "--trainer.threads", "1",
    "--batch_size", "40", "--prior.active_dims", "6", "--trainer.accelerator", "cpu",
]  # fmt: skip
FILES = ["compare.csv", "compare.json", "compare.md", "compare.png"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare") / "run"
    assert main(["train", "digits", *TRAIN, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def other(run, tmp_path):
    return shutil.copytree(run, tmp_path / "again")


def changed(run, folder, **changes):
    """The same model in a model folder, with other things known about it."""
    info = json.loads((run / "config.json").read_text())["info"]
    save(genrev.load(run), folder, {**info, **changes})
    return folder


def genrev_(capsys, *arguments):
    status = main([str(a) for a in arguments])
    return status, *spoken(capsys)


def test_four_files_and_the_table(capsys, tmp_path, run, other):
    out = tmp_path / "table"
    arguments = ("compare", run, other, "--out", out, "-n", "100", "--seeds", "2")
    status, printed, err = genrev_(capsys, *arguments)
    assert (status, err) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == FILES
    table = (out / "compare.md").read_text()
    assert printed.startswith(table.partition("\n![samples]")[0])
    assert "| run |" in table  # both are of the recipe digits, so folders name them
    assert "| again |" in table
    assert "not comparable with published FID" in table
    assert "in the paper" not in table
    values = json.loads((out / "compare.json").read_text())
    one, two = values["models"]
    assert one["distance"] == two["distance"]  # the same model, the same seeds, the same reference
    assert one["steps"] == 12
    assert one["seconds"] > 0
    assert values["features"] == "digits-classifier64"
    with Image.open(out / "compare.png") as picture:
        assert picture.height > 3 * picture.width / 12  # real images and two models


def test_json(capsys, tmp_path, run):
    status, printed, _ = genrev_(
        capsys, "compare", run, "--out", tmp_path, "-n", "60", "--seeds", "1", "--json",
        "--references", "50",
    )  # fmt: skip
    assert status == 0
    values = json.loads(printed)
    assert [model["name"] for model in values["models"]] == ["digits"]
    assert values["models"][0]["distance"]["half_width"] is None
    assert values["reference_count"] == 50


def test_files_stay_when_a_comparison_fails(capsys, tmp_path, run):
    for name in FILES:
        (tmp_path / name).write_text("earlier")
    status, _, err = genrev_(capsys, "compare", run, "--out", tmp_path, "-n", "5")
    assert status == 2
    assert "too few" in err
    assert {(tmp_path / name).read_text() for name in FILES} == {"earlier"}


def test_runs_of_other_data_are_refused(capsys, tmp_path, run):
    data = {"name": "letters", "fingerprint": "0" * 64}
    stranger = changed(run, tmp_path / "stranger", data=data)
    status, _, err = genrev_(capsys, "compare", run, stranger, "--out", tmp_path / "t")
    assert status == 2
    assert "different data" in err
    assert "letters" in err
    assert len(err.splitlines()) == 1


def test_a_model_of_another_shape_is_refused(capsys, tmp_path, run):
    arguments = ("compare", run, "mnist", "--out", tmp_path, "--data", "digits")
    status, _, err = genrev_(capsys, *arguments)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert "different" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "RUN"], "named twice"),
        (["RUN", "--seeds", "0"], "--seeds must be 1 or more"),
        (["RUN", "--references", "0"], "--references must be 1 or more"),
        (["nowhere"], "no run or model 'nowhere'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes(capsys, tmp_path, run, arguments, message):
    arguments = [str(run) if word == "RUN" else word for word in arguments]
    status, out, err = genrev_(capsys, "compare", *arguments, "--out", tmp_path / "t")
    assert (status, out) == (2, "")
    assert message in err
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("infos", "runs", "names"),
    [
        ([{"recipe": "a"}, {"recipe": "b"}], ["x/one", "x/two"], ["a", "b"]),
        ([{"recipe": "a"}, {"recipe": "a"}], ["x/one", "x/two"], ["one", "two"]),
        ([{"recipe": "a"}, {"recipe": "a"}], ["x/one", "y/one"], ["x/one", "y/one"]),
        ([{}, {"recipe": "b"}], ["x/one", "two"], ["one", "b"]),
        (
            [{"recipe": "a"}, {"recipe": "a", "mixture": {}}],
            ["x/one", "x/one/prior-mixture"],
            ["a", "a + mixture"],
        ),
    ],
)
def test_names(infos, runs, names):
    assert compare._names(runs, infos) == names


@pytest.mark.parametrize(
    ("info", "kind", "fid"),
    [
        ({"recipe": "celeba-wae-gan"}, "ConvAutoencoder", 42),
        ({"recipe": "mine", "method": "wae_mmd"}, "ConvAutoencoder", 55),
        ({"kind": "VAE"}, "ConvAutoencoder", 63),
        ({"recipe": "celeba-paper"}, "RevNet", 65),
        ({"recipe": "celeba-paper", "mixture": {}}, "RevNet", None),
        ({"recipe": "faces-small-mixture"}, "RevNet", None),
        ({"recipe": "mine"}, "Autoencoder", None),
    ],
)
def test_the_papers_numbers_go_by_the_kind_of_network(info, kind, fid):
    fitted = "mixture" in str(info)  # by a command of its own, or at the end of the training
    prior = GaussianMixturePrior(1, 3, "full", 4) if fitted else ActiveGaussian(4)
    network = type(kind, (SimpleNamespace,), {})()
    for model in (
        SimpleNamespace(prior=prior, net=network),
        type(kind, (SimpleNamespace,), {})(prior=prior),  # somebody else's, whole
    ):
        assert compare._published(model, info) == fid


def test_faces_get_the_papers_column(capsys, tmp_path, run):
    notes = " ".join(compare._notes("fid768", (3, 32, 32), faces=True))
    assert "`fid768` ranks models" in notes
    assert "not comparable with published FID" in notes
    assert "Table 1" in notes
    assert "32x32" in notes
