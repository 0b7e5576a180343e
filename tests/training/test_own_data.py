"""Training on images in memory, from the weights of a model, and for longer than was planned."""

import os
import random
import shutil
import tempfile
import warnings

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from run_files import NETWORK, ONE_LAYER, assert_same_weights, metrics, unfinish, weights
from spoken import spoken

import genrev
from genrev.cli.main import main
from genrev.data.arrays import splits_of
from genrev.errors import GenrevError
from genrev.recipes import run_split
from genrev.training import RunFolder

SMALL = {
    "network": NETWORK | ONE_LAYER,
    "prior": {"active_dims": 4},
    "method": {"transport_start": 0},
    "optimizer": {"schedule": "constant"},
    "batch_size": 6,
    "trainer": {
        "max_steps": 6,
        "checkpoint_every": 4,
        "log_every": 1,
        "accelerator": "cpu",
        "threads": 1,
        "progress": False,
    },
}


def images(side=8):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (60, 1, side, side), generator=generator, dtype=torch.uint8)


LABELS = torch.arange(60) % 3
GIVEN = (images(), LABELS)


def train(out=None, data=GIVEN, init=None, **sections):
    return genrev.train("digits-transport", out, data, init, **SMALL | sections)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run on images in memory."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder)
    return folder


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def write_folder(folder, splits):
    for split, data in splits.items():
        for number, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
            place = folder / split / data.class_names[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0]).save(place / f"{number:03}.png")
    return folder


def test_images_in_memory_and_in_files_train_the_same_bits(whole, tmp_path):
    folder = write_folder(tmp_path / "folder", splits_of(GIVEN))
    train(tmp_path / "run", folder)
    assert_same_weights(weights(whole), weights(tmp_path / "run"))
    train(tmp_path / "again", (images().float() / 255, LABELS.tolist()))
    assert_same_weights(weights(whole), weights(tmp_path / "again"))


def test_other_sizes_train_the_same_bits_and_are_told(tmp_path, capsys):
    large = images(side=20)
    model = train(data=(large, LABELS))
    told = "images of 1x20x20 (channels x height x width) become 1x8x8"
    assert told in capsys.readouterr().err
    folder = write_folder(tmp_path / "folder", splits_of((large, LABELS)))
    other = train(data=folder)
    assert told in capsys.readouterr().err
    assert_same_weights(model.state_dict(), other.state_dict())


def test_without_a_folder_nothing_is_left(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("GENREV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model = train()
    assert list(tmp_path.iterdir()) == []
    assert_same_weights(model.state_dict(), weights(whole))
    assert not model.training


def test_a_run_keeps_the_images_it_was_given(whole):
    parts = splits_of(GIVEN)
    for split in ("train", "test"):
        found, name = run_split(str(whole), split=split)
        assert name == split
        assert found.fingerprint == parts[split].fingerprint
    model = genrev.load(whole)
    assert model.class_names == ("0", "1", "2")
    assert model.info["data"]["source"] is None  # no path leaves the machine


def test_it_is_resumed_to_the_same_bits(whole, run):
    unfinish(run)
    assert main(["resume", str(run)]) == 0
    assert_same_weights(weights(whole), weights(run))
    assert len(metrics(run)) == 6


def test_evaluation_takes_images_in_memory(whole, capsys):
    model, data = genrev.load(whole), splits_of(GIVEN)["train"]
    expected = genrev.evaluate(model, data, ["reconstruction"])["reconstruction"]
    given = (torch.from_numpy(np.array(data.images)).float() / 255, data.labels)
    found = genrev.evaluate(model, given, ["reconstruction"])["reconstruction"]
    assert found == expected
    assert "become" not in capsys.readouterr().err
    genrev.evaluate(model, images(side=20), ["reconstruction"])
    assert "1x20x20 (channels x height x width) become 1x8x8" in capsys.readouterr().err


# From the weights of a model.


def test_a_step_of_no_size_leaves_the_model_that_it_starts_from(whole):
    rates = {"optimizer": {"lr": 1e-30, "schedule": "constant"}}
    rates["prior"] = {"active_dims": 4, "lr": 1e-30}
    init = genrev.load(whole)
    model = train(init=init, **rates)
    assert_same_weights(model.state_dict(), init.state_dict())


def test_a_prior_of_other_classes_starts_from_the_encodings(whole):
    rates = {"optimizer": {"lr": 1e-30, "schedule": "constant"}}
    rates["prior"] = {"active_dims": 4, "lr": 1e-30}
    init = genrev.load(whole)
    model = train(data=(images(), LABELS % 2), init=init, batch_size=8, **rates)
    assert_same_weights(model.net.state_dict(), init.net.state_dict())
    train_images = splits_of((images(), LABELS % 2))["train"]
    z = init.encode(train_images.tensor(range(len(train_images))))
    means = torch.stack([z[train_images.labels == c].mean(0) for c in (0, 1)])
    torch.testing.assert_close(model.prior.mean, means[:, model.prior.active_dims])


def test_the_command_starts_from_a_run_and_keeps_what_it_started_from(whole, tmp_path):
    folder = write_folder(tmp_path / "folder", splits_of(GIVEN))
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(SMALL | {"data": str(folder)}))
    run = tmp_path / "run"
    recipe = ["digits-transport", "--config", str(config)]
    line = ["train", *recipe, "--from", str(whole), "--out", str(run)]
    assert main(line) == 0
    model = train(init=whole)
    assert_same_weights(model.state_dict(), weights(run))
    assert_same_weights(weights(run / "init"), weights(whole))
    # Cut off before its first checkpoint, it begins again from there.
    unfinish(run)
    for checkpoint in (run / "checkpoints").iterdir():
        checkpoint.unlink()
    assert main(["resume", str(run)]) == 0
    assert_same_weights(model.state_dict(), weights(run))


@pytest.mark.parametrize(
    ("init", "told"),
    [
        ("mnist", "another network than this run, of other image_size, hidden_channels"),
        (torch.nn.Linear(1, 1), "A Linear is nothing to start from"),
        ("nothing", "There is no run or model 'nothing'"),
    ],
    ids=str,
)
def test_a_model_that_does_not_fit_is_one_sentence(tmp_path, init, told):
    with pytest.raises(GenrevError) as caught:
        train(tmp_path / "run", init=init)
    assert told in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_images_in_the_place_of_the_folder_are_one_sentence():
    with pytest.raises(GenrevError, match=r"A Tensor is no run folder; .* images as data=images"):
        genrev.train("digits", images())
    with pytest.raises(GenrevError, match="A tuple is no run folder"):
        genrev.train("digits", GIVEN)


def test_a_path_in_the_place_of_the_model_is_one_sentence():
    with pytest.raises(GenrevError, match=r"give genrev\.load\('runs/x'\)"):
        genrev.evaluate("runs/x", images())


def test_seeds_and_a_search_do_not_start_from_a_model(whole, tmp_path, capsys):
    start = ["train", "digits-transport", "--from", str(whole)]
    words = [*start, "--seeds", "2", "--out", str(tmp_path / "x")]
    assert main(words) == 2
    assert "--from and --seeds exclude each other" in spoken(capsys)[1]


# For longer.


def test_a_finished_run_goes_on_to_the_bits_of_a_longer_one(run, tmp_path, capsys):
    assert main(["resume", str(run), "--trainer.max_steps", "9"]) == 0
    told = spoken(capsys)[1]
    assert "goes on from step 6 to 9" in told
    assert "phase transport at 100% of its learning rates" in told
    train(tmp_path / "long", trainer=SMALL["trainer"] | {"max_steps": 9})
    assert_same_weights(weights(run), weights(tmp_path / "long"))
    assert genrev.load(run).info["steps"] == 9
    steps = [row["step"] for row in metrics(run)]
    assert steps == [row["step"] for row in metrics(tmp_path / "long")]
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_steps"] == 9


def test_the_longer_schedule_is_told(tmp_path, capsys):
    falling = {"schedule": "linear"}
    train(tmp_path / "run", optimizer=falling)
    spoken(capsys)
    assert main(["resume", str(tmp_path / "run"), "--trainer.max_steps", "8"]) == 0
    assert "at 25% of its learning rates" in spoken(capsys)[1]


def test_a_longer_run_that_was_cut_off_goes_on(run, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["trainer"]["max_steps"] = 12
    before = (run / "model.safetensors").read_bytes()
    from genrev.recipes import parse_config
    from genrev.training import resume

    def stop(step, measured):
        return "the test" if step == 9 else None

    assert resume(parse_config(config, "test"), run, stop) is None
    assert (run / "model.safetensors").read_bytes() == before
    assert main(["resume", str(run)]) == 0
    train(tmp_path / "long", trainer=SMALL["trainer"] | {"max_steps": 12})
    assert_same_weights(weights(run), weights(tmp_path / "long"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "is complete"),
        (["--trainer.max_steps", "6"], "--trainer.max_steps N` for an N above 6"),
        (["--trainer.max_steps", "3"], "for an N above 6"),
        (["--trainer.max_steps", "0"], "--trainer.max_steps in the command line takes"),
        (["--trainer.max_steps", "9", "--optimizer.lr", "1"], "does not take --optimizer.lr 1;"),
    ],
)
def test_other_changes_are_one_sentence(run, capsys, words, told):
    before = weights(run)
    assert main(["resume", str(run), *words]) == 2
    error = spoken(capsys)[1]
    assert told in error
    assert len(error.strip().splitlines()) == 1
    assert_same_weights(weights(run), before)


def test_a_run_without_checkpoints_does_not_begin_again_unasked(run, capsys):
    shutil.rmtree(run / "checkpoints")
    assert main(["resume", str(run), "--trainer.max_steps", "9"]) == 2
    assert "begin another run with its weights by `genrev train RECIPE --from" in spoken(capsys)[1]


def test_a_run_that_was_cut_off_before_its_model_was_written_ends_the_same(tmp_path):
    """With an average of the weights, which a training of no steps would leave out."""
    run = tmp_path / "run"
    train(run, optimizer={"schedule": "constant", "ema": 0.5})
    before = weights(run)
    assert RunFolder(run).newest_checkpoint()[0] == 6
    unfinish(run)
    assert main(["resume", str(run)]) == 0
    assert_same_weights(weights(run), before)


# Of other shapes than squares.


WIDE = torch.randint(0, 256, (60, 1, 6, 10), generator=torch.Generator().manual_seed(0)).byte()


def test_images_that_are_not_square_train_the_same_bits_from_memory_and_from_files(
    tmp_path, capsys
):
    network = SMALL["network"] | {"image_size": [6, 10]}
    model = train(tmp_path / "run", (WIDE, LABELS), network=network)
    assert model.image_shape == (1, 6, 10)
    assert genrev.load(tmp_path / "run").sample(3).shape == (3, 1, 6, 10)
    folder = write_folder(tmp_path / "folder", splits_of((WIDE, LABELS)))
    again = train(tmp_path / "again", folder, network=network)
    assert_same_weights(model.state_dict(), again.state_dict())
    unfinish(tmp_path / "run")
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert_same_weights(model.state_dict(), weights(tmp_path / "run"))
    found = genrev.evaluate(model, (WIDE, LABELS), ["reconstruction"])["reconstruction"]
    assert found["full"]["l1"] < 1e-5
    found = genrev.evaluate(model, (images(), LABELS), ["reconstruction"])["reconstruction"]
    assert found["full"]["l1"] < 1e-5
    assert "images of 1x8x8 (channels x height x width) become 1x6x10" in capsys.readouterr().err


@pytest.mark.parametrize(("sizes", "kind"), [([8], "signals"), ([4, 4, 4], "volumes")])
def test_a_run_trains_images_only(sizes, kind, tmp_path):
    network = SMALL["network"] | {"image_size": sizes}
    for data in (torch.rand(60, 1, *sizes), None):
        with pytest.raises(
            GenrevError, match=rf"^A run trains .* {kind} of .*; train it in a loop"
        ):
            train(tmp_path / "run", data, network=network, batch_size=20)
    assert not (tmp_path / "run").exists()


def test_a_training_leaves_the_process_as_it_was(whole, monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        draw = [(torch.rand, (1,)), (np.random.rand, ()), (random.random, ())]
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        expected = [float(one(*given)) for one, given in draw]
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        filters = len(warnings.filters)
        assert train() is not None
        assert [float(one(*given)) for one, given in draw] == expected
        assert len(warnings.filters) == filters
        assert torch.get_num_threads() == 2
        assert "PL_GLOBAL_SEED" not in os.environ
    finally:
        torch.set_num_threads(before)


def test_the_model_that_comes_back_is_the_one_that_is_saved(whole, tmp_path):
    model = train(tmp_path / "run")
    assert model.info == genrev.load(tmp_path / "run").info
    assert model.info["recipe"] == "digits-transport"
    model.save_pretrained(tmp_path / "shared")
    assert genrev.load(tmp_path / "shared").info == model.info


def test_a_run_is_resumed_from_python(run):
    longer = genrev.resume(run, max_steps=8)
    assert longer.info["steps"] == 8
    assert_same_weights(longer.state_dict(), genrev.load(run).state_dict())
    with pytest.raises(GenrevError, match="is complete"):
        genrev.resume(run)
    with pytest.raises(GenrevError, match="is not a run folder"):
        genrev.resume(run / "checkpoints")


def test_the_device_has_a_short_name():
    with pytest.raises(GenrevError, match=r"There is no device|cannot be used here"):
        train(trainer=SMALL["trainer"] | {"accelerator": "cpu"}, device="mps")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: genrev.train(images()), "A Tensor is no recipe; name one first"),
        (lambda: train(data=(images(), LABELS, LABELS)), "tuple of 3 is no pair"),
        (lambda: train(data=images()[:0]), "no images in what was given"),
        (lambda: train(network=genrev.revnet("digits")), r"and got RevNet\(.{,80}$"),
        (lambda: train(epochs=3), "there are data, network, prior, method"),
    ],
)
def test_slips_in_python_are_one_sentence(call, told):
    with pytest.raises(GenrevError, match=told):
        call()


def test_the_file_in_a_folder_is_no_folder(whole):
    with pytest.raises(GenrevError, match=r"is a file; give the folder of the model, .*run\."):
        genrev.load(whole / "model.safetensors")
