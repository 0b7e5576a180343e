"""YAML and CSV from a stranger: what is plain is read, and what is made to hurt is refused."""

import csv
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from genrev.files.readers import (
    LARGEST_YAML,
    MOST_VALUES,
    dump_yaml,
    read_csv,
    read_yaml_mapping,
)

NUMBER_LIKE = st.from_regex(r"[-+]?\d?\.?\d?[eE][-+]?\d", fullmatch=True)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | NUMBER_LIKE
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(values=st.dictionaries(st.text(max_size=10), VALUES, max_size=5))
def test_yaml_is_read_as_it_was_written(values, tmp_path_factory):
    file = tmp_path_factory.mktemp("yaml") / "file.yaml"
    values = {**values, "again": [values, values]}  # which becomes an alias
    file.write_text(dump_yaml(values), encoding="utf-8")
    assert read_yaml_mapping(file) == values
    assert yaml.safe_load(file.read_text("utf-8")) == values


@pytest.mark.parametrize("text", ["1e-3", "1E3", "-2.5e+4", "+.5e1", "1.e2", "1_0e2", "3e05"])
def test_numbers_with_an_exponent_are_numbers(tmp_path, text):
    file = tmp_path / "file.yaml"
    file.write_text(f"lr: {text}")
    assert read_yaml_mapping(file) == {"lr": float(text)}


@pytest.mark.parametrize("text", ["1e", "e3", "1e-3x", "x1e3", "1-e3", "hub:a/b@1e3", "'1e3'"])
def test_words_stay_words(tmp_path, text):
    file = tmp_path / "file.yaml"
    file.write_text(f"name: {text}")
    assert read_yaml_mapping(file) == {"name": text.strip("'")}


def laughs(line):
    """A file of lines that each repeat the one before nine times."""
    lines = ["l0: &l0 {a: 1}", *(line.format(n, n - 1) for n in range(1, 30))]
    return "\n".join(lines)


MERGE = "l{0}: &l{0} {{<<: [" + ", ".join(["*l{1}"] * 9) + "]}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs("l{0}: &l{0} [" + ", ".join(["*l{1}"] * 9) + "]"), "10,000 values"),
        (laughs(MERGE), "10,000 values"),
        ("a: &a [*a]", "inside of what it repeats"),
        ("a: &a {b: {c: *a}}", "inside of what it repeats"),
        ("a: [" + "1," * MOST_VALUES + "]", "10,000 values"),
        ("a: " + "1" * LARGEST_YAML, "65,536 bytes"),
        ("a: " + "1" * 10_000, "digits"),
        ('a: !!int ""', "index"),
        ("a: !!bool maybe", "maybe"),
        ("a: !!timestamp never", "."),
        ("a: 2020-99-99", "month"),
        ("{" * 5000, "nested too deeply"),
        ("? [a]\n: b", "unhashable"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("- a", "keys and values"),
        ("", "keys and values"),
        ("a: b\n---\nc: d", "single document"),
    ],
)
def test_yaml_made_to_hurt_is_refused_at_once(tmp_path, text, message):
    file = tmp_path / "file.yaml"
    file.write_text(text)
    start = time.process_time()
    with pytest.raises(ValueError, match=message):
        read_yaml_mapping(file)
    assert time.process_time() - start < 5


def test_a_line_that_is_no_yaml_is_told_by_its_number(tmp_path):
    (tmp_path / "a.yaml").write_text("a: 1\n\tb: 2\n")
    with pytest.raises(ValueError, match=r"^line 2: .*found character") as caught:
        read_yaml_mapping(tmp_path / "a.yaml")
    assert "unicode string" not in str(caught.value)


def test_a_measurement_is_read_as_the_library_reads_it(tmp_path):
    file = tmp_path / "file.csv"
    file.write_text("step,loss\n1,0.5\n2\n")
    with file.open() as opened:
        assert read_csv(file) == (["step", "loss"], list(csv.DictReader(opened)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b",".join([b"x"] * 10**5) + b"\n1" * 10**5, "100,000 columns"),
        (b"step\n" + b"1" * 200_000, "field larger"),
        (b"\xff\xfe", "utf-8"),
    ],
)
def test_a_table_made_to_hurt_is_refused(tmp_path, content, message):
    file = tmp_path / "file.csv"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_csv(file)


def test_a_table_larger_than_any_is_refused_unread(tmp_path):
    file = tmp_path / "file.csv"
    with file.open("wb") as opened:
        opened.truncate(10**10)  # takes no room on the disk
    with pytest.raises(ValueError, match="bytes"):
        read_csv(file)
