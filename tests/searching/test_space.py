"""What is searched, from KEY=VALUES to values of a configuration and back."""

import math

import optuna
import pytest

from genrev.errors import GenrevError
from genrev.recipes import load_recipe
from genrev.searching.space import OneOf, Range, read_space

CONFIG = load_recipe("digits")


def parameter(key, values):
    (found,) = read_space({key: values}, CONFIG)
    return found


@pytest.mark.parametrize(
    ("key", "values", "meant"),
    [
        ("optimizer.lr", "log:1e-4..1e-2", Range("optimizer.lr", 1e-4, 1e-2, True, False)),
        ("optimizer.clip", "1..5", Range("optimizer.clip", 1, 5, False, False)),
        ("optimizer.clip", ".5..5.", Range("optimizer.clip", 0.5, 5, False, False)),
        ("batch_size", "log:16..512", Range("batch_size", 16, 512, True, True)),
        ("prior.active_dims", "4..16", Range("prior.active_dims", 4, 16, False, True)),
        ("batch_size", "16,32, 64", OneOf("batch_size", ("16", "32", "64"))),
        ("batch_size", [16, 32], OneOf("batch_size", ("16", "32"))),
        ("network.blocks", "[1,1],[2,2]", OneOf("network.blocks", ("[1,1]", "[2,2]"))),
        ("network.blocks", [[1, 1], [2, 2]], OneOf("network.blocks", ("[1, 1]", "[2, 2]"))),
        ("optimizer.ema", "null,0.9,null", OneOf("optimizer.ema", ("null", "0.9"))),
    ],
)
def test_values_mean_what_they_say(key, values, meant):
    assert parameter(key, values) == meant


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("optimizer.lr", "log:1e-4..1e-2"),
        ("batch_size", "16..512"),
        ("batch_size", "16,32,64"),
        ("batch_size", "64,16"),
        ("engine.memory", "stored,reversible"),
        ("network.blocks", "[1,1],[2,2]"),
    ],
)
def test_suggestions_are_values_and_are_known_again(key, values):
    found, texts = parameter(key, values), set()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        trial = study.ask()
        found.ask(trial)
        texts.add(found.text(trial.params[key]))
    assert len(texts) == (found.size if found.size < 10 else len(texts)) > 1
    for text in texts:
        if isinstance(found, Range):
            assert found.low <= float(text) <= found.high
            assert found.whole == text.isdecimal()
        else:
            assert text in found.texts


@pytest.mark.parametrize("low", [1e-4, 1.23456789e-4, 0.99996])
def test_rounding_stays_within_the_range(low):
    found = Range("optimizer.lr", low, low * (1 + 1e-6), True, False)
    for value in (found.low, found.high, (found.low * found.high) ** 0.5):
        assert found.low <= float(found.text(value)) <= found.high


def test_values_of_a_recipe_are_found():
    assert parameter("optimizer.lr", "log:1e-4..1e-2").kept(1e-3) == 1e-3
    assert parameter("optimizer.lr", "log:1e-4..1e-2").kept(1.0) is None
    assert parameter("batch_size", "64,128").kept(128) == 1  # its place
    assert parameter("batch_size", "128,64").kept(128) == "128"
    assert parameter("network.blocks", "[1,1],[2,2]").kept([2, 2]) == "[2,2]"
    assert parameter("optimizer.ema", "0.9,0.99").kept(None) is None
    assert parameter("optimizer.lr", "0.1..0.2").size == math.inf


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("optimizer.lr", "log:0..1", "needs numbers above 0"),
        ("optimizer.lr", "2..1", "lower number last"),
        ("optimizer.lr", "log:1,2", "takes log:LOW..HIGH"),
        ("optimizer.lr", "1,,2", "with commas between"),
        ("optimizer.lr", [], "with commas between"),
        ("batch_size", "1.5..20", "whole numbers"),
        ("data.limit", "10,20", "by different measures"),
        ("data", "mnist,digits", "by different measures"),
        ("trainer.frechet_samples", "10,20", "by different measures"),
        ("trainer.max_steps", "10,20", "set it with --steps"),
    ],
)
def test_mistakes_get_one_sentence(key, values, message):
    with pytest.raises(GenrevError, match=message):
        parameter(key, values)
