import re
import tarfile
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import numbered, one_sentence, png, write_shards, write_tar

import genrev.data.sources.hub
import genrev.data.sources.parquet
from genrev.data import DataConfig, StreamLoader, load_images, open_stream
from genrev.errors import GenrevError


def sentence(config: DataConfig, split: str = "train") -> str:
    """The message of the error, which must be one sentence of reasonable length."""
    with pytest.raises(GenrevError) as caught:
        next(iter(StreamLoader(open_stream(config, split), 4, 1, 0)))
    return one_sentence(caught.value)


def streamed(source, **settings) -> DataConfig:
    return DataConfig(source=str(source), streaming=True, **settings)


def in_order(config: DataConfig, split: str = "train") -> tuple[np.ndarray, list[str]]:
    """All images of a stream, by the number of their rows, and their classes."""
    stream = open_stream(config, split)
    n = len(stream)
    batch = next(iter(StreamLoader(stream, n, 1, 0)))
    place = np.argsort(batch["index"].numpy())
    names = [stream.class_names[label] for label in batch["label"][place]]
    return batch["image"][place].numpy(), names


# ------------------------------------------------------------------------------------- parquet


@pytest.mark.parametrize(
    "settings",
    [{}, {"channels": 3}, {"image_size": 8}, {"crop": 2, "image_size": 4}, {"limit": 13}],
)
def test_a_stream_has_the_images_and_labels_of_the_decoded_data(tmp_path, settings):
    write_shards(tmp_path / "set", [7, 1, 13])
    config = DataConfig(source=str(tmp_path / "set"), **settings)
    data, stream = load_images(config), open_stream(config)
    images, names = in_order(config)
    np.testing.assert_array_equal(images, data.images)
    assert names == [data.class_names[label] for label in data.labels]
    assert (stream.name, stream.class_names) == (data.name, data.class_names)
    assert stream.image_shape == data.image_shape
    assert len(stream) == len(data)


def test_labels_as_for_other_sources(write_parquet, pixels, tmp_path):
    texts = ["dog", "cat"] * 6
    path = write_parquet("table.parquet", pixels, kind=texts, half=[None, 1] * 6)
    assert in_order(streamed(path, label="kind"))[1] == texts
    assert open_stream(streamed(path)).class_names == ("all",)
    assert "6 of 12 images" in sentence(streamed(path, label="half"))
    assert 'no label column "sort"' in sentence(streamed(path, label="sort"))


def test_splits_are_told_by_names(write_parquet, pixels, tmp_path):
    write_parquet("set/train-0.parquet", pixels[:5])
    write_parquet("set/train-1.parquet", pixels[5:8])
    write_parquet("set/test.parquet", pixels[8:])
    root = tmp_path / "set"
    np.testing.assert_array_equal(in_order(streamed(root))[0][:, 0], pixels[:8])
    np.testing.assert_array_equal(in_order(streamed(root), "test")[0][:, 0], pixels[8:])
    assert 'no split "valid"' in sentence(streamed(root), "valid")


def test_the_fingerprint_is_of_content_not_of_place(tmp_path):
    for name in ("a/set", "b/set"):
        write_shards(tmp_path / name, [7, 5])
    write_shards(tmp_path / "c/set", [7, 6])
    a, b, c = (open_stream(streamed(tmp_path / f"{name}/set")) for name in "abc")
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert open_stream(streamed(tmp_path / "a/set", image_size=8)).fingerprint != a.fingerprint


def test_the_index_is_kept_and_made_again_for_changed_files(tmp_path, cache_folder, monkeypatch):
    write_shards(tmp_path / "set", [7, 5])
    open_stream(streamed(tmp_path / "set"))
    assert len(list(cache_folder.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(genrev.data.sources.parquet, "_inspect", lambda *_: pytest.fail("again"))
        assert len(open_stream(streamed(tmp_path / "set"))) == 12
    (entry,) = cache_folder.iterdir()
    (entry / "labels.npy").write_bytes(b"")
    assert len(open_stream(streamed(tmp_path / "set"))) == 12
    write_shards(tmp_path / "set", [7, 6])
    assert len(open_stream(streamed(tmp_path / "set"))) == 13
    # No decoded image was ever kept.
    assert not list(cache_folder.rglob("images.npy"))


def test_damaged_parquet(tmp_path, write_parquet, pixels):
    path = write_parquet("cut/table.parquet", pixels)
    path.write_bytes(path.read_bytes()[:-50])
    assert f"{path} cannot be read as a parquet file" in sentence(streamed(tmp_path / "cut"))
    assert "no rows" in sentence(streamed(write_parquet("empty.parquet", [])))
    write_parquet("mixed/a.parquet", pixels, label=[0] * 12)
    write_parquet("mixed/b.parquet", pixels)
    assert "columns of" in sentence(streamed(tmp_path / "mixed"))
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 32)).astype(np.uint8)
    path = write_parquet("noise.parquet", noise)
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36  # the header of the first page
    path.write_bytes(content)
    assert f"{path} cannot be read beyond row 0" in sentence(streamed(path))


# ------------------------------------------------------------------------- images in them


def write_with_bad_rows(folder, bad: dict[int, bytes]) -> np.ndarray:
    images = numbered(24)
    for number in range(2):
        rows = range(12 * number, 12 * number + 12)
        cells = [{"bytes": bad.get(row, png(images[row])), "path": None} for row in rows]
        folder.mkdir(exist_ok=True)
        table = pa.table({"image": cells})
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=5)
    return images


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named_or_its_place_taken(tmp_path, workers):
    root = tmp_path / "set"
    images = write_with_bad_rows(root, {19: b"hello", 3: b""})
    config = streamed(root, workers=workers)
    stream = open_stream(config)
    with pytest.raises(GenrevError, match=rf"row (3 of {root}/part-0|7 of {root}/part-1)\.parq"):
        list(StreamLoader(stream, 6, 4, 0))
    stream = open_stream(streamed(root, workers=workers, on_error="skip"))
    with pytest.warns(UserWarning, match="takes its place") as caught:
        batches = list(StreamLoader(stream, 6, 4, 0))
    told = {re.match(r"row (\d+) of .*part-(\d)", str(w.message)).groups() for w in caught}
    assert told == {("3", "0"), ("7", "1")}
    seen = np.concatenate([batch["index"].numpy() for batch in batches])
    assert len(seen) == 24
    assert set(seen.tolist()) == set(range(24)) - {3, 19}
    for batch in batches:
        np.testing.assert_array_equal(batch["image"][:, 0], images[batch["index"]])


def test_a_batch_without_any_readable_image(tmp_path):
    images = write_with_bad_rows(tmp_path / "set", dict.fromkeys(range(1, 24), b""))
    stream = open_stream(streamed(tmp_path / "set", on_error="skip"))
    assert stream.image_shape == (1, *images.shape[1:])
    with pytest.raises(GenrevError, match="None of the 4 images"), pytest.warns(match="place"):
        list(StreamLoader(stream, 4, 6, 0))
    write_with_bad_rows(tmp_path / "set", dict.fromkeys(range(24), b""))
    assert "None of the images" in sentence(streamed(tmp_path / "set", on_error="skip"))


def test_images_of_different_sizes(tmp_path):
    root = tmp_path / "set"
    write_with_bad_rows(root, {9: png(np.zeros((5, 7), np.uint8))})
    with pytest.raises(GenrevError, match=r"row 9 .* is 7x5 grey; set image_size"):
        list(StreamLoader(open_stream(streamed(root)), 6, 4, 0))


# ----------------------------------------------------------------------------------------- tar


def samples(images, first: int = 0, label=lambda n: f"{n % 3}\n") -> list[tuple[str, bytes]]:
    members = []
    for number, image in enumerate(images, first):
        members += [(f"./x/{number:06}.png", png(image)), (f"./x/{number:06}.cls", b"")]
        members[-1] = (members[-1][0], label(number).encode())
    return members


def test_tar_files(tmp_path):
    images = numbered(600)
    write_tar(tmp_path / "set/train-0.tar", samples(images[:290]))
    write_tar(tmp_path / "set/train-1.tar", samples(images[290:], 290))
    config = streamed(tmp_path / "set")
    got, names = in_order(config)
    np.testing.assert_array_equal(got[:, 0], images)
    assert names == [str(number % 3) for number in range(600)]
    n = 600
    seen = [batch["index"].numpy() for batch in StreamLoader(open_stream(config), 50, 24, 0)]
    for epoch in (seen[:12], seen[12:]):
        assert sorted(np.concatenate(epoch)) == list(range(n))
    got, names = in_order(streamed(tmp_path / "set", limit=300))
    np.testing.assert_array_equal(got[:, 0], images[:300])
    single = in_order(streamed(tmp_path / "set/train-1.tar"))[0]
    np.testing.assert_array_equal(single[:, 0], images[290:])


def test_members_of_a_sample(tmp_path):
    """The plain image counts, whatever else there is and in whatever order."""
    a, b = numbered(2)
    members = [
        ("7.json", b"{}"),
        ("7.mask.png", png(b)),
        ("7.PNG", png(a)),
        ("7.kind.txt", b"cat\n"),
        ("._8.png", b"of macOS"),
        ("8.big.webp", png(b)),
        ("8.kind.txt", b"dog"),
        ("LICENSE", b""),
    ]
    write_tar(tmp_path / "one.tar", members)
    got, names = in_order(streamed(tmp_path / "one.tar", label="kind.txt"))
    np.testing.assert_array_equal(got[:, 0], [a, b])
    assert names == ["cat", "dog"]
    assert in_order(streamed(tmp_path / "one.tar"))[1] == ["all", "all"]
    assert "no members .sort" in sentence(streamed(tmp_path / "one.tar", label="sort"))


def test_unusable_tar_files(tmp_path):
    good = samples(numbered(4))
    path = tmp_path / "set" / "a.tar"
    write_tar(path, [*good, ("9.json", b"{}")])
    assert "The sample 9 of" in sentence(streamed(tmp_path / "set"))
    write_tar(path, good)
    content = path.read_bytes()
    # Cut off in a header, in an image, and with a damaged header in the middle.
    for broken in (
        content[: 3 * 1024 + 100],
        content[: 2 * 1024 + 600],
        content[:2048] + b"\xff" * 512 + content[2560:],
        b"hello",
    ):
        path.write_bytes(broken)
        assert f"{path} cannot be read as a tar file" in sentence(streamed(tmp_path / "set"))
    write_tar(path, [])
    assert "no images" in sentence(streamed(tmp_path / "set"))
    path.unlink()
    with tarfile.open(tmp_path / "set" / "a.tar.gz", "w:gz"):
        pass
    assert "unpack its compressed tar files" in sentence(streamed(tmp_path / "set"))


def test_a_damaged_image_in_a_tar_file_is_named(tmp_path):
    members = samples(numbered(4))
    members[4] = (members[4][0], b"hello")
    write_tar(tmp_path / "a.tar", members)
    assert f"row 2 of {tmp_path}/a.tar cannot be read" in sentence(streamed(tmp_path / "a.tar"))


def test_what_is_not_streamed_and_what_is_only_streamed(tmp_path, write_folder, pixels):
    assert "leave streaming out" in sentence(streamed("digits"))
    assert "no .parquet or .tar" in sentence(streamed(write_folder("folder", pixels)))
    assert "No data set and no path" in sentence(streamed(tmp_path / "nothing"))
    write_tar(tmp_path / "set/a.tar", samples(pixels))
    for source in ("set", "set/a.tar"):
        with pytest.raises(GenrevError, match="which are streamed only"):
            load_images(str(tmp_path / source))


# ----------------------------------------------------------------------------------- the hub


class Remote:
    """Stands in for the file system of the hub; counts what is opened."""

    root = None
    opened: list[str]

    def open(self, path: str):
        self.opened.append(path)
        assert path.startswith("hf://datasets/owner/name@1234/")
        return (self.root / path.rpartition("/")[2]).open("rb")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A data set of parquet files ``owner/name``, in folder ``set``."""
    write_shards(tmp_path / "set", [7, 1, 13])
    paths = sorted((tmp_path / "set").iterdir())
    config = SimpleNamespace(
        data_files={"train": [f"hf://datasets/owner/name@1234/{path.name}" for path in paths]}
    )

    def load_dataset_builder(repository, revision=None):
        if repository != "owner/name":
            raise ConnectionError(f"Couldn't reach {repository}\n(second line)")
        return SimpleNamespace(config=config, info=SimpleNamespace(features=None))

    monkeypatch.setattr(genrev.data.sources.hub, "load_dataset_builder", load_dataset_builder)
    monkeypatch.setattr(Remote, "root", tmp_path / "set")
    monkeypatch.setattr(Remote, "opened", [], raising=False)
    monkeypatch.setattr(genrev.data.sources.parquet, "HfFileSystem", Remote)
    genrev.data.sources.parquet._remote_footer.cache_clear()
    return config


def test_the_hub_is_streamed_from_where_it_is(hub, tmp_path, cache_folder):
    images, names = in_order(streamed("hub:owner/name"))
    here = load_images(str(tmp_path / "set"))
    np.testing.assert_array_equal(images, here.images)
    assert names == [str(label) for label in here.labels]
    stream = open_stream(streamed("hub:owner/name"))
    assert stream.name == "owner/name"
    footers = [path for path in Remote.opened if path.endswith("part-000.parquet")]
    assert 0 < len(footers) < 10


def test_what_the_hub_cannot_stream(hub):
    assert "could not be loaded from the Hugging Face hub" in sentence(streamed("hub:owner/nmae"))
    assert "could not be loaded" in sentence(streamed("mnist"))
    assert "not the name of a data set" in sentence(streamed("hub:../name"))
    assert 'no split "test"' in sentence(streamed("hub:owner/name"), "test")
    hub.data_files["train"] = ["hf://datasets/owner/name@1234/train.tar"]
    assert "refs/convert/parquet" in sentence(streamed("hub:owner/name"))


def test_a_network_that_fails_on_the_way(hub, monkeypatch):
    stream = open_stream(streamed("hub:owner/name"))

    def fail(self, path):
        raise RuntimeError("the server has gone\nand more")

    monkeypatch.setattr(Remote, "open", fail)
    with pytest.raises(GenrevError, match=r"\[the server has gone\]; when the network is back"):
        next(iter(StreamLoader(stream, 4, 1, 0)))


# ----------------------------------------------------------------------------- the sample


def test_a_small_stream_is_sampled_whole(tmp_path):
    images = write_shards(tmp_path / "set", [7, 1, 13])
    data = load_images(streamed(tmp_path / "set"))
    order = np.argsort(data.images[:, 0, 0, 0])
    np.testing.assert_array_equal(data.images[order, 0], images)
    np.testing.assert_array_equal(data.labels[order], np.arange(21) % 3)
    assert data.name == "set"
    assert data.fingerprint == load_images(streamed(tmp_path / "set")).fingerprint


@pytest.mark.parametrize("bound", ["MOST_IMAGES", "MOST_BYTES"])
def test_a_large_stream_is_sampled_all_over(tmp_path, monkeypatch, bound):
    write_shards(tmp_path / "set", [100] * 10, group=10)
    monkeypatch.setattr(
        f"genrev.data.streaming.loader.{bound}", {"MOST_IMAGES": 100, "MOST_BYTES": 1600}[bound]
    )
    data = load_images(streamed(tmp_path / "set"))
    number = data.images[:, 0, 0, :2].astype(int) @ (1, 256)
    assert len(set(number.tolist())) == 100
    assert len(set((number // 100).tolist())) >= 6  # of 10 files


def test_unreadable_images_are_not_in_the_sample(tmp_path):
    write_with_bad_rows(tmp_path / "set", {3: b"", 19: b""})
    with pytest.warns(UserWarning, match="cannot be read"):
        data = load_images(streamed(tmp_path / "set", on_error="skip"))
    assert sorted(data.images[:, 0, 0, 0]) == sorted(set(range(24)) - {3, 19})
