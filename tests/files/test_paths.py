"""Paths as people write them, names of entries in the cache, and values of the command line."""

from pathlib import Path

import pytest

from genrev.files.cache import cache_key
from genrev.files.paths import expand, quoted
from genrev.files.readers import read_yaml_value


@pytest.mark.parametrize(
    ("path", "typed"), [("my runs/a", "'my runs/a'"), ("-run", "./-run"), ("runs/a", "runs/a")]
)
def test_a_printed_path_can_be_typed(path, typed):
    assert quoted(path) == typed


def test_plain_names_stay_as_they_are():
    assert expand("a::b/file:x") == Path("a::b/file:x")


def test_an_entry_has_a_readable_name_that_depends_on_its_settings():
    assert cache_key("faces (train)", {"size": 64}) == "faces-train-a213b764c85d0c793b6e180a"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("null", None), ("[1, 2]", [1, 2]), ("a: {", "a: {"), ("faces", "faces")],
)
def test_what_is_no_yaml_is_a_text(text, value):
    assert read_yaml_value(text) == value
