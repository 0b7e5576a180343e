"""The files of docs/extend.md, as they stand there, used by the commands that stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import genrev
from genrev import registry
from genrev.cli.main import main
from genrev.errors import GenrevError

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "extend.md").read_text(encoding="utf-8") if DOCS.is_dir() else ""
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [
    " ".join(line.replace("\\\n", " ").split())
    for line in re.findall(r"^genrev (?:[^\n]*\\\n)*[^\n]*$", PAGE, re.MULTILINE)
]
SHORT = ["--trainer.max_steps=2", "--trainer.threads=1", "--trainer.progress=false"]

pytestmark = pytest.mark.skipif(not FILES, reason="the documents are not part of the package")


@pytest.fixture(scope="module", autouse=True)
def _as_before():
    """What plugins registered is forgotten, for the tests of other files."""
    registries = [getattr(genrev, name) for name in genrev.__all__ if name.isupper()]
    before = [dict(known._others) for known in registries]
    files = dict(registry._FILES)
    yield
    for known, others in zip(registries, before, strict=True):
        known._others.clear()
        known._others.update(others)
    registry._FILES.clear()
    registry._FILES.update(files)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extend")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def _loaded(place):
    for name in FILES:
        if not name.startswith("own_"):
            genrev.load_plugin(place / name)


def test_the_page_has_one_file_of_each_kind():
    assert len(FILES) == 9
    assert len(COMMANDS) == 8
    assert len(FILES["moments.py"].splitlines()) <= 42


def test_the_commands_of_the_page_in_their_order(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    for line in COMMANDS:
        arguments = line.split()[1:]
        if arguments[0] == "train":
            arguments = [a for a in arguments if a not in ("--trainer.max_steps", "300")] + SHORT
        if arguments[0] == "evaluate":
            arguments += ["-n", "40"]
        if arguments[:2] == ["figures", "mnist"]:  # the data of the shipped model is not here
            arguments[1] = "runs/stripes"
            arguments[arguments.index("digits")] = "stripes"
            arguments += ["--plugin", "stripes.py"]
        assert main(arguments) == 0, (line, capsys.readouterr().err)
    assert "brightness" in capsys.readouterr().out
    assert (place / "figures/mean.png").is_file()
    assert (place / "laplace.png").is_file()


@pytest.mark.usefixtures("_loaded")
def test_help_names_what_plugins_bring(capsys):
    assert main(["train", "digits", "--method", "moments", "--prior", "laplace", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--method.moments_weight 1.0" in said
    assert "Weight of the squared differences of means and standard deviations." in said
    assert "orthogonal" in said


def test_the_loop_of_the_page_runs_by_itself(place):
    done = subprocess.run(
        [sys.executable, "-c", FILES["own_loop.py"]],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"loss \d+\.\d{3}\n", done.stdout)


def test_a_flow_of_zuko_is_fitted_saved_and_loaded_again(place):
    ending = (
        "import torch\nagain = genrev.load('fitted')\n"
        "z = again.prior.sample(3, generator=torch.Generator().manual_seed(0))\n"
        "other = model.prior.sample(3, generator=torch.Generator().manual_seed(0))\n"
        "assert torch.equal(z, other) and again.log_prob(again.decode(z)).isfinite().all()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", FILES["own_fit.py"] + ending],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"-?\d+\.\d nats\n", done.stdout)


@pytest.mark.usefixtures("_loaded")
def test_the_prior_of_the_page_has_the_density_of_its_samples():
    prior = genrev.PRIORS["laplace"](64, torch.arange(3), bound=None)
    samples = prior.sample(100_000, generator=torch.Generator().manual_seed(0))
    active = prior.restrict(samples).double()
    reference = torch.distributions.Laplace(0.0, 0.5**0.5)
    expected = reference.log_prob(active).sum(1)
    torch.testing.assert_close(prior.log_prob(samples).double(), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(active.std(0), torch.ones(3).double(), atol=0.02, rtol=0)


@pytest.mark.usefixtures("_loaded")
def test_models_of_registered_parts_are_saved_and_loaded_again(tmp_path):
    net = genrev.NETWORKS["orthogonal"](genrev.NETWORKS["orthogonal"].Options())
    model = genrev.GenerativeModel(net, genrev.PRIORS["laplace"](64, torch.arange(5)))
    model.save_pretrained(tmp_path / "model")
    again = genrev.load(tmp_path / "model")
    x = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(again.encode(x), model.encode(x), rtol=0, atol=0)
    torch.testing.assert_close(again.decode(again.encode(x)), x, rtol=0, atol=1e-5)


def test_what_nobody_has_registered_is_refused_when_it_is_saved(tmp_path):
    class Unregistered(genrev.priors.ActiveGaussian):
        pass

    model = genrev.GenerativeModel(genrev.revnet("digits"), Unregistered(64))
    with pytest.raises(GenrevError, match="Unregistered"):
        model.save_pretrained(tmp_path / "model")
    assert not [*tmp_path.rglob("*.json"), *tmp_path.rglob("*.safetensors")]


@pytest.mark.parametrize("text", ["raise ValueError('oh')", "import nowhere_at_all", "def"])
def test_a_plugin_that_cannot_be_imported_is_one_sentence(tmp_path, capsys, text):
    (tmp_path / "bad.py").write_text(text)
    assert main(["recipes", "--plugin", str(tmp_path / "bad.py")]) == 2
    said = capsys.readouterr().err
    assert "bad.py" in said
    assert len(said.strip().splitlines()) == 1
    assert main(["recipes", "--plugin", str(tmp_path / "none.py")]) == 2


def test_a_file_may_be_loaded_twice_but_a_name_is_given_once(tmp_path):
    text = FILES["brightness.py"].replace('"brightness")', '"twice")')
    (tmp_path / "twice.py").write_text(text)
    genrev.load_plugin(tmp_path / "twice.py")
    genrev.load_plugin(tmp_path / "twice.py")
    (tmp_path / "other.py").write_text(text.replace("Brightness", "Other"))
    with pytest.raises(GenrevError, match="There is a metric 'twice' already; choose another name"):
        genrev.load_plugin(tmp_path / "other.py")


def test_an_installed_package_is_loaded_by_every_command(tmp_path):
    (tmp_path / "their_package.py").write_text(
        FILES["moments.py"].replace('"moments")', '"theirs")')
    )
    about = tmp_path / "their_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: their-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[genrev]\nmine = their_package\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from genrev.cli.main import main\n"
        "sys.exit(main(['train', 'digits', '--method', 'theirs', '--prior', 'gaussian', '--help']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "--method.moments_weight 1.0" in done.stdout


def train_digits(out, *options):
    return main(["train", "digits", *SHORT, *options, "--out", str(out)])


@pytest.mark.usefixtures("_loaded")
def test_a_run_of_somebodys_method_is_measured_without_it(place, tmp_path, capsys):
    line = ["--method", "moments", "--prior", "gaussian", "--plugin", str(place / "moments.py")]
    assert train_digits(tmp_path / "run", *line) == 0
    (told,) = re.findall(rf"genrev evaluate {tmp_path}/run(.*)", capsys.readouterr().out)
    assert f" --plugin {place}/moments.py" in told
    program = (
        "import sys; from genrev.cli.main import main\n"
        f"sys.exit(main(['evaluate', {str(tmp_path / 'run')!r}, '--metrics', 'inversion']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_a_model_that_could_not_be_saved_is_not_trained(tmp_path, capsys):
    text = (
        FILES["orthogonal.py"]
        .replace('"orthogonal")', '"no-meta")')
        .replace(
            "        self.generator = ", "        float(torch.ones(1))\n        self.generator = "
        )
    )
    (tmp_path / "nometa.py").write_text(text)
    line = ["--plugin", str(tmp_path / "nometa.py"), "--network.kind", "no-meta"]
    assert train_digits(tmp_path / "run", *line, "--engine.memory", "reversible") == 2
    assert "could not be loaded again" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_state_that_could_not_be_read_again_is_refused_when_it_is_written(tmp_path, capsys):
    text = FILES["moments.py"].replace('"moments")', '"numpy-state")')
    text += "\n    def state(self):\n        import numpy\n        return {'a': numpy.ones(1)}\n"
    (tmp_path / "numpystate.py").write_text(text)
    line = ["--plugin", str(tmp_path / "numpystate.py"), "--method", "numpy-state"]
    line += ["--prior", "gaussian", "--trainer.checkpoint_every", "1"]
    assert train_digits(tmp_path / "run", *line) == 2
    assert "holds more than tensors" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["digits-transport", "digits-semi"])
def test_a_training_that_diverges_is_one_sentence(tmp_path, capsys, recipe):
    line = ["--method.transport_start", "0", "--optimizer.lr", "1e12", "--optimizer.clip", "null"]
    out = str(tmp_path / "run")
    assert main(["train", recipe, *line, *SHORT, "--trainer.max_steps", "20", "--out", out]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "stopped being finite at step" in said


@pytest.mark.parametrize("kind", ["METHODS", "PRIORS", "NETWORKS", "METRICS", "SOURCES"])
@pytest.mark.parametrize("thing", [dict, lambda: None], ids=["class", "function"])
def test_what_is_no_such_thing_cannot_be_registered(kind, thing):
    with pytest.raises(GenrevError, match=r"make it a subclass of genrev\.[A-Z][a-z]+\.$"):
        getattr(genrev, kind).register("mine")(thing)
    assert "mine" not in getattr(genrev, kind)


def test_a_method_without_options_and_words_is_in_the_help(tmp_path, capsys):
    text = "import genrev\n\n\n@genrev.METHODS.register('bare')\nclass Bare(genrev.Method):\n"
    text += (
        "    def losses(self, model, batch, noise):\n        return {'a': batch.images.mean()}\n"
    )
    (tmp_path / "bare.py").write_text(text)
    line = ["--plugin", str(tmp_path / "bare.py"), "--method", "bare", "--prior", "gaussian"]
    assert main(["train", "digits", *line, "--help"]) == 0
    assert "\nmethod: bare (--method takes " in capsys.readouterr().out
