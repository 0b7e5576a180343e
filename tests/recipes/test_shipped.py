"""The shipped recipes: complete, and different where they say."""

import pytest
import torch

from genrev.errors import GenrevError
from genrev.networks import revnet
from genrev.recipes import headline, load_recipe, read_recipe, recipe_names
from genrev.training import METHODS, build_method


def without(options, *names):
    """Options as values by name, without some."""
    return {key: value for key, value in options.plain().items() if key not in names}


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_can_be_run_and_say_what_they_are(name):
    found, values = read_recipe(name)
    config = load_recipe(name)
    assert found == name
    assert len(headline(name)) > 20
    for section in ("data", "network", "method", "optimizer", "trainer"):
        assert section in values
    build_method(config)  # refuses what does not go together
    if config.method.name == "transport":
        assert config.batch_size % 10 == 0
    options = config.method.options
    if config.method.name == "matching" and options.criterion != "none":
        assert 0 < options.reconstruction_steps < config.trainer.max_steps
        assert config.batch_size % 2 == 0
    if config.data.image_size is not None:
        assert config.network.options.image_size == config.data.image_size


def test_the_faces_recipes_differ_where_they_say():
    small, bands = load_recipe("faces-small-pixels"), load_recipe("faces-small")
    haar = {"bands": "haar", "colours": "luma-chroma", "centred": True, "init": "identity"}
    assert bands.network.options == small.network.options.replace(**haar)
    colours = {"reconstruction_colours": "luma-chroma"}
    assert bands.method.options == small.method.options.replace(**colours)
    for section in ("prior", "optimizer", "engine", "trainer", "data"):
        assert getattr(bands, section) == getattr(small, section)
    mixture = load_recipe("faces-small-mixture")
    assert mixture.network == bands.network
    assert mixture.method.options.criterion == "none"
    assert mixture.prior.options.active_dims == bands.prior.options.active_dims
    own = ("criterion", "prior_samples", "matching_weight", "discriminator_lr")
    for name in ("transport", "sliced", "mmd"):
        other = load_recipe(f"faces-small-{name}")
        assert other.method.options.criterion.startswith(name)
        assert without(other.method.options, *own) == without(small.method.options, *own)
        assert (other.network, other.prior) == (small.network, small.prior)
    paper, released = load_recipe("celeba-paper"), load_recipe("celeba-released")
    theirs = {"discriminator_hidden": (400, 800), "discriminator_lr": 4e-4}
    theirs["reconstruction_clamp_weight"] = None
    assert released.method.options.replace(**theirs) == paper.method.options
    assert released.prior.options.replace(bound=2.0) == paper.prior.options
    reduced = load_recipe("faces-small-released")
    steps = released.method.options.reconstruction_steps
    assert reduced.method.options.replace(reconstruction_steps=steps) == released.method.options
    assert reduced.network == small.network


def test_the_paper_is_the_default():
    paper = load_recipe("celeba-paper")
    default = METHODS["matching"].Options(reconstruction_steps=150_000)
    assert paper.method.options.replace(prior_samples=None) == default
    assert (paper.optimizer.lr, paper.optimizer.betas) == (1e-4, (0.0, 0.9))
    assert (paper.prior.name, paper.prior.options.active_dims) == ("gaussian", 64)


def test_the_network_of_the_small_recipes_has_two_million_parameters():
    for preset in ("faces32", "faces32-haar"):
        with torch.device("meta"):
            net = revnet(preset)
        assert sum(p.numel() for p in net.parameters()) == 2_118_168
        assert net.image_shape == (3, 32, 32)


@pytest.mark.parametrize("family", ["celeba", "faces-small", "mnist"])
def test_baselines_differ_in_the_objective_alone(family):
    first, *others = (load_recipe(f"{family}-{kind}") for kind in ("vae", "wae-mmd", "wae-gan"))
    variants = [config.method.options.variant for config in (first, *others)]
    assert variants == ["vae", "wae-mmd", "wae-gan"]
    for other in others:
        assert other.data == first.data
        assert other.network == first.network
        assert other.optimizer.schedule == first.optimizer.schedule
        assert other.batch_size == first.batch_size
        assert other.engine == first.engine
    if family != "celeba":
        assert first.data == load_recipe(family).data


@pytest.mark.parametrize("kind", ["age", "bigan"])
def test_other_games_have_the_network_and_data_of_the_baselines(kind):
    first, other = load_recipe("faces-small-wae-gan"), load_recipe(f"faces-small-{kind}")
    for section in ("data", "network", "prior", "optimizer", "engine", "batch_size"):
        assert getattr(other, section) == getattr(first, section)
    assert without(other.trainer, "max_steps") == without(first.trainer, "max_steps")


def test_the_defaults_of_the_baseline_are_those_of_its_paper():
    assert load_recipe("celeba-wae-mmd").method.options == METHODS["baseline"].Options()


def test_an_absent_file_is_told_as_such_with_the_nearest_name(tmp_path):
    (tmp_path / "mine.yaml").write_text("batch_size: 3\n")
    with pytest.raises(GenrevError, match=r"no file .*mien.yaml .*did you mean .*mine\.yaml\?"):
        read_recipe(str(tmp_path / "mien.yaml"))
    with pytest.raises(GenrevError, match=r"no file other/x\.yml with a recipe; check the path"):
        read_recipe("other/x.yml")
