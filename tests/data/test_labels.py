"""Any different values are classes and keep their names, wherever the labels come from."""

from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import numbered, one_sentence, png, write_tar

from genrev.data import DataConfig, ImageData, load_images, open_stream
from genrev.data.labels import encode_labels
from genrev.errors import GenrevError

KINDS = [
    (pa.array([3, 8, 3]), ("3", "8")),
    (pa.array([26, 1, 2], pa.uint8()), ("1", "2", "26")),
    (pa.array([-1, 1, 1]), ("-1", "1")),
    (pa.array([3.0, 8.0, 3.0]), ("3", "8")),
    (pa.array([0.1, 2.5, 10.0], pa.float32()), ("0.1", "2.5", "10")),
    (pa.array([0.1, 2.5, 10.0]), ("0.1", "2.5", "10")),
    (pa.array([Decimal("10.00"), Decimal("9.50"), Decimal("9.50")]), ("9.5", "10")),
    (pa.array([b"cat", b"ape", b"cat"]), ("ape", "cat")),
    (pa.array([b"\xff", b"ape", b"ape"]), ("\\xff", "ape")),
    (pa.array(["10", "9", "9"]), ("9", "10")),
    (pa.array(["10", "9", "x"]), ("10", "9", "x")),
    (pa.array(["cat", "ape", "cat"]).dictionary_encode(), ("ape", "cat")),
    (pa.array(["cat", "ape", "cat"], pa.large_string()), ("ape", "cat")),
    (pa.array([True, False, True]), ("0", "1")),
    (pa.array([date(2020, 1, 2), date(2019, 1, 2)] * 2)[:3], ("2019-01-02", "2020-01-02")),
]


def named(data):
    return [data.class_names[label] for label in data.labels]


def sentence(config):
    with pytest.raises(GenrevError) as caught:
        load_images(config)
    return one_sentence(caught.value)


@pytest.mark.parametrize(("column", "names"), KINDS, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("name", ["label", "labels", "kind"])
def test_columns_of_any_kind(write_parquet, column, names, name):
    path = str(write_parquet("table.parquet", numbered(3), **{name: column}))
    asked = "kind" if name == "kind" else None
    data = load_images(DataConfig(source=path, label=asked))
    assert data.class_names == names
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    order = {value: n for n, value in enumerate(dict.fromkeys(plain.to_pylist()))}
    seen = {name: n for n, name in enumerate(dict.fromkeys(named(data)))}
    assert [seen[name] for name in named(data)] == [order[v] for v in plain.to_pylist()]
    stream = open_stream(DataConfig(source=path, label=asked, streaming=True))
    assert stream.class_names == names
    np.testing.assert_array_equal(stream.labels, data.labels)


@given(st.lists(st.one_of(st.integers(), st.text(min_size=1)), min_size=1, max_size=60))
def test_equal_values_and_only_these_are_one_class(values):
    labels, names = encode_labels(values, "x", None, True)
    assert [names[label] for label in labels] == [str(value) for value in values]
    assert sorted(names) == sorted({str(value) for value in values})


@given(st.lists(st.integers(-(10**20), 10**20), min_size=1, max_size=60))
def test_numbers_are_the_same_classes_however_they_are_stored(values):
    want = tuple(str(value) for value in sorted(set(values)))
    for kind in (int, str, Decimal, lambda value: str(value).encode()):
        assert encode_labels([kind(value) for value in values], "x", None, True)[1] == want


def test_labels_of_tar_files_keep_their_names(tmp_path):
    members = [("0.png", png(numbered(2)[0])), ("0.cls", b"8\n")]
    members += [("1.png", png(numbered(2)[1])), ("1.cls", b"3")]
    write_tar(tmp_path / "a.tar", members)
    stream = open_stream(DataConfig(source=str(tmp_path / "a.tar"), streaming=True))
    assert (stream.class_names, stream.labels.tolist()) == (("3", "8"), [1, 0])


def test_numbered_folders_are_in_the_order_of_numbers(write_folder, pixels):
    data = load_images(str(write_folder("set", pixels, [str(n) for n in range(12)])))
    assert data.class_names == tuple(str(n) for n in range(12))
    np.testing.assert_array_equal(data.images[:, 0].sum((1, 2)).sum(), pixels.sum())
    for image, label in zip(data.images[:, 0], data.labels, strict=True):
        np.testing.assert_array_equal(image, pixels[label])


@pytest.mark.parametrize("streaming", [False, True])
def test_what_is_no_label_gets_a_sentence(write_parquet, streaming):
    images, nan = numbered(250), float("nan")
    path = write_parquet(
        "table.parquet", images, nested=[[1]] * 250, half=[None, "x"] * 125, nan=[1.0, nan] * 125,
        empty=["", "x"] * 125, real=np.linspace(0, 1, 250), file=[f"{n}.png" for n in range(250)],
    )  # fmt: skip
    told = {
        column: sentence(DataConfig(source=str(path), label=column, streaming=streaming, limit=250))
        for column in ("nested", "half", "nan", "empty", "real", "file")
    }
    assert "holds a list for each image and not a single value" in told["nested"]
    for column in ("half", "nan", "empty"):
        assert "125 of 250 images of table have no label" in told[column]
    for column in ("real", "file"):
        assert "has 250 different values for 250 images" in told[column]
    assert all("set label to none to go without" in text for text in told.values())
    for column in told:  # the first column is usual, but not usable
        usual = write_parquet("usual.parquet", images, label=load_column(path, column))
        config = DataConfig(source=str(usual), streaming=streaming)
        if column == "nested":
            assert load_images(config).class_names == ("all",)
        else:
            assert "set label to none" in sentence(config)


def load_column(path, name):
    return pa.parquet.read_table(path).column(name)


def test_none_goes_without_labels_whatever_the_source(
    tmp_path, write_folder, write_parquet, pixels
):
    write_tar(tmp_path / "a.tar", [("0.png", png(pixels[0])), ("0.cls", b"3")])
    table = write_parquet("table.parquet", pixels, label=[None, 1] * 6)
    for source, streaming in (
        (write_folder("set", pixels, ["a", "b"] * 6), False),
        (table, False),
        (table, True),
        (tmp_path / "a.tar", True),
        ("digits", False),
    ):
        data = load_images(
            DataConfig(source=str(source), label="none", streaming=streaming, limit=1)
        )
        assert data.class_names == ("all",)
        assert data.labels.tolist() == [0]


# ----------------------------------------------------------------- from one numbering to another


def labelled(names, labels):
    images = np.zeros((len(labels), 1, 2, 2), np.uint8)
    return ImageData(images, np.array(labels, np.int64), names, "pets", "")


@given(st.data())
def test_labels_as_keeps_every_images_class(data):
    names = tuple(data.draw(st.lists(st.text(), min_size=1, max_size=9, unique=True)))
    labels = data.draw(st.lists(st.integers(0, len(names) - 1), min_size=1))
    more = data.draw(st.permutations([*names, "another"])) if "another" not in names else names
    mapped = labelled(names, labels).labels_as(more)
    assert [more[label] for label in mapped] == [names[label] for label in labels]


def test_labels_as_refuses_unknown_classes_and_no_labels():
    with pytest.raises(GenrevError, match="pets has images of the class A, which is none of a, b"):
        labelled(("A", "a"), [0, 1]).labels_as(("a", "b"))
    with pytest.raises(GenrevError, match="pets has no labels, and the classes a, b"):
        labelled(("all",), [0]).labels_as(("a", "b"))
    assert labelled(("A", "a"), [1]).labels_as(("a", "b")).tolist() == [0]  # none of A
