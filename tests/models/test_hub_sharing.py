"""Models go to a hub and come back; the hub is a small server on this machine."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import yaml
from huggingface_hub import constants

import genrev
from genrev.cli.main import main
from genrev.cli.share import _without_paths
from genrev.errors import GenrevError
from genrev.models import GenerativeModel, save
from genrev.networks import RevNet, RevNetConfig
from genrev.priors import ClassConditionalGaussian
from genrev.recipes import load_recipe
from genrev.sharing.card import CardNotes

NET = RevNetConfig(
    image_size=4, channels=1, hidden_channels=(3,), blocks=(1,), kernel_sizes=(3,), padding=2
)
INFO = {
    "recipe": "mine",
    "data": {"name": "digits", "source": "digits", "image_size": 4, "fingerprint": "c0ffee"},
    "steps": 7,
    "seed": 3,
}


def model(info=INFO):
    made = GenerativeModel(RevNet(NET), ClassConditionalGaussian(3, 64, torch.tensor([1, 5])))
    made.info = info
    return made


class Hub:
    """Repositories as lists of commits; the part of the hub's interface that is used."""

    def __init__(self):
        self.repositories = {}
        self.private = {}
        self.requests = []

    def create(self, name, private):
        self.repositories.setdefault(name, [])
        self.private.setdefault(name, private)

    def commit(self, name, lines):
        files = dict(self.files(name, "main")) if self.repositories[name] else {}
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        digest = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.repositories[name].append((digest, files))
        return digest

    def revision(self, name, revision):
        commits = self.repositories.get(name, [])
        wanted = [c for c in commits if c[0] == revision] or (commits[-1:] * (revision == "main"))
        return wanted[0] if wanted else None

    def files(self, name, revision):
        return self.revision(name, revision)[1]


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, body, **headers):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def missing(self, code):
            self.answer(404, {"error": "missing"}, X_Error_Code=code)

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hub.requests.append(("POST", self.path))
            if self.path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked.get('organization') or 'me'}/{asked['name']}"
                known = name in hub.repositories
                hub.create(name, bool(asked.get("private")) or asked.get("visibility") == "private")
                url = {"url": f"{constants.ENDPOINT}/{name}"}
                self.answer(409 if known else 200, url)
            elif self.path == "/api/validate-yaml":
                self.answer(200, {"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                asked = json.loads(body)["files"]
                plain = {"uploadMode": "regular", "shouldIgnore": False}
                self.answer(200, {"files": [{"path": f["path"], **plain} for f in asked]})
            elif match := re.match(r"/api/models/([^/]+/[^/]+)/commit/", self.path):
                lines = [json.loads(line) for line in body.splitlines()]
                oid = hub.commit(match[1], lines)
                url = f"{constants.ENDPOINT}/{match[1]}/commit/{oid}"
                self.answer(200, {"commitUrl": url, "commitOid": oid, "success": True})
            else:
                self.answer(500, {"error": f"not in this hub: {self.path}"})

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            hub.requests.append((self.command, self.path))
            path = self.path.partition("?")[0]
            if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                found = hub.revision(match[1], match[2])
                if found is None or match[3] not in found[1]:
                    self.missing("EntryNotFound")
                    return
                content = found[1][match[3]]
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                self.answer(200, content, ETag=etag, X_Repo_Commit=found[0])
            elif match := re.fullmatch(
                r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path
            ):
                name, kind, revision = match[1], match[2], match[3] or "main"
                if name not in hub.repositories:
                    self.missing("RepoNotFound")
                elif hub.revision(name, revision) is None and kind:
                    self.missing("RevisionNotFound")
                else:
                    self.describe(name, kind, revision)
            else:
                self.answer(500, {"error": f"not in this hub: {self.path}"})

        def describe(self, name, kind, revision):
            sha, files = hub.revision(name, revision) or (None, {})
            if kind == "tree":
                tree = [
                    {"type": "file", "path": p, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                    for p, c in files.items()
                ]
                self.answer(200, tree)
                return
            siblings = [{"rfilename": p, "size": len(c)} for p, c in files.items()]
            about = {"id": name, "sha": sha, "private": hub.private[name], "siblings": siblings}
            self.answer(200, about)

    return Handler


@pytest.fixture
def hub(tmp_path, monkeypatch):
    made = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_pushed_model_comes_back(hub):
    original = model()
    original.push_to_hub("me/model", private=True)
    assert hub.private["me/model"]
    names = ["README.md", "config.json", "model.safetensors"]
    assert sorted(hub.files("me/model", "main")) == names
    loaded = genrev.load("me/model")
    assert loaded.info == INFO
    for name, tensor in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_revisions(hub):
    first, second = model(), model()
    first.push_to_hub("me/model")
    second.push_to_hub("me/model")
    old, new = (commit for commit, _ in hub.repositories["me/model"])
    for spelling, expected in ((f"me/model@{old}", first), (f"me/model@{new}", second)):
        assert torch.equal(genrev.load(spelling).prior.mean, expected.prior.mean)
        assert torch.equal(
            genrev.load(spelling).net.state_dict()["blocks.blocks.1.f.0.weight"],
            expected.net.state_dict()["blocks.blocks.1.f.0.weight"],
        )
    by_option = GenerativeModel.from_pretrained("me/model", revision=old)
    assert torch.equal(
        by_option.net.state_dict()["blocks.blocks.1.f.0.weight"],
        first.net.state_dict()["blocks.blocks.1.f.0.weight"],
    )
    with pytest.raises(GenrevError, match="revision 'nowhere'"):
        genrev.load("me/model@nowhere")


def test_nothing_but_the_two_files_is_fetched(hub):
    model().push_to_hub("me/model")
    hub.repositories["me/model"][-1][1].update({"pytorch_model.bin": b"x", "modeling.py": b"x"})
    genrev.load("me/model")
    fetched = {path.rpartition("/")[2] for _, path in hub.requests if "/resolve/" in path}
    assert fetched == {"config.json", "model.safetensors"}


def test_a_model_in_the_cache_needs_no_hub(hub):
    model().push_to_hub("me/model")
    genrev.load("me/model")
    hub.requests.clear()
    GenerativeModel.from_pretrained("me/model", local_files_only=True)
    assert hub.requests == []
    with pytest.raises(GenrevError, match="did not give a model"):
        GenerativeModel.from_pretrained("me/other", local_files_only=True)


def test_a_name_that_is_not_on_the_hub(hub):
    with pytest.raises(GenrevError, match="did not give a model") as caught:
        genrev.load("me/nothing")
    assert "\n" not in str(caught.value)


def test_a_class_of_ones_own_loads_itself(tmp_path):
    class Other(GenerativeModel):
        pass

    model().save_pretrained(tmp_path)
    assert type(Other.from_pretrained(tmp_path)) is Other


def parts(card):
    _, metadata, text = card.split("---\n", 2)
    return yaml.safe_load(metadata), text


def test_a_card_tells_what_is_known():
    notes = CardNotes(licence="mit", numbers="distance 3", versions={"torch": "9"}, samples=True)
    metadata, text = parts(model().generate_model_card("me/model", notes).content)
    assert metadata["library_name"] == "genrev"
    assert metadata["pipeline_tag"] == "unconditional-image-generation"
    assert metadata["license"] == "mit"
    assert "datasets" not in metadata  # scikit-learn's digits are not on the hub
    for told in ("distance 3", "torch 9", "samples.png", "c0ffee", "| steps | 7 |", "4x4",
                 'genrev.load("me/model")', "padded with zeros", "Weights: mit"):  # fmt: skip
        assert told in text.replace("`mit`", "mit"), told


def test_a_card_says_what_is_unknown():
    metadata, text = parts(model({}).generate_model_card().content)
    assert "license" not in metadata
    for told in ("None were measured", "None was stated", "A genrev model"):
        assert told in text
    assert "samples.png" not in text


@pytest.mark.parametrize(
    ("source", "dataset"),
    [
        ("mnist", "ylecun/mnist"),
        ("celeba", "flwrlabs/celeba"),
        ("hub:some/one@v1", "some/one"),
        (None, None),
        ("hub:../x", None),
    ],
)
def test_data_sets_of_the_hub_are_named(source, dataset):
    info = {"data": {"name": "x", "source": source}}
    metadata, text = parts(model(info).generate_model_card().content)
    assert metadata.get("datasets") == ([dataset] if dataset else None)
    assert ("light-skinned" in text) == (source == "celeba")
    assert ("140x140" in text) == (source == "celeba")


def test_what_a_run_says_cannot_leave_its_place_in_the_card():
    info = {"recipe": "a\n---\nlicense: x", "data": {"name": "![x](http://x) <script> | |"}}
    metadata, text = parts(model(info).generate_model_card().content)
    assert "license" not in metadata
    assert "<script>" not in text
    assert "![x]" not in text


# The command


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    save(model(), folder)
    return folder


def report(tmp_path):
    values = {"samples": 0, "reference": "digits", "reference_count": 100, "seed": 0,
              "reference_split": "test", "features": None,
              "by_dtype": {"float32": {"mean_l1": 1e-8, "max_abs": 2e-7, "count": 100,
                                       "identical_images": 1.0}}}  # fmt: skip
    file = tmp_path / "report.json"
    file.write_text(json.dumps({"inversion": values}))
    return file


def test_what_is_pushed_is_what_the_dry_run_wrote(hub, capsys, tmp_path, run):
    arguments = ["push", str(run), "me/model", "--licence", "mit", "--evaluation",
                 str(report(tmp_path))]  # fmt: skip
    assert main([*arguments, "--dry-run", str(tmp_path / "dry")]) == 0
    assert "nothing was sent" in capsys.readouterr().out
    assert hub.requests == []
    assert main([*arguments, "--private"]) == 0
    assert f"{constants.ENDPOINT}/me/model/commit/" in capsys.readouterr().out
    assert hub.private["me/model"]
    dry = {path.name: path.read_bytes() for path in (tmp_path / "dry").iterdir()}
    assert sorted(dry) == ["README.md", "config.json", "model.safetensors", "samples.png"]
    assert hub.files("me/model", "main") == dry
    card = dry["README.md"].decode()
    assert "mean L1 1.00e-08" in card
    assert str(tmp_path) not in card


def test_the_configuration_of_a_card_has_no_path_of_this_machine(tmp_path):
    changes = {
        "data": {"source": str(tmp_path)},
        "trainer": {"frechet_features": str(tmp_path / "features.pt")},
    }
    config = load_recipe("faces-small-released", changes).with_absolute_paths()
    values = _without_paths(config)
    assert values["data"]["source"] == "(local files)"
    assert values["trainer"]["frechet_features"] == "features.pt"
    assert "cache" not in values["data"]
    _, text = parts(model().generate_model_card(None, CardNotes(config=values)).content)
    assert str(tmp_path) not in text
    assert "| method | matching |" in text


def test_nothing_private_goes_to_a_public_repository(hub, capsys, run):
    hub.create("me/model", private=False)
    assert main(["push", str(run), "me/model", "--private"]) == 2
    assert "is public, so nothing was sent" in capsys.readouterr().err
    assert hub.repositories["me/model"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model"], "write owner/name"),
        (["../x"], "write owner/name"),
        (["me/model", "--licence", "M I T"], "no identifier"),
        (["me/model", "--evaluation", "none.json"], "cannot be read"),
        (["me/model", "--evaluation", "RUN/config.json"], "has no results"),
        (["me/model", "--dry-run", "RUN"], "exists already"),
    ],
)
def test_mistakes_are_told(hub, capsys, tmp_path, run, arguments, message):
    arguments = [word.replace("RUN", str(run)) for word in arguments]
    assert main(["push", str(run), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert hub.requests == []


def test_a_hub_that_refuses_is_told(hub, capsys, run, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert main(["push", str(run), "me/model"]) == 2
    error = capsys.readouterr().err
    assert "hub did not take 'me/model'" in error
    assert len(error.strip().splitlines()) == 1
