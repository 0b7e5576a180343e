"""The core without any extra: what works, and what names the extra that it needs."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import genrev
from genrev.extras import EXTRAS, MissingExtra, require

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
# Runs the program below it as if no package of an extra were installed, theirs included.
HIDING = """
import sys
from importlib.machinery import PathFinder
hidden = {hidden!r}
real = PathFinder.find_spec
PathFinder.find_spec = classmethod(lambda cls, name, path=None, target=None: (
    None if name.partition(".")[0] in hidden else real(name, path, target)))
"""
ALSO = ("pytorch_lightning", "lightning_utilities", "torchmetrics", "pandas", "joblib", "ot")


def alone(program, folder):
    hidden = {*(p for packages in EXTRAS.values() for p in packages), *ALSO}
    line = [sys.executable, "-c", HIDING.format(hidden=hidden) + program]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=folder)


def command(folder, *arguments):
    program = f"from genrev.cli.main import main\nsys.exit(main({list(arguments)!r}))"
    return alone(program, folder)


def test_the_extras_are_those_of_the_project():
    """Every package that is named belongs to the distribution that its extra asks for."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    distribution_of = packages_distributions()
    for extra, packages in EXTRAS.items():
        asked = [re.split(r"[>=\[]", each)[0] for each in project["optional-dependencies"][extra]]
        asked = {name.lower() for name in asked if name != "genrev"}
        assert len(packages) == len(asked)
        for package in packages:
            names = distribution_of.get(package, [package.replace("_", "-")])
            assert asked & {name.lower() for name in names}, package
    needed = [re.split(r"[>=\[]", each)[0] for each in project["dependencies"]]
    assert not set(needed) & {p for packages in EXTRAS.values() for p in packages}
    assert require("train") is None


def test_the_core_loads_samples_builds_and_saves(tmp_path):
    done = alone(
        """
import torch, genrev
model = genrev.load("mnist")
x = model.sample(4, label=3)
assert x.shape == (4, 1, 28, 28)
model.save_pretrained("copy")
assert torch.equal(genrev.load("copy").encode(x), model.encode(x))
net = genrev.revnet("digits")
prior = genrev.priors.ClassConditionalGaussian(10, net.latent_dim)
z = net.encode(torch.rand(6, 1, 8, 8))
genrev.objectives.sliced_wasserstein(z, prior.sample(6)).backward()
genrev.load_recipe("mnist")
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_the_command_draws_samples_and_reads_image_files(tmp_path):
    assert command(tmp_path, "sample", "mnist", "-n", "4").returncode == 0
    assert (tmp_path / "samples.png").is_file()
    done = command(tmp_path, "reconstruct", "mnist", "--images", "samples.png")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "digits"], "train"),
        (["resume", "."], "train"),
        (["evaluate", "mnist"], "train"),
        (["figures", "mnist", "--out", "figures"], "train"),
        (["app"], "app"),
        (["export", "mnist", "--to", "mnist.onnx"], "export"),
        (["search", "digits", "--trials", "1", "--out", "found"], "search"),
    ],
)
def test_a_missing_extra_is_named_in_one_sentence(tmp_path, arguments, extra):
    done = command(tmp_path, *arguments)
    line = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith("genrev: This needs the package ")
    assert line.endswith(f'; add it with `pip install "genrev[{extra}]"`.')
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_python_gets_the_same_sentence(without, tmp_path):
    without("sklearn")
    for name in [name for name in sys.modules if name == "genrev.data.sources.digits"]:
        del sys.modules[name]
    with pytest.raises(genrev.GenrevError, match=r'sklearn.*pip install "genrev\[train\]"') as told:
        genrev.load_images("digits")
    assert isinstance(told.value, ImportError)
    assert isinstance(told.value, MissingExtra)
    assert told.value.name == "sklearn"
    with pytest.raises(MissingExtra, match="sklearn"):
        require("ot", "train")


def test_attempts_of_others_fail_as_ever(without):
    """Who tries an import, here this test, finds that there is none of that name."""
    without("sklearn")
    with pytest.raises(ModuleNotFoundError) as failed:
        import sklearn  # noqa: F401
    assert not isinstance(failed.value, MissingExtra)
