"""Which names are splits, alike for images, parquet and tar, and which are refused as ambiguous."""

import pytest
from image_files import numbered, one_sentence, png, write_tar

from genrev.data import DataConfig, announce, load_images
from genrev.errors import GenrevError

PAIRS = [
    ("train", "test"),
    ("Train", "Test"),
    ("training", "TESTING"),
    ("data/train", "data/test"),
    ("set/images/Training", "set/images/Testing"),
    ("seg_train", "seg_test"),
    ("train2017", "test2017"),
    ("trainSet", "testSet"),
    ("my-test-data/train", "my-test-data/test"),
]
OTHERS = ["val", "Valid", "validation", "dev", "eval", "val2017"]


def images(tmp_path, *places):
    """A folder with one grey image in each place, which shows the number of the place."""
    for number, place in enumerate(places):
        folder = tmp_path / "set" / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(png(numbered(20)[number]))
    return str(tmp_path / "set")


def numbers(data):
    return sorted(data.images[:, 0, 0, 0].tolist())


def sentence(source, split="train"):
    with pytest.raises(GenrevError) as caught:
        load_images(source, split)
    return one_sentence(caught.value)


@pytest.mark.parametrize(("train", "test"), PAIRS)
def test_folders_of_images_are_split_and_keep_their_classes(tmp_path, train, test):
    source = images(tmp_path, f"{train}/a", f"{train}/b", f"{test}/b", f"{train}/b")
    first, second = load_images(source), load_images(source, "test")
    assert numbers(first) == [0, 1, 3]
    assert numbers(second) == [2]
    assert first.class_names == second.class_names == ("a", "b")
    assert [*first.labels, *second.labels] == [0, 1, 1, 1]


@pytest.mark.parametrize(("train", "test"), PAIRS)
@pytest.mark.parametrize("streaming", [False, True])
def test_folders_and_files_of_parquet_are_split(tmp_path, write_parquet, train, test, streaming):
    for middle in ("/0000", "-00000-of-00001"):
        root = tmp_path / f"set{len(middle)}"
        for place, split in enumerate((train, test)):
            write_parquet(f"{root.name}/{split}{middle}.parquet", numbered(20)[place : place + 1])
        config = DataConfig(source=str(root), streaming=streaming)
        assert numbers(load_images(config)) == [0]
        assert numbers(load_images(config, "test")) == [1]


@pytest.mark.parametrize(("train", "test"), PAIRS)
def test_folders_and_files_of_tar_are_split(tmp_path, train, test):
    for place, name in enumerate((f"{train}/0.tar", f"{test}-0.tar")):
        write_tar(tmp_path / "set" / name, [("0.png", png(numbered(20)[place]))])
    config = DataConfig(source=str(tmp_path / "set"), streaming=True)
    assert numbers(load_images(config)) == [0]
    assert numbers(load_images(config, "test")) == [1]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("asked", ["val", "dev", "validation", "Eval"])
def test_validation_goes_by_all_its_names(tmp_path, write_parquet, name, asked):
    source = images(tmp_path, "train", "test", name)
    assert numbers(load_images(source)) == [0]
    assert numbers(load_images(source, asked)) == [2]
    for place, split in enumerate(("train", "test", name)):
        write_parquet(f"tables/{split}.parquet", numbered(20)[place : place + 1])
    assert numbers(load_images(str(tmp_path / "tables"), asked)) == [2]


def test_files_that_call_themselves_are_split_by_any_word(tmp_path, write_parquet):
    write_parquet("set/mnist_train.parquet", numbered(20)[:1])
    write_parquet("set/mnist_test.parquet", numbered(20)[1:2])
    assert numbers(load_images(str(tmp_path / "set"))) == [0]


def test_splits_inside_of_classes(tmp_path):
    source = images(tmp_path, "cat/train", "cat/test", "dog/train", "dog/test")
    data = load_images(source, "test")
    assert (numbers(data), data.class_names) == ([1, 3], ("cat", "dog"))


def test_a_shared_folder_hides_no_classes(tmp_path):
    assert load_images(images(tmp_path, "all/cat", "all/dog")).class_names == ("cat", "dog")


@pytest.mark.parametrize(
    "classes", [("car", "train"), ("steam_train", "bullet_train"), ("train_station", "beach")]
)
def test_one_class_may_be_called_like_a_split(tmp_path, classes):
    assert load_images(images(tmp_path, *classes)).class_names == tuple(sorted(classes))


def test_photographs_of_a_trip_are_no_split(tmp_path):
    assert len(load_images(images(tmp_path, "2020/train trip", "2021/test", "2021"))) == 3


@pytest.mark.parametrize(
    ("places", "told"),
    [
        (["train/a", "test/a", ""], "2.png of no split"),
        (["train/a", "train/b", ""], "2.png of no split"),
        (["train", "test", "cat"], "cat/2.png of no split"),
        (["seg_train", "seg_test", "seg_pred"], "seg_pred/2.png of no split"),
        (["cat/train", "cat/test", "dog", "dog"], "dog/2.png and 1 more files of no split"),
        (["Train", "train"], "Train and train in"),
        (["train", "val", "valid"], "mean the same split, validation"),
        (["train", "train_extra", "test"], "train and train_extra in"),
        (["train-val", "test"], 'The name "train-val" means train and validation'),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path, places, told):
    assert told in sentence(images(tmp_path, *places))


@pytest.mark.parametrize("names", [("train", "test", "rest"), ("train", "Train"), ("val", "dev")])
@pytest.mark.parametrize("streaming", [False, True])
def test_ambiguous_tables_are_refused(tmp_path, write_parquet, names, streaming):
    for name in names:
        write_parquet(f"set/{name}-0.parquet", numbered(1))
    with pytest.raises(GenrevError, match=r"of no split|the same split"):
        load_images(DataConfig(source=str(tmp_path / "set"), streaming=streaming))


def test_a_missing_split_says_what_there_is(tmp_path):
    assert 'no split "test"; it has train, validation' in sentence(
        images(tmp_path, "Train", "val"), "test"
    )


# ---------------------------------------------------------------- the line that tells of it


def line(capsys, source, split="train", **settings):
    announce(load_images(DataConfig(source=source, **settings), split))
    out, err = capsys.readouterr()
    assert out == ""
    (told,) = err.splitlines()
    return told


def test_one_line_tells_splits_and_classes(tmp_path, write_parquet, capsys):
    source = images(tmp_path, "Train/a", "Train/b", "dev/a")
    for split in ("train", "val"):
        assert line(capsys, source, split) == "data set: train 2, validation 1, 2 classes (a, b)"
    flat = images(tmp_path / "flat", "", "")
    assert line(capsys, flat) == "data set: 2 images without splits, no classes"
    write_parquet("tables/train.parquet", numbered(3), label=[1, 5, 1])
    write_parquet("tables/test.parquet", numbered(2), label=[1, 5])
    tables = str(tmp_path / "tables")
    assert line(capsys, tables) == "data tables: train 3, test 2, 2 classes (1, 5)"
    assert "train 3, test, 2 classes" in line(capsys, tables, streaming=True)
    told = "data digits: train 1,500, test 297, 10 classes (0, 1, 2, ...)"
    assert line(capsys, "digits") == told
    assert line(capsys, "digits", limit=20) == f"{told}; only the first 20 of a split are used"


def test_the_line_names_what_is_left_out(tmp_path, write_parquet, capsys):
    source = images(tmp_path, "a", "b")
    for name in ("notes.txt", "a/b.heic", "README", "new\nline.md"):
        (tmp_path / "set" / name).write_text("Python")
    told = line(capsys, source)
    assert told.endswith(
        "skipped 4 files other than images: README, a/b.heic, 'new\\nline.md', ..."
    )
    write_parquet("tables/train.parquet", numbered(1), kind=["x"], score=[0.5])
    (tmp_path / "tables/0.png").write_bytes(png(numbered(1)[0]))
    for streaming in (False, True):
        told = line(capsys, str(tmp_path / "tables"), streaming=streaming)
        assert "no column of labels among kind, score" in told
        assert told.endswith("skipped 1 file other than parquet: 0.png")


def test_the_line_survives_files_that_come_and_go(tmp_path, capsys, monkeypatch):
    """It is made anew, and not kept with the decoded images."""
    source = images(tmp_path, "train", "test")
    assert "test 1" in line(capsys, source)
    (tmp_path / "set/test/2.png").write_bytes(png(numbered(3)[2]))
    monkeypatch.setattr("genrev.data.load.decode_all", lambda *_: pytest.fail("decoded again"))
    assert "train 1, test 2" in line(capsys, source)
