"""The entire data set: the images of all splits, and the classes of all of them."""

import numpy as np
from PIL import Image

from genrev.data import load_images


def write(folder, count, seed):
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.random.default_rng([seed, i]).integers(0, 255, (4, 4), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def test_all_digits_are_those_of_both_splits():
    whole = load_images("digits", "all")
    parts = [load_images("digits", split) for split in ("train", "test")]
    expected = sorted(
        (i.tobytes(), int(t)) for p in parts for i, t in zip(p.images, p.labels, strict=True)
    )
    found = sorted((i.tobytes(), int(t)) for i, t in zip(whole.images, whole.labels, strict=True))
    assert found == expected
    assert whole.fingerprint not in [part.fingerprint for part in parts]


def test_classes_go_by_name_where_splits_have_different_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("GENREV_CACHE", str(tmp_path / "cache"))
    for seed, place in enumerate(("train/b", "train/c", "test/a", "test/c", "val/b")):
        write(tmp_path / "data" / place, 2, seed)
    whole = load_images(str(tmp_path / "data"), "all")
    counts = {name: int((whole.labels == n).sum()) for n, name in enumerate(whole.class_names)}
    assert counts == {"b": 4, "c": 4, "a": 2}


def test_data_without_splits_is_all_there_is(tmp_path, monkeypatch):
    monkeypatch.setenv("GENREV_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "data", 3, 0)
    data = load_images(str(tmp_path / "data"), "train")
    assert load_images(str(tmp_path / "data"), "all").fingerprint == data.fingerprint
