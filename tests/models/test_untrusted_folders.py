"""Folders made to hurt: nothing in them is executed, and each is told in one sentence."""

import json
import os
import pickle
import resource
import struct
import sys
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import genrev.models.saving as saving
from genrev.errors import GenrevError
from genrev.models import GenerativeModel, load, save
from genrev.networks import RevNet, RevNetConfig
from genrev.priors import ClassConditionalGaussian

NET = RevNetConfig(image_size=4, channels=1, hidden_channels=(3,), blocks=(1,), kernel_sizes=(3,))
CONFIG, WEIGHTS = "config.json", "model.safetensors"
EXECUTED = []


class Malicious:
    def __reduce__(self):
        return EXECUTED.append, ("code of a stranger",)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    save(GenerativeModel(RevNet(NET), ClassConditionalGaussian(2, 16, torch.tensor([1, 5]))), path)
    load(path)
    return path


def refused(folder, message=None):
    with pytest.raises(GenrevError, match=message) as caught:
        load(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert text.isprintable()
    assert len(text) < 800
    assert EXECUTED == []


def change(folder, *path, to):
    config = json.loads((folder / CONFIG).read_text())
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize("dump", [pickle.dumps, lambda x: x], ids=["pickle", "torch.save"])
def test_a_pickle_in_place_of_the_weights_is_not_opened(folder, dump):
    if dump is pickle.dumps:
        (folder / WEIGHTS).write_bytes(dump(Malicious()))
    else:
        torch.save(Malicious(), folder / WEIGHTS)
    refused(folder, "does not hold the weights")


def test_pickles_next_to_the_weights_are_not_looked_at(folder):
    for name in ("pytorch_model.bin", "model.pt", "config.pkl", "training_args.bin"):
        (folder / name).write_bytes(pickle.dumps(Malicious()))
    for name in ("modeling.py", "__init__.py"):
        (folder / name).write_text("raise SystemExit('executed')")
    load(folder)
    assert EXECUTED == []
    (folder / WEIGHTS).unlink()
    refused(folder, "no model.safetensors")


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(begin=0, end=8, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 0),
        safetensors({"a": tensor(0, 2**40, (2**38,))}, bytes(8)),
        safetensors({"a": tensor(), "b": tensor(4, 12)}, bytes(12)),
        safetensors({"a": tensor(), "b": tensor()}, bytes(8)),
        safetensors({"a": tensor(-8, 0)}, bytes(8)),
        safetensors({"a": tensor(8, 0)}, bytes(8)),
        safetensors({"a": tensor(shape=(-2,))}, bytes(8)),
        safetensors({"a": tensor(shape=(2**63, 2**63))}, bytes(8)),
        safetensors({"a": tensor(dtype="PICKLE")}, bytes(8)),
        safetensors({"a": tensor()}, bytes(80)),
        safetensors(b'{"a":' * 5000 + b"1" + b"}" * 5000),
        safetensors(b"[1, 2]"),
        safetensors({"../../evil": tensor()}, bytes(8)),
        safetensors({"a\x1b[2J\nb": tensor()}, bytes(8)),
        safetensors(
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
            b'"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}', bytes(16)
        ),
    ],
    ids=[
        "empty", "short", "size of 2^63", "size of 2^40", "no header", "a terabyte", "overlap",
        "twice the same bytes", "negative", "backwards", "negative shape", "overflow",
        "foreign type", "bytes that nobody owns", "deep", "list", "path", "escapes", "key twice",
    ],
)  # fmt: skip
def test_headers_of_the_weights(folder, content):
    (folder / WEIGHTS).write_bytes(content)
    refused(folder)
    assert not (folder.parent.parent / "evil").exists()


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("prior.mean", torch.zeros(3, 2)),
        ("prior.mean", torch.zeros(2, 2, dtype=torch.int64)),
        ("prior.mean", torch.full((2, 2), torch.nan)),
        ("prior.std", torch.full((2, 2), torch.inf)),
        ("prior.active_dims", torch.tensor([1, 10**9])),
        ("prior.active_dims", torch.tensor([-1, 3])),
        ("prior.active_dims", torch.tensor([3, 3])),
        ("prior.active_dims", torch.tensor([1.0, 5.0])),
        ("one.more", torch.zeros(1)),
    ],
    ids=["shape", "type", "NaN", "infinite", "index", "negative index", "index twice",
         "no index", "unknown"],
)  # fmt: skip
def test_tensors_that_do_not_fit(folder, name, new):
    tensors = load_file(folder / WEIGHTS)
    tensors[name] = new
    save_file(tensors, folder / WEIGHTS)
    refused(folder, "does not hold the weights")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("network", "kind"), "os.system"),
        (("network", "kind"), "genrev.cli.main:main"),
        (("network", "kind"), "genrev.networks.revnet:RevNet"),
        (("network", "kind"), ["revnet"]),
        (("network", "kind"), None),
        (("prior", "kind"), "builtins.eval"),
        (("prior", "kind"), {}),
        (("prior", "self"), 1),
        (("prior", "num_classes"), 2.5),
        (("prior",), None),
        (("network",), "GenerativeModel"),
        (("network", "init"), "__import__('os').system('id')"),
        (("network", "__class__"), "RevNet"),
        (("network", "bands"), "elsewhere"),
        (("network", "image_size"), "4"),
        (("network", "blocks"), [-1]),
        (("network", "blocks"), [1.5]),
        (("prior", "bound"), "two"),
        (("prior", "active_dims"), -1),
        (("class_names",), 5),
        (("class_names",), ["a", "b", "c"]),
        (("info",), "none"),
    ],
)
def test_configurations_of_something_else(folder, path, value):
    change(folder, *path, to=value)
    refused(folder)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("network", "hidden_channels"), [10**6]),
        (("network", "hidden_channels"), [10**12]),
        (("network", "kernel_sizes"), [1023]),
        (("network", "kernel_sizes"), [10**6 + 1]),
        (("network", "blocks"), [900]),
        (("network", "blocks"), [10**9]),
        (("network", "image_size"), 10**9),
        (("network", "padding"), 10**12),
        (("network", "channels"), 10**300),
        (("prior", "active_dims"), 10**12),
        (("prior", "num_classes"), 10**9),
    ],
)
def test_huge_models_are_refused_before_memory_is_spent(folder, path, value):
    change(folder, *path, to=value)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_10_to_the_12_weights_are_refused_though_the_file_is_large_enough_for_each_number(folder):
    save_file({"w": torch.zeros(10**6)}, folder / WEIGHTS)
    change(folder, "network", "hidden_channels", to=[10**6])
    change(folder, "network", "kernel_sizes", to=[999])
    refused(folder, "larger than the 1,000,000 weights")


def test_other_threads_may_build_models_meanwhile(folder, monkeypatch):
    from_config = GenerativeModel.from_config

    def slow(config):
        thread = threading.Thread(target=lambda: built.append(nn.Linear(1000, 1000)))
        thread.start()
        thread.join()
        return from_config(config)

    built = []
    monkeypatch.setattr(GenerativeModel, "from_config", slow)
    load(folder)
    assert built


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        ('{"format": NaN}', "NaN, which JSON does not know"),
        ('{"format": -Infinity}', "Infinity"),
        ('{"format": 2e999}', "not finite"),
        ('{"format": ' + "9" * 5000 + "}", "not JSON"),
        ('{"format": 2, "format": 1}', "'format' twice"),
        ('{"format": 2, "info": {"a": 1, "a": 2}}', "'a' twice"),
        ("[]", "no object"),
        ("", "not JSON"),
        ('{"format": 2, "pad": "' + " " * 2**20 + '"}', "more than 1,048,576 bytes"),
        ("\ud800", "not JSON"),
    ],
    ids=["deep list", "deep object", "NaN", "infinite", "overflow", "digits", "twice",
         "twice within", "list", "empty", "large", "no UTF-8"],
)  # fmt: skip
def test_json(folder, text, message):
    (folder / CONFIG).write_bytes(text.encode("utf-8", "surrogatepass"))
    refused(folder, message)


def test_links_lead_to_files_or_nowhere(folder, tmp_path):
    # The cache of the hub is made of links, so links are followed; what they lead to is checked.
    aside = tmp_path / "blob"
    (folder / WEIGHTS).rename(aside)
    (folder / WEIGHTS).symlink_to(aside)
    load(folder)
    for target in ("/dev/zero", "/etc/passwd", "nowhere", WEIGHTS, "."):
        (folder / WEIGHTS).unlink()
        (folder / WEIGHTS).symlink_to(target)
        refused(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_pipe_is_no_file_and_does_not_block(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder, f"no {name}")


@pytest.mark.parametrize("name", ["../x/y", "a/b@../../c d", "a/b@", "a/b/c", "http://a/b", "\x00"])
def test_names_that_are_no_hub_ids_do_not_get_to_the_hub(monkeypatch, name):
    monkeypatch.setattr(saving, "download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(GenrevError, match="no run or model"):
        load(name)


def test_nothing_is_imported_by_name(folder):
    before = set(sys.modules)
    change(folder, "network", "kind", to="antigravity:Model")
    refused(folder, "its network is 'antigravity:Model', and there are revnet.* with --plugin FILE")
    assert "antigravity" not in set(sys.modules) - before
