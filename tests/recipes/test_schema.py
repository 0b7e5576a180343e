"""Recipes: shipped files, overriding, and what is said about mistakes."""

from dataclasses import asdict, replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from genrev.cli.train import read_arguments
from genrev.errors import GenrevError
from genrev.models import conv_autoencoder_config
from genrev.networks import RevNetConfig, revnet_config
from genrev.recipes import (
    headline,
    known_keys,
    load_recipe,
    merge,
    parse_config,
    read_recipe,
    read_yaml,
    recipe_names,
    set_key,
)
from genrev.training import RunConfig


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_complete_and_say_what_they_are(name):
    found, values = read_recipe(name)
    config = parse_config(values, name)
    assert found == name
    assert len(headline(name)) > 20
    for section in ("data", "model", "trainer"):
        assert section in values
    if config.method == "transport":
        assert config.batch_size % 10 == 0


def test_a_recipe_with_changes_is_what_the_command_line_makes_of_it(tmp_path):
    changes = {"data": "mnist", "model": {"lr": 0.5}, "trainer": {"max_steps": 7}}
    line = ["digits", "--data", "mnist", "--model.lr", "0.5", "--trainer.max_steps", "7"]
    assert load_recipe("digits", changes) == read_arguments([*line, "--out", "run"])[0]
    assert load_recipe("digits-vae") == read_arguments(["digits-vae", "--out", "run"])[0]
    mine = tmp_path / "mine.yaml"
    mine.write_text("seed: 3\n")
    assert load_recipe(str(mine), {"seed": 4}) == RunConfig(recipe="mine", seed=4)


def test_mistakes_in_changes_are_named():
    with pytest.raises(GenrevError, match=r"recipe digits with changes sets .*model\.lr\?"):
        load_recipe("digits", {"model": {"lrr": 1}})


def test_a_run_configuration_survives_yaml():
    network = RevNetConfig(
        image_size=8, channels=1, hidden_channels=(6,), blocks=(1,), kernel_sizes=(3,)
    )
    values = {"model": {"network": network.plain(), "bound": 2}, "data": "mnist", "seed": 5}
    config = parse_config(values, "here")
    assert config.model.network == network
    assert config.data.source == "mnist"
    again = parse_config(yaml.safe_load(yaml.safe_dump(asdict(config))), "there")
    assert again == config


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("model.lr", "1e-3", 1e-3),
        ("model.lr", "0.5", 0.5),
        ("model.bound", "null", None),
        ("trainer.devices", "2", 2),
        ("trainer.progress", "false", False),
        ("engine.memory", "stored", "stored"),
        ("engine.drift_every", "null", None),
        ("data.source", "007", "007"),
        ("model.network", "celeba64", "celeba64"),
    ],
)
def test_values_on_the_command_line(key, text, value):
    values = {}
    set_key(values, key, text)
    for part in key.split("."):
        values = values[part]
    assert values == value
    assert type(values) is type(value)


def test_data_alone_names_the_source():
    values = {}
    set_key(values, "data", "digits")
    assert values == {"data": {"source": "digits"}}
    assert merge({"data": "mnist"}, {"data": {"limit": 5}}) == {
        "data": {"source": "mnist", "limit": 5}
    }


nested = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner), max_leaves=8
)


@given(
    st.dictionaries(st.sampled_from("abc"), nested), st.dictionaries(st.sampled_from("abc"), nested)
)
def test_merging_keeps_what_is_not_overridden(base, over):
    merged = merge(base, over)
    assert merged.keys() == base.keys() | over.keys()
    assert merge(merged, over) == merged
    assert merge(base, {}) == base
    for key in base.keys() - over.keys():
        assert merged[key] == base[key]


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("model.lrr", "--model.lr"),
        ("lr", "--model.lr"),
        ("trainer.maxsteps", "--trainer.max_steps"),
        ("modle.bound", "--model.bound"),
        ("batchsize", "--batch_size"),
        ("model.network.hidden_chanels", "--model.network.hidden_channels"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(key, nearest):
    with pytest.raises(GenrevError, match="does not know; did you mean") as caught:
        set_key({}, key, "1")
    assert f"did you mean {nearest}?" in str(caught.value)


def test_an_unknown_key_in_a_file_names_the_file():
    with pytest.raises(GenrevError, match=r"mine\.yaml sets model\.lrr.*--model\.lr\?"):
        parse_config({"model": {"lrr": 1}}, "mine.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"lr": "fast"}}, "--model.lr in here takes a number and got 'fast'."),
        ({"batch_size": 1.5}, "--batch_size in here takes a whole number and got '1.5'."),
        (
            {"trainer": {"precision": "fp8"}},
            "--trainer.precision in here takes one of 32-true, bf16-mixed and got 'fp8'.",
        ),
        (
            {"trainer": {"progress": 3}},
            "--trainer.progress in here takes true or false and got '3'.",
        ),
        (
            {"engine": {"memory": "disk"}},
            "--engine.memory in here takes one of reversible, stored and got 'disk'.",
        ),
    ],
)
def test_wrong_values_are_told_in_a_sentence(values, message):
    with pytest.raises(GenrevError) as caught:
        parse_config(values, "here")
    assert str(caught.value) == message


@pytest.mark.parametrize("key", ["seed", "trainer.sample_every", "trainer.max_steps", "model.lr"])
def test_null_is_for_options_that_can_be_off(key):
    values = {}
    set_key(values, key, "null")
    with pytest.raises(GenrevError, match=rf"^--{key} in here cannot be null"):
        parse_config(values, "here")
    off = {"trainer": {"ema": None}, "model": {"bound": None, "active_dims": None}}
    assert parse_config(off, "here").trainer.ema is None


def test_impossible_networks_are_told_in_a_sentence():
    network = {"image_size": 7, "channels": 1, "hidden_channels": [4], "blocks": [1]}
    with pytest.raises(GenrevError) as caught:
        parse_config({"model": {"network": {**network, "kernel_sizes": [3]}}}, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", "a: b: c", "just words"])
def test_files_that_are_no_recipe(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(GenrevError, match=r"r\.yaml"):
        read_yaml(tmp_path / "r.yaml")


def test_fields_of_a_network_change_the_preset_that_the_recipe_names(tmp_path):
    line = ["faces-small", "--model.network.bands", "pixels", "--out", "run"]
    expected = revnet_config("faces32-haar", init=load_recipe("faces-small").model.init)
    assert read_arguments(line)[0].model.network == replace(expected, bands="pixels")
    assert load_recipe("faces-small", {"model": {"network": {}}}).model.network == expected
    encoder = load_recipe("faces-small-vae", {"model": {"network": {"latent_dim": 32}}})
    assert encoder.model.network == replace(conv_autoencoder_config("wae32"), latent_dim=32)
    mine = tmp_path / "mine.yaml"
    mine.write_text("model: {network: {centred: true}}")
    with_file = read_arguments(["mnist-pixels", "--config", str(mine), "--out", "run"])[0]
    assert with_file.model.network == replace(revnet_config("mnist"), centred=True)


@given(keys=st.permutations(["model.network", "model.network.bands", "model.init"]))
def test_the_order_on_the_command_line_says_nothing(keys):
    values = {"model.network": "digits", "model.network.bands": "haar", "model.init": "xavier"}
    line = [word for key in keys for word in (f"--{key}", values[key])]
    config = read_arguments(["mnist", *line, "--out", "run"])[0]
    assert config.model.network == replace(revnet_config("digits", init="xavier"), bands="haar")


@pytest.mark.parametrize("keys", [("--data", "--data.source"), ("--data.source", "--data")])
def test_the_last_of_two_names_of_one_key_counts(keys):
    line = [keys[0], "digits", keys[1], "celeba"]
    assert read_arguments(["mnist", *line, "--out", "run"])[0].data.source == "celeba"


def test_the_initialisation_of_a_preset_reaches_a_network_with_changes(tmp_path):
    fields, init = tmp_path / "fields.yaml", tmp_path / "init.yaml"
    fields.write_text("model: {network: {bands: pixels}}")
    init.write_text("model: {init: xavier}")
    expected = replace(revnet_config("mnist", init="xavier"), bands="pixels")
    lines = [
        ["--config", str(fields), "--model.init", "xavier"],
        ["--config", str(fields), "--config", str(init)],
        ["--config", str(init), "--config", str(fields)],
    ]
    for line in lines:
        assert read_arguments(["mnist", *line, "--out", "run"])[0].model.network == expected
    together = {"init": "xavier", "network": {"bands": "pixels"}}
    assert load_recipe("mnist", {"model": together}).model.network == expected
    with pytest.raises(GenrevError, match=r"write --model\.network\.init xavier\.$"):
        read_arguments(["mnist-hierarchical", "--model.init", "xavier", "--out", "run"])


def test_a_file_may_change_fields_of_a_preset_itself(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("model: {network: {preset: digits, bands: haar}}")
    expected = replace(revnet_config("digits"), bands="haar")
    assert load_recipe(str(mine)).model.network == expected
    on_top = read_arguments(["mnist", "--config", str(mine), "--out", "run"])[0]
    assert on_top.model.network == replace(expected, init="identity")  # the recipe's
    instead = read_arguments(["mnist-hierarchical", "--config", str(mine), "--out", "run"])[0]
    assert instead.model.network == expected  # nothing of the network that was there


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            {"bands": "hoar"},
            r"^--model\.network\.bands in .* one of pixels, haar and got 'hoar'\.$",
        ),
        ({"blocks": [1, "a"]}, r"^--model\.network\.blocks in .* a whole number and got 'a'\.$"),
        ({"blocks": None}, r"^--model\.network\.blocks in .* cannot be null; give a value"),
        ({"image_size": 30}, r"used: 4 stages .* multiple of 16 and is 34; change padding or"),
        ({"image_size": 0}, r"used: image_size, channels, .* must be positive"),
        ({"preset": "wae28", "bands": "haar"}, r"'wae28', which is no preset; .* mnist-haar"),
    ],
)
def test_mistakes_in_a_network_are_named(network, message):
    with pytest.raises(GenrevError, match=message):
        load_recipe("mnist", {"model": {"network": network}})


@pytest.mark.parametrize("init", ["xaver", None, ["a"]])
def test_a_wrong_initialisation_beside_fields_is_named(init):
    with pytest.raises(GenrevError, match=r"^--model\.init in recipe mnist with changes "):
        load_recipe("mnist", {"model": {"init": init, "network": {"bands": "pixels"}}})


def test_fields_of_a_network_need_a_preset_or_all_the_others(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("model: {network: {bands: haar}}")
    with pytest.raises(GenrevError, match="mine lacks image_size, channels, hidden_channels"):
        load_recipe(str(mine))
    mine.write_text("method: baseline\nmodel: {network: mnist}")
    changes = {"model": {"network": {"latent_dim": 4}}}
    with pytest.raises(GenrevError, match=r"mine with changes .*'mnist', .* no preset; .* wae8"):
        load_recipe(str(mine), changes)


def test_an_unknown_recipe_lists_the_shipped_ones():
    with pytest.raises(GenrevError, match=r"digits, .*mnist, .*mnist-paper"):
        read_recipe("imagenet")


def test_every_key_is_a_field():
    keys = known_keys()
    assert len(keys) == len(set(keys))
    assert parse_config({}, "nothing") == RunConfig()
