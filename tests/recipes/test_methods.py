"""The keys below ``model`` follow from the method."""

from dataclasses import asdict, replace

import pytest
import torch
import yaml

from genrev.errors import GenrevError
from genrev.models import CONV_PRESETS
from genrev.networks import PRESETS, revnet
from genrev.recipes import known_keys, parse_config, read_recipe, recipe_names, set_key
from genrev.training import METHODS, MatchingConfig, PhasesConfig, RunConfig, TransportConfig
from genrev.training.check import check


def recipe(name):
    return parse_config(read_recipe(name)[1], name)


def test_files_from_before_there_were_methods_are_read():
    values = yaml.safe_load(yaml.safe_dump(asdict(RunConfig())))
    for key in ("method", "phases"):
        del values[key]
    for key in ("frechet_every", "frechet_samples", "frechet_features"):
        del values["trainer"][key]
    assert parse_config(values, "old") == RunConfig()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_keys_and_survives_yaml(method):
    keys = known_keys(method)
    assert len(keys) == len(set(keys))
    config = parse_config({"method": method}, "here")
    assert config == RunConfig(method=method, model=METHODS[method]())
    assert parse_config(yaml.safe_load(yaml.safe_dump(asdict(config))), "there") == config


def test_matching_in_full():
    values = {
        "method": "matching",
        "model": {"prior": "uniform", "discriminator_hidden": [5, 6], "betas": [0, 0.99]},
        "phases": {"reconstruction_steps": 3},
    }
    config = parse_config(values, "here")
    assert config.model == MatchingConfig(
        prior="uniform", discriminator_hidden=(5, 6), betas=(0.0, 0.99)
    )
    assert all(type(beta) is float for beta in config.model.betas)  # what Adam asks for
    assert config.phases == PhasesConfig(3)


@pytest.mark.parametrize("section", ["data", "model", "phases", "engine", "trainer"])
def test_a_section_without_lines_has_the_defaults(section):
    assert parse_config({section: None}, "here") == RunConfig()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"method": "machine"},
            "--method in here takes one of transport, matching, baseline",
        ),
        ({"method": "machine"}, "--method in here takes one of transport, matching"),
        ({"method": ["matching"]}, "--method in here takes one of"),
        (
            {"method": "matching", "model": {"transport_start": 0.5}},
            "here sets model.transport_start, which is for --method transport and this is matching",
        ),
        (
            {"model": {"matching": "sliced"}},
            "here sets model.matching, which is for --method matching and this is transport",
        ),
        (
            {"method": "matching", "model": {"discriminator_rate": 1}},
            "did you mean --model.discriminator_lr?",
        ),
        (
            {"method": "matching", "model": {"matching": "guess"}},
            "takes one of adversarial, transport, sliced, mmd-rbf, mmd-imq, none and got 'guess'.",
        ),
    ],
)
def test_mistakes_are_told_in_a_sentence(values, message):
    with pytest.raises(GenrevError) as caught:
        parse_config(values, "here")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_keys_on_the_command_line_are_those_of_the_method():
    values = {}
    set_key(values, "model.matching", "mmd-rbf", "matching")
    set_key(values, "phases.reconstruction", "007", "matching")  # a folder may be called so
    assert values == {"model": {"matching": "mmd-rbf"}, "phases": {"reconstruction": "007"}}
    with pytest.raises(GenrevError, match="for --method matching and this is transport"):
        set_key({}, "model.matching", "mmd-rbf")


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_can_be_run(name):
    config = recipe(name)
    check(config)
    if config.method == "matching" and config.model.matching != "none":
        assert 0 < config.phases.reconstruction_steps < config.trainer.max_steps
        assert config.batch_size % 2 == 0
    presets = CONV_PRESETS if config.method == "baseline" else PRESETS
    if isinstance(config.model.network, str) and config.data.image_size is not None:
        assert presets[config.model.network].image_size == config.data.image_size


def test_the_faces_recipes_differ_where_they_say():
    small = recipe("faces-small-pixels")
    bands = {"network": "faces32-haar", "init": "identity"}
    bands["reconstruction_colours"] = "luma-chroma"
    assert recipe("faces-small") == replace(small, model=replace(small.model, **bands))
    adversarial, mixture = recipe("faces-small"), recipe("faces-small-mixture")
    ex_post = {"prior": "mixture", "mixture_components": 40, "matching": "none"}
    for name in ("prior_samples", "discriminator_hidden", "discriminator_lr", "lr", "betas"):
        ex_post[name] = getattr(mixture.model, name)
    assert mixture.model == replace(adversarial.model, **ex_post)
    assert mixture.phases == PhasesConfig()
    for name in ("transport", "sliced", "mmd"):
        other = recipe(f"faces-small-{name}")
        assert other.model.matching.startswith(name)
        same = replace(
            other.model,
            matching=small.model.matching,
            matching_weight=small.model.matching_weight,
            prior_samples=small.model.prior_samples,
            discriminator_lr=small.model.discriminator_lr,
        )
        assert same == small.model
        assert other.phases == small.phases
    paper, released = recipe("celeba-paper"), recipe("celeba-released")
    assert (
        replace(released.model, bound=2.0, discriminator_hidden=(400, 800), discriminator_lr=4e-4)
        == paper.model
    )
    assert released.phases == PhasesConfig(150_000, clamp_weight=0.0)
    own = recipe("faces-small-released")
    assert replace(own.model, network="celeba64") == released.model
    assert own.model.network == small.model.network == "faces32"


def test_the_paper_is_the_default():
    paper = recipe("celeba-paper").model
    assert replace(paper, prior_samples=None) == MatchingConfig()
    assert not isinstance(paper, TransportConfig)


def test_the_network_of_the_small_recipes_has_two_million_parameters():
    for preset in ("faces32", "faces32-haar"):
        with torch.device("meta"):
            net = revnet(preset)
        assert sum(p.numel() for p in net.parameters()) == 2_118_168
        assert net.config.image_shape == (3, 32, 32)


@pytest.mark.parametrize("family", ["celeba", "faces-small", "mnist"])
def test_baselines_differ_in_the_objective_alone(family):
    first, *others = (recipe(f"{family}-{kind}") for kind in ("vae", "wae-mmd", "wae-gan"))
    assert [config.model.kind for config in (first, *others)] == ["vae", "wae-mmd", "wae-gan"]
    for other in others:
        assert other.data == first.data
        assert other.model.network == first.model.network
        assert other.model.schedule == first.model.schedule
        assert other.batch_size == first.batch_size
        assert other.trainer.precision == first.trainer.precision
    if family != "celeba":
        assert first.data == recipe(family).data


def test_the_defaults_of_the_baseline_are_those_of_its_paper():
    assert recipe("celeba-wae-mmd").model == METHODS["baseline"]()
