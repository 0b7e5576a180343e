"""From nested values to a configuration: choices, overriding, and what is said about mistakes."""

from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from genrev.cli.train import read_arguments
from genrev.errors import GenrevError
from genrev.networks import ConvAutoencoder, RevNetConfig, revnet_config
from genrev.options import Options
from genrev.priors import PRIORS
from genrev.recipes import (
    keys_of,
    load_recipe,
    merge,
    parse_config,
    read_recipe,
    read_yaml,
    recipe_names,
    set_key,
)
from genrev.training import METHODS, Choice, build_method


def command_line(*line):
    return read_arguments([*line, "--out", "run"])[0]


def network(config):
    return config.network.options


# Choices.


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_has_its_keys_and_survives_yaml(method):
    network = "wae8" if method in ("baseline", "age") else "digits"
    config = parse_config({"method": method, "network": network}, "here")
    keys = [key.name for key in keys_of(config)]
    assert len(keys) == len(set(keys))
    assert f"method.{next(iter(METHODS[method].Options.model_fields), 'name')}" in [
        *keys, "method.name",
    ]  # fmt: skip
    assert config.method.options == METHODS[method].Options()
    assert parse_config(yaml.safe_load(yaml.safe_dump(config.plain())), "there") == config


def test_every_key_has_a_description():
    for name in recipe_names():
        for key in keys_of(load_recipe(name)):
            assert key.field.description, key.name


def test_matching_in_full():
    values = {
        "prior": {"kind": "uniform", "active_dims": 3, "bound": 2},
        "method": {"name": "matching", "discriminator_hidden": [5, 6], "reconstruction_steps": 3},
        "optimizer": {"betas": [0, 0.99]},
    }
    config = parse_config(values, "here")
    options = METHODS["matching"].Options(discriminator_hidden=(5, 6), reconstruction_steps=3)
    assert config.method == Choice(name="matching", options=options)
    assert config.prior.options == PRIORS["uniform"].Options(active_dims=3, bound=2.0)
    assert config.optimizer.betas == (0.0, 0.99)
    assert all(type(beta) is float for beta in config.optimizer.betas)  # what Adam asks for


@pytest.mark.parametrize("section", ["data", "network", "prior", "method", "engine", "trainer"])
def test_a_section_without_lines_has_the_defaults(section):
    assert parse_config({section: None}, "here") == parse_config({}, "here")


@pytest.mark.parametrize(
    ("written", "in_full"),
    [
        ({"data": "mnist"}, {"data": {"source": "mnist"}}),
        ({"network": "mnist"}, {"network": {"preset": "mnist", "kind": "revnet"}}),
        ({"prior": "class-gaussian"}, {"prior": {"kind": "class-gaussian"}}),
        ({"method": "transport"}, {"method": {"name": "transport"}}),
    ],
)
def test_a_section_may_be_its_choice_alone(written, in_full):
    assert parse_config(written, "here") == parse_config(in_full, "here")


def test_the_kind_of_a_network_follows_from_its_preset():
    assert parse_config({"network": "digits"}, "here").network.name == "revnet"
    encoder = parse_config({"network": "wae8", "method": "baseline"}, "here").network
    assert (encoder.name, encoder.options) == ("conv-autoencoder", ConvAutoencoder.presets["wae8"])


def test_a_run_configuration_survives_yaml():
    shape = RevNetConfig(
        image_size=8, channels=1, hidden_channels=(6,), blocks=(1,), kernel_sizes=(3,)
    )
    values = {"network": shape.plain(), "prior": {"bound": 2}, "data": "mnist", "seed": 5}
    config = parse_config(values, "here")
    assert network(config) == shape
    assert config.data.source == "mnist"
    assert parse_config(yaml.safe_load(yaml.safe_dump(config.plain())), "there") == config


# Overriding.


def test_a_recipe_with_changes_is_what_the_command_line_makes_of_it(tmp_path):
    changes = {"data": "mnist", "optimizer": {"lr": 0.5}, "trainer": {"max_steps": 7}}
    line = ["digits", "--data", "mnist", "--optimizer.lr", "0.5", "--trainer.max_steps", "7"]
    assert load_recipe("digits", changes) == command_line(*line)
    dotted = {"data": "mnist", "optimizer.lr": 0.5, "trainer": {}, "trainer.max_steps": 7}
    assert load_recipe("digits", dotted) == command_line(*line)
    assert load_recipe("digits-vae") == command_line("digits-vae")
    mine = tmp_path / "mine.yaml"
    mine.write_text("seed: 3\n")
    expected = parse_config({"recipe": "mine", "seed": 4}, "here")
    assert load_recipe(str(mine), {"seed": 4}) == expected


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("optimizer.lr", "1e-3", 1e-3),
        ("optimizer.lr", "0.5", 0.5),
        ("prior.bound", "null", None),
        ("trainer.devices", "2", 2),
        ("trainer.progress", "false", False),
        ("engine.memory", "stored", "stored"),
        ("engine.drift_every", "null", None),
        ("data.source", "007", "007"),
        ("data.cache", "null", None),
        ("method.reconstruction_run", "007", "007"),  # a folder may be called so
        ("network.preset", "celeba64", "celeba64"),
    ],
)
def test_values_on_the_command_line(key, text, value):
    values = {}
    set_key(values, key, text)
    for part in key.split("."):
        values = values[part]
    assert values == value
    assert type(values) is type(value)


@pytest.mark.parametrize(
    ("section", "key"),
    [("data", "source"), ("network", "preset"), ("prior", "kind"), ("method", "name")],
)
def test_a_section_alone_sets_its_choice(section, key):
    values = {}
    set_key(values, section, "digits")
    assert values == {section: {key: "digits"}}
    assert merge({"data": "mnist"}, {"data": {"limit": 5}}) == {
        "data": {"source": "mnist", "limit": 5}
    }


sections = st.dictionaries(
    st.sampled_from(["optimizer", "trainer", "engine", "seed"]),
    st.integers() | st.dictionaries(st.sampled_from("abc"), st.integers()),
)


@given(sections, sections)
def test_merging_keeps_what_is_not_overridden(base, over):
    merged = merge(base, over)
    assert merged.keys() == base.keys() | over.keys()
    assert merge(merged, over) == merged
    assert merge(base, {}) == base
    for key in base.keys() - over.keys():
        assert merged[key] == base[key]


def test_another_method_or_prior_brings_its_own_options():
    config = command_line("digits-transport", "--method", "matching", "--prior", "gaussian")
    assert config.method.options == METHODS["matching"].Options()
    assert config.prior.options == PRIORS["gaussian"].Options()
    own = "digits-transport"
    kept = command_line(own, "--method", "transport", "--method.transport_memory", "0")
    assert kept.method.options == load_recipe(own).method.options.replace(transport_memory=0)


def test_options_of_a_network_change_the_preset_that_the_recipe_names(tmp_path):
    expected = revnet_config("faces32-haar", init="identity")
    changed = command_line("faces-small", "--network.bands", "pixels")
    assert network(changed) == expected.replace(bands="pixels")
    assert network(load_recipe("faces-small", {"network": {}})) == expected
    encoder = load_recipe("faces-small-vae", {"network": {"latent_dim": 32}})
    assert network(encoder) == ConvAutoencoder.presets["wae32"].replace(latent_dim=32)
    mine = tmp_path / "mine.yaml"
    mine.write_text("network: {centred: true}")
    with_file = command_line("mnist-pixels", "--config", str(mine))
    assert network(with_file) == revnet_config("mnist").replace(centred=True)


@given(keys=st.permutations(["network", "network.bands", "network.init"]))
def test_the_order_on_the_command_line_says_nothing(keys):
    values = {"network": "digits", "network.bands": "haar", "network.init": "xavier"}
    line = [word for key in keys for word in (f"--{key}", values[key])]
    expected = revnet_config("digits", init="xavier").replace(bands="haar")
    assert network(command_line("mnist", *line)) == expected


@pytest.mark.parametrize("keys", [("--data", "--data.source"), ("--data.source", "--data")])
def test_the_last_of_two_names_of_one_key_counts(keys):
    assert command_line("mnist", keys[0], "digits", keys[1], "celeba").data.source == "celeba"


def test_a_file_may_name_another_preset(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("network: {preset: digits, bands: haar}")
    expected = revnet_config("digits").replace(bands="haar")
    assert network(load_recipe(str(mine))) == expected
    # Nothing is left of the network that was there, its initialisation neither.
    assert network(command_line("mnist", "--config", str(mine))) == expected


# Mistakes.


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("optimizer.lrr", "--optimizer.lr"),
        ("method.lr", "--optimizer.lr"),
        ("trainer.maxsteps", "--trainer.max_steps"),
        ("method.transport_wait", "--method.transport_weight"),
        ("network.hidden_chanels", "--network.hidden_channels"),
        ("trainer.precision", "--engine.precision"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(key, nearest):
    with pytest.raises(GenrevError, match="does not know; did you mean") as caught:
        command_line("digits", f"--{key}", "1")
    assert f"did you mean {nearest}?" in str(caught.value)


@pytest.mark.parametrize(("key", "nearest"), [("lr", "optimizer.lr"), ("batchsize", "batch_size")])
def test_an_unknown_section_is_answered_with_the_nearest(key, nearest):
    with pytest.raises(GenrevError, match=f"sets {key}, .*did you mean .*{nearest}"):
        command_line("digits", f"--{key}", "1")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": {"lrr": 1}}, "here sets optimizer.lrr, which genrev does not know; did you"),
        (
            {"optimizer": {"lr": "fast"}},
            "--optimizer.lr in here takes a number above 0 and at most 1e+30 and",
        ),
        ({"optimizer": {"lr": -1}}, "takes a number above 0 and at most 1e+30 and got -1."),
        (
            {"batch_size": 1.5},
            "--batch_size in here takes a whole number of 1 or more and got 1.5.",
        ),
        ({"batch_size": 0}, "--batch_size in here takes a whole number of 1 or more and got 0."),
        (
            {"engine": {"precision": "fp8"}},
            "--engine.precision in here takes one of float32, bf16 and got 'fp8'.",
        ),
        ({"trainer": {"progress": 3}}, "--trainer.progress in here takes true or false and got 3."),
        ({"optimizer": {"betas": [0.5, 1]}}, "each a number from 0 to below 1 and got 1 at"),
        ({"method": "machine"}, "--method in here takes one of transport, matching, baseline"),
        ({"method": ["matching"]}, "method in here is a section of options and got ['matching']."),
        ({"prior": "gausian"}, "and got 'gausian' (did you mean gaussian?)"),
        ({"network": "mnits"}, "and got 'mnits' (did you mean mnist?)"),
        (
            {"method": {"name": "matching", "transport_start": 0.5}},
            "here sets method.transport_start, which is for --method transport and this is matc",
        ),
        (
            {"method": {"criterion": "sliced"}},
            "here sets method.criterion, which is for --method matching and this is transport",
        ),
        (
            {"prior": {"components": 3}},
            "here sets prior.components, which is for --prior mixture and this is class-gaussian",
        ),
        (
            {"method": {"name": "matching", "criterion": "guess"}},
            "takes one of adversarial, transport, sliced, mmd-rbf, mmd-imq, none and got 'guess'.",
        ),
        ({"network": {"bands": "haar"}}, "--network in here lacks image_size, channels, hidden_c"),
        ({"network": {"preset": "mnist", "bands": "hoar"}}, "one of pixels, haar and got 'hoar'."),
        ({"network": {"preset": "mnist", "blocks": [1, "a"]}}, "and got 'a' at position 2."),
        (
            {"network": {"preset": "mnist", "blocks": None}},
            "--network.blocks in here cannot be null",
        ),
        ({"network": {"preset": "mnist", "image_size": 30}}, "multiple of 16 and is 34; change"),
        ({"network": {"preset": "wae8", "kind": "revnet"}}, "is not one of --network.kind revnet"),
    ],
)
def test_mistakes_are_told_in_a_sentence(values, message):
    with pytest.raises(GenrevError) as caught:
        parse_config(values, "here")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("section", ["optimizer.lr", "trainer.devices", "seed.lr"])
def test_a_number_has_no_options(section):
    section, option = section.split(".")
    with pytest.raises(GenrevError, match=f"--{section} is 3, which has no option {option}; leave"):
        command_line("digits", f"--{section}", "3", f"--{section}.{option}", "1")
    with pytest.raises(GenrevError, match=section):
        command_line("digits", f"--{section}.{option}", "1", f"--{section}", "x")


@pytest.mark.parametrize("key", ["seed", "trainer.sample_every", "trainer.max_steps"])
def test_null_is_for_options_that_can_be_off(key):
    with pytest.raises(GenrevError, match=rf"^--{key} in .* cannot be null"):
        command_line("digits", f"--{key}", "null")
    off = {"optimizer": {"ema": None}, "prior": {"bound": None, "active_dims": None}}
    assert parse_config(off, "here").optimizer.ema is None


@pytest.mark.parametrize("text", ["[1, 2]", "a: b: c", "just words"])
def test_files_that_are_no_recipe(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(GenrevError, match=r"r\.yaml"):
        read_yaml(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("name", "message"),
    [("imagenet", r"digits, .*mnist, .*mnist-paper"), ("mnsit", "did you mean mnist")],
)
def test_an_unknown_recipe_lists_the_shipped_ones(name, message):
    with pytest.raises(GenrevError, match=message):
        read_recipe(name)


@given(st.sampled_from(METHODS.names()), st.sampled_from(PRIORS.names()))
def test_what_does_not_go_together_is_refused_with_what_would(method, prior):
    network = "wae8" if method in ("baseline", "age") else "digits"
    config = parse_config({"method": method, "prior": prior, "network": network}, "here")
    others = [p for p in PRIORS.names() if METHODS[method].accepts_prior(PRIORS[p])]
    if prior in others:
        with suppress(GenrevError):  # the method may have more to say
            build_method(config)
        return
    with pytest.raises(GenrevError) as caught:
        build_method(config)
    told = f"cannot train with --prior {prior}; choose {' or '.join(others)}."
    assert told in str(caught.value)


def test_options_can_be_made_in_python():
    class Walk(Options):
        steps: int = 3

    assert Walk(steps=4).replace(steps=5).plain() == {"steps": 5}
    with pytest.raises(ValueError, match=r"^Walk has no option 'step'; did you mean steps\?"):
        Walk(step=4)
    with pytest.raises(ValueError, match=r"^steps takes a whole number and got True\.$"):
        Walk(steps=True)
