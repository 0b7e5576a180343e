"""`genrev search` as a user types it; tests/searching has the searches themselves."""

import json
import shlex

import pytest
import yaml

from genrev.cli.main import main
from genrev.recipes import load_recipe
from genrev.registry import plugin_options

TINY = [
    "--data", "digits", "--network.hidden_channels", "[4,4,4]", "--network.blocks", "[1,1,1]",
    "--prior.active_dims", "6", "--trainer.frechet_samples", "40", "--trainer.threads", "1",
    "--trainer.accelerator", "cpu", "--batch_size", "40",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_search_prints_a_table_and_how_to_go_on(capsys, tmp_path):
    line = ["search", "--over", "optimizer.lr=log:1e-4..1e-2", "method.transport_weight=0.1,1"]
    line += ["digits-transport", *TINY, "--steps", "3", "--trials", "1", "--out", "a search"]
    assert main(line) == 0
    printed = capsys.readouterr().out
    assert "frechet" in printed
    assert "genrev train 'a search/best.yaml' --out 'a search/best'" in printed
    assert load_recipe("a search/best.yaml").trainer.max_steps == 3
    again = shlex.split(printed.splitlines()[-1])
    plugins = shlex.split(plugin_options())  # which other tests may have loaded
    assert again == ["genrev", *line, *plugins]
    again = again[: 1 + len(line)]
    again[again.index("--trials") + 1] = "2"
    assert main([*again[1:], "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert [trial["trial"] for trial in result["trials"] if trial["state"] == "done"]
    assert len(result["trials"]) == 2
    assert result["best"]["options"].keys() == {"optimizer.lr", "method.transport_weight"}
    assert "trial 001" in captured.err


@pytest.mark.parametrize("line", [["search", "digits", "--help"], ["search", "-h"]])
def test_help_says_what_values_are(capsys, line):
    assert main(line) == 0
    printed = capsys.readouterr().out
    assert "--over KEY=VALUES" in printed
    assert "optimizer.lr=log:1e-4..1e-2" in printed


def test_a_search_of_nothing_is_a_mistake(capsys):
    assert main(["search"]) == 2
    assert "takes one recipe and got none" in capsys.readouterr().err


END = ["--trials", "1", "--out", "out"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--over", "optimizer.lr=1,2", *END], "`genrev search` takes one recipe and got none"),
        (["digits", *END], "add --over KEY=VALUES"),
        (["digits", "--over", "batch_size", *END], "takes KEY=VALUES"),
        (["digits", "--over", "--trials", "1"], "needs a folder for the search"),
        (["digits", "--over=batch_size=1,2", "--over", "batch_size=3", *END], "twice"),
        (["digits", "--over", "optimizer.lrr=1,2", *END], "did you mean --optimizer.lr?"),
        (["digits", "--over", "batch_size=0,2", *END], "a whole number of 1 or more and got 0"),
        (["digits-transport", "--over", "method.transport=exakt", *END], "one of exact, debiased"),
        (["digits", "--over", "optimizer.lr=-1..1", *END], "above 0"),
        (["digits", "--over", "batch_size=1,2", "--lrr", "1", *END], "does not know"),
        (["digits", "--over", "batch_size=1,2", "--out", "out"], "--minutes or --trials"),
        (["digits", "--over", "batch_size=1,2", "--minutes", "soon", "--out", "o"], "above 0"),
        (["digits", "--over", "batch_size=1,2", *END, "--seeds", "2"], "--seeds is for"),
        (["digits", "--over", "batch_size=1,2", *END, "--metric", "kid"], "--metric takes"),
        (
            ["digits", "--over", "batch_size=1,2", *END, "--steps", "1", "--trainer.max_steps=1"],
            "are one option",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_get_one_sentence_and_leave_nothing(capsys, tmp_path, arguments, message):
    assert main(["search", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_features_that_a_recipe_names_have_to_be_named_by_the_user(capsys, tmp_path):
    (tmp_path / "features.pt").write_bytes(b"a stranger's")
    recipe = {"data": "digits", "trainer": {"frechet_features": "features.pt"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["search", "mine.yaml", "--over", "batch_size=1,2", *END]) == 2
    assert "add --features features.pt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
