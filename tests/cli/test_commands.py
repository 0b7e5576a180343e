"""The commands as a user types them, on one small run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from spoken import spoken

from genrev.cli import arguments
from genrev.cli.main import main
from genrev.cli.train import read_arguments
from genrev.models import GenerativeModel, devices, load, save
from genrev.networks import RevNet, RevNetConfig
from genrev.priors import ActiveGaussian
from genrev.recipes import load_recipe

TRAIN = [
    "--trainer.max_steps", "12", "--trainer.progress", "false", "--trainer.threads", "1",
    "--batch_size", "40", "--prior.active_dims", "6", "--trainer.accelerator", "cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "digits", *TRAIN, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def genrev(capsys, *arguments):
    status = main([str(a) for a in arguments])
    return status, *spoken(capsys)


def picture(path):
    with Image.open(path) as image:
        image.load()
        return image


@pytest.mark.parametrize(
    "command",
    [
        ["sample", "RUN", "-n", "20"],
        ["sample", "RUN", "--label", "3"],
        ["reconstruct", "RUN", "-n", "5"],
        ["interpolate", "RUN", "--pairs", "2", "--steps", "4"],
        ["interpolate", "RUN", "--full"],
        ["traverse", "RUN", "--label", "7"],
        ["traverse", "RUN", "--plane", "--label", "0"],
        ["traverse", "RUN", "--dims", "3", "5", "--steps", "5"],
    ],
    ids=" ".join,
)
def test_pictures(capsys, tmp_path, run, command):
    command = [str(run) if word == "RUN" else word for word in command]
    status, out, err = genrev(capsys, *command, "--out", "p.png")
    assert (status, out.strip(), err) == (0, "wrote p.png", "")
    image = picture(tmp_path / "p.png")
    assert np.asarray(image.convert("L")).std() > 5


@pytest.mark.parametrize(
    "command",
    [
        *("sample", "reconstruct", "interpolate", "traverse", "figures", "evaluate", "compare"),
        *("fit-prior", "app"),
    ],
)
def test_the_device_is_chosen_and_told(capsys, run, monkeypatch, command):
    monkeypatch.setattr(devices, "devices_here", lambda: {"cpu": "", "cuda:0": "H200"})
    more = ["--out", "table"] if command == "compare" else []
    assert main([command, str(run), *more, "--device", "cuda:7"]) == 2
    told = capsys.readouterr().err
    assert told == "genrev: There is no device 'cuda:7' here; choose from cpu, cuda:0 (H200).\n"
    if command in ("figures", "evaluate", "compare", "app"):
        return  # they take their time
    assert main([command, str(run), *more, "--device", "cpu"]) == 0
    assert capsys.readouterr().err.startswith("device cpu\n")


def test_train_takes_a_device_as_others_do():
    config, _ = read_arguments(["digits", "--device", "cuda", "--out", "x"])
    assert config.trainer.accelerator == "cuda"


@pytest.mark.parametrize("command", ["sample", "traverse"])
@pytest.mark.parametrize("label", ["0", "all", "1", "-1"])
def test_a_model_without_labels_has_no_label(capsys, tmp_path, command, label):
    net = RevNet(
        RevNetConfig(image_size=8, channels=1, hidden_channels=(3,), blocks=(1,), kernel_sizes=(3,))
    )
    save(GenerativeModel(net, ActiveGaussian(64), ("all",)), "model")
    status, out, err = genrev(capsys, command, "model", f"--label={label}", "--out", "p.png")
    assert (status, out) == (2, "")
    assert "this model has none, since it was trained without labels; leave --label out" in err
    assert not (tmp_path / "p.png").exists()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_commands_take_models_in_any_number_format(capsys, run, dtype):
    save(load(run).to(dtype), "model")
    shutil.copy(Path(run) / "config.yaml", "model")
    for command in (
        ["sample", "--npz", "s.npz", "-n", "4", "--out", "p.png"],
        ["traverse", "--out", "t.png"],
        ["reconstruct", "-n", "4", "--out", "r.png"],
        ["fit-prior", "--components", "1", "--covariance", "diag", "--out", "fitted"],
        ["evaluate", "--metrics", "reconstruction,inversion", "-n", "20"],
    ):
        assert genrev(capsys, command[0], "model", *command[1:])[0] == 0
    assert next(load("fitted").net.parameters()).dtype == dtype


def test_samples_as_an_array_are_those_of_the_picture(capsys, run, tmp_path):
    status, out, _ = genrev(capsys, "sample", run, "-n", "13", "--npz", "s.npz")
    assert (status, out) == (0, "wrote s.npz\n")
    with np.load("s.npz") as stored:
        assert stored["images"].shape == (13, 1, 8, 8)
        assert stored["images"].dtype == np.uint8
        assert stored["labels"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert not (tmp_path / "samples.png").exists()


def test_own_images_are_brought_to_the_size_of_the_model(capsys, run, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    for command in ("reconstruct", "interpolate"):
        status, _, err = genrev(capsys, command, run, "--images", folder, "--out", "o.png")
        assert (status, err) == (0, "")
        picture("o.png")
    status, _, err = genrev(capsys, "traverse", run, "--image", folder / "0.png", "--out", "t.png")
    assert (status, err) == (0, "")


def test_figures_fill_the_folder_of_the_run(capsys, run):
    status, out, err = genrev(capsys, "figures", run)
    assert (status, err) == (0, "")
    drawn = sorted(p.name for p in (run / "figures").iterdir())
    assert drawn == [
        "dimensions.png", "interpolations_full.png", "interpolations_restricted.png",
        "losses.png", "neighbours.png", "planes.png", "progress.gif", "progress.png",
        "reconstructions.png", "samples.png", "traversals.png",
    ]  # fmt: skip
    assert len(out.splitlines()) == len(drawn)
    for name in drawn:
        picture(run / "figures" / name)


def test_evaluation_as_json_and_as_text(capsys, run):
    arguments = ["evaluate", run, "-n", "300", "--metrics", "inversion,frechet,accuracy"]
    status, out, _ = genrev(capsys, *arguments, "--json")
    report = json.loads(out)
    assert status == 0
    assert list(report) == ["inversion", "frechet", "accuracy"]
    status, text, _ = genrev(capsys, *arguments)
    assert status == 0
    assert "300 samples" in text


def test_the_entire_data_set_is_evaluated_as_the_paper_does(capsys, run):
    """The error of all images is the mean of those of both splits, by their numbers of images."""
    reports = {}
    for split in ("train", "test", "all"):
        arguments = ["--metrics", "inversion,frechet", "-n", "100", "--split", split, "--json"]
        status, out, err = genrev(capsys, "evaluate", run, *arguments)
        assert (status, err) == (0, "")
        reports[split] = json.loads(out)
    errors = {split: report["inversion"] for split, report in reports.items()}
    assert [errors[split]["count"] for split in errors] == [1500, 297, 1797]
    mean = (1500 * errors["train"]["mean_l1"] + 297 * errors["test"]["mean_l1"]) / 1797
    assert errors["all"]["mean_l1"] == pytest.approx(mean, rel=1e-6)
    assert errors["all"]["reference_split"] == "all"
    assert reports["all"]["frechet"]["reference_count"] == 1797
    status, _, err = genrev(capsys, "evaluate", run, "--metrics", "memorisation", "--split", "all")
    assert status == 2
    assert "leave the metric out, or --split all" in err


def test_a_run_without_labels_is_evaluated_on_what_needs_none(capsys, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for i in range(60):
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    status, _, err = genrev(
        capsys, "train", "digits", *TRAIN, "--data", "mine", "--trainer.max_steps", "2",
        "--out", "r",
    )  # fmt: skip
    assert (status, err) == (0, "")
    status, out, err = genrev(capsys, "evaluate", "r", "-n", "60", "--json")
    assert (status, err) == (
        0,
        "Left out are frechet, kid, prdc: mine has no labels to train a classifier on; name "
        "features (--features).\n",
    )
    report = json.loads(out)
    assert list(report) == ["inversion", "reconstruction", "latent"]
    assert report["inversion"]["reference_split"] == "all images"  # nobody set any aside
    status, _, err = genrev(capsys, "figures", "r")
    assert (status, err) == (0, "")


def test_recipes_are_listed_and_printed(capsys):
    status, out, _ = genrev(capsys, "recipes", "--json")
    assert status == 0
    assert {"digits", "mnist", "mnist-paper", "mnist-released"} <= json.loads(out).keys()
    status, out, _ = genrev(capsys, "recipes", "mnist")
    assert status == 0
    assert "image_patches: 0.5" in out


def test_resume_goes_on_where_device_says(tmp_path, monkeypatch):
    config, begun = load_recipe("digits"), []
    monkeypatch.setattr("genrev.recipes.read_run_config", lambda run: config)
    monkeypatch.setattr("genrev.cli.train._train", lambda *given: begun.append(given[1]))
    assert main(["resume", str(tmp_path), "--device", "cpu"]) == 0
    assert begun == [config.replace(trainer=config.trainer.replace(accelerator="cpu"))]


def test_a_printed_recipe_trains(capsys, tmp_path):
    _, out, _ = genrev(capsys, "recipes", "digits")
    (tmp_path / "mine.yaml").write_text(out)
    (tmp_path / "more.yaml").write_text("trainer:\n  max_steps: 3\n")
    # The command line wins over --config, which wins over the recipe.
    status, _, err = genrev(
        capsys, "train", "mine.yaml", *TRAIN, "--config=more.yaml", "--trainer.max_steps=2",
        "--out", "r",
    )  # fmt: skip
    assert (status, err) == (0, "")
    config = (tmp_path / "r/config.yaml").read_text()
    assert "max_steps: 2\n" in config
    assert "recipe: mine\n" in config


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train"], "takes one recipe and got none"),
        (["train", "digits", "mnist", "--out", "x"], "got digits and mnist"),
        (["train", "digit", "--out", "x"], "no recipe 'digit'"),
        (["train", "digits"], "add --out runs/digits"),
        (["train", "digits", "--optimizer.lrr", "1", "--out", "x"], "did you mean --optimizer.lr?"),
        (["train", "digits", "--optimizer.lr", "--out", "x"], "--optimizer.lr needs a value"),
        (["train", "digits", "--out"], "--out needs a value"),
        (["train", "digits", "--data", "mnsit", "--out", "x"], 'did you mean "mnist"?'),
        (["train", "digits", "--config", "none.yaml", "--out", "x"], "none.yaml cannot be read"),
        (["resume", "nowhere"], "not a run folder"),
        (["sample", "nowhere"], "no run or model 'nowhere'"),
        (["sample", "RUN", "--label", "zebra"], "no class 'zebra'"),
        (["sample", "RUN", "-n", "0"], "-n must be 1 or more"),
        (["sample", "RUN", "-n", "many"], "invalid int value: 'many'"),
        (["sample", "RUN", "--seed", "-1"], "--seed: must lie between 0 and 2^32 - 1 and is -1"),
        (["figures", "RUN", "--seed", f"{2**64}"], f"2^32 - 1 and is {2**64}; see `genrev figures"),
        (["evaluate", "RUN", "--seed", "one"], "--seed: invalid int value: 'one'"),
        (["sample", "RUN", "--out", "a.xyz"], "xyz"),
        (["sample", "RUN", "--se", "1"], "does not take --se 1"),
        (["reconstruct", "RUN", "--images", "none.png"], "no image or folder none.png"),
        (["interpolate", "RUN", "--steps", "1"], "--steps must be 2 or more"),
        (["traverse", "RUN", "--dims", "64"], "no latent dimension 64"),
        (["traverse", "RUN", "--steps", "0"], "--steps must be 2 or more"),
        (["traverse", "RUN", "--extent", "nan"], "--extent must be a finite number"),
        (["traverse", "RUN", "--plane", "--extent", "inf"], "--extent must be a finite number"),
        (["evaluate", "RUN", "--metrics", "fud"], "'fud'; choose from inversion"),
        (["evaluate", "RUN", "--features", "none.pt"], "none.pt"),
        (["fly"], "invalid choice: 'fly'"),
        ([], "required: COMMAND"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_get_one_sentence_and_status_2(capsys, run, tmp_path, command, message):
    command = [str(run) if word == "RUN" else word for word in command]
    status, out, err = genrev(capsys, *command)
    assert status == 2
    assert out == ""
    assert err.startswith("genrev: ")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_help_of_every_command(capsys):
    for command in ("sample", "evaluate", "figures", "resume", "traverse"):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert command in capsys.readouterr().out
    status, out, _ = genrev(capsys, "train", "digits", "--help")
    assert status == 0
    assert "--method.image_patches 0" in out
    assert "Fraction of the steps" in out


def test_the_installed_command_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "genrev", "recipes"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert "mnist" in done.stdout


def test_a_training_says_what_it_does_before_it_begins(capsys):
    assert main(["train", "digits", *TRAIN, "--out", "r"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "device cpu, 1 CPU thread"
    assert told[1].startswith("data digits: train 1,500, test 297, 10 classes")
    assert told[2].startswith("model revnet for 1x8x8 images, ")
    assert told[2].endswith(" parameters; prior mixture on 6 of 64 latent dimensions")
    assert told[3] == "training matching, 12 steps of 40 images, into r"


def test_what_memory_cannot_hold_is_one_sentence(run, capsys):
    for line, cure in (
        (["sample", run, "-n", 10**9], "-n"),
        (["sample", run, "-n", 10**9, "--npz", "x.npz"], "-n"),
        (["interpolate", run, "--data", "digits", "--steps", 10**9], "--steps"),
        (["traverse", run, "--label", "3", "--steps", 10**9], "--steps"),
        (["traverse", run, "--label", "3", "--plane", "--steps", 10**6], "--steps"),
    ):
        status, _, told = genrev(capsys, *line)
        assert status == 2, line
        assert "memory" in told, line
        assert cure in told, line
        assert told.count("\n") == 1, line
    assert not list(Path().iterdir())


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: ...")])
def test_memory_that_ends_later_is_one_sentence_too(run, capsys, monkeypatch, error):
    monkeypatch.setattr(arguments, "free_memory", lambda: None)

    def sample(*_):
        raise error

    monkeypatch.setattr(GenerativeModel, "sample", sample)
    status, _, told = genrev(capsys, "sample", run)
    assert status == 2
    assert "memory" in told
    assert told.count("\n") == 1


def test_many_samples_are_those_of_one_batch_and_tell_how_far_they_are(run, monkeypatch):
    model, bars = load(run), []
    few = model.sample(300, generator=torch.Generator().manual_seed(0))

    def whole(compute, items, *beside, desc=None):
        bars.append(desc)
        return compute(items, *beside)

    monkeypatch.setattr("genrev.models.model.all_at_once", whole)
    alone = model.sample(300, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(few, alone, atol=1e-5, rtol=0)
    assert bars == ["samples"]
