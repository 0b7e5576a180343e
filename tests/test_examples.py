"""Every notebook in examples/ runs as a script, shows what it says, and is linked from its page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(ROOT.glob("examples/*"))

SHOWN = re.compile(r"^(?:plt\.)?show\(", re.MULTILINE)

# As Jupyter would, count the figures that are shown; the last line of output is their number.
RUN = """
import runpy, sys
import matplotlib.pyplot as plt
shown = []
plt.show = lambda: (shown.append([len(f.axes) for f in map(plt.figure, plt.get_fignums())]),
                    plt.close("all"))
runpy.run_path(sys.argv[1])
assert not plt.get_fignums(), "a figure was drawn and not shown"
assert all(len(axes) == 1 and axes[0] for axes in shown), "an empty figure, or several at once"
print(len(shown))
"""


def numbers(pattern: str, output: str) -> list[float]:
    """The groups of the one place that a pattern matches."""
    (found,) = re.findall(pattern, output)
    groups = (found,) if isinstance(found, str) else found
    return [float(group.replace(",", "")) for group in groups]


def check_train_and_sample(output: str) -> None:
    (start,) = numbers(r"after 1 step: Fréchet distance ([\d.]+)", output)
    end, precision, recall = numbers(
        r"after \d{2,} steps: Fréchet distance ([\d.]+), precision ([\d.]+), recall ([\d.]+)",
        output,
    )
    assert end < start / 2
    assert precision > 0.7
    assert recall > 0.3


def check_explore_latent_space(output: str) -> None:
    full, restricted = numbers(r"full ([\d.e-]+), restricted ([\d.]+)", output)
    assert full < 1e-6 < 0.01 < restricted
    (drawn,) = numbers(r"drawn by the model: +([\d.]+)%", output)
    (clipped,) = numbers(r"clipped: +([\d.]+)%", output)
    (enlarged,) = numbers(r"enlarged digits: +([\d.]+)%", output)
    assert 0 < drawn < clipped < 25 < 40 < enlarged


def check_your_own_images(output: str) -> None:
    full, restricted, total = numbers(
        r"changed, full: +(\d+) of \d+\n.*restricted: +(\d+) of (\d+)", output
    )
    assert full == 0 < restricted < total
    assert numbers(r"mean error, restricted: +([\d.]+) of 255", output)[0] < 20
    assert "noise came back exactly" in output


def check_compare_with_vae(output: str) -> None:
    revnet, vae = numbers(r"Fréchet distance +([\d.]+) ± [\d.]+ +([\d.]+) ± [\d.]+", output)
    assert revnet < vae
    own, other = numbers(r"parameters +([\d,]+) +([\d,]+)", output)
    assert 0.9 < own / other < 1.1


def check_memory_against_depth(output: str) -> None:
    measured, counted = numbers(r"([\d.]+) MiB measured, ([\d.]+) MiB counted", output)
    assert measured == pytest.approx(counted, rel=0.1)
    assert numbers(r"reversible: ([\d.]+) times the memory", output)[0] < 1.1


def check_plain_loop(output: str) -> None:
    first, last = re.findall(r"reconstruction ([\d.]+), clamp [\d.]+, distance ([\d.]+)", output)
    assert float(last[0]) < float(first[0]) * 0.8
    assert float(last[1]) < float(first[1]) * 0.8


def check_loss_falls(output: str) -> None:
    first, last = numbers(r"first step ([\d.]+), at the last ([\d.]+)", output)
    assert last < first * 0.8


def check_two_moons(output: str) -> None:
    (true,) = numbers(r"true density: (-[\d.]+) nats", output)
    ours, own = numbers(r"genrev: (-[\d.]+) nats, ([\d,]+) parameters", output)
    theirs, other = numbers(r"NSF: (-[\d.]+) nats, ([\d,]+) parameters", output)
    assert 0.9 < own / other < 1.1
    assert theirs - 0.1 < ours < true + 0.01
    assert numbers(r"error of .*: ([\d.e-]+)", output)[0] < 1e-3


def check_table(output: str) -> None:
    density = {
        name: numbers(rf"{name} +(-[\d.]+) nats", output)[0]
        for name in ("truth", "normal", "likelihood", "conditional")
    }
    for name in ("likelihood", "conditional"):
        assert density["normal"] + 0.5 < density[name] < density["truth"] + 0.1
    assert numbers(r"distance of likelihood +([\d.]+)", output)[0] < 0.3
    assert numbers(r"distance of transport +([\d.]+)", output)[0] < 0.6
    given = re.findall(r"mean (-?[\d.]+), deviation [\d.]+; truth (-?[\d.]+) and", output)
    assert len(given) == 3
    assert all(abs(float(drawn) - float(true)) < 0.4 for drawn, true in given)


def check_volumes(output: str) -> None:
    stored = numbers(r"\n +2 +([\d.]+) +[\d.]+\n", output)[0]
    assert numbers(r"\n +64 +([\d.]+) +[\d.]+\n", output)[0] > 2 * stored
    assert numbers(r"from 2 to 64 couplings: ([\d.]+) times", output)[0] < 1.05
    assert numbers(r"in float32: +([\d.e+-]+)", output)[0] < 1e-3
    assert numbers(r"in fixed point: ([\d.e+-]+)", output)[0] < 1e-6
    assert "the same volume comes back: True" in output


def check_own_classifier(output: str) -> None:
    stored, checkpoint, reversible = (
        numbers(rf"{way} +peak +([\d.]+) MiB", output)[0]
        for way in ("stored", "checkpoint", "reversible")
    )
    assert reversible < checkpoint < stored
    assert numbers(r"gradients, reversible: ([\d.e-]+)", output)[0] < 1e-4
    assert numbers(r"; (\d+)% of the test images", output)[0] > 60


def check_exact_inversion(output: str) -> None:
    names = "RevNet", r"RevNet, \d+ dims a tile", "VAE, .*tile", "DDIM, .*steps"
    exact, *others = (
        numbers(rf"\n?{name} +largest error ([\d.e+-]+), .* changed ([\d.]+)%", output)
        for name in names
    )
    assert exact == [0, 0]
    assert all(largest > 0.02 and changed > 20 for largest, changed in others)


check_lightning_module = check_accelerate_loop = check_loss_falls


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_runs_and_shows_what_it_says(path, tmp_path):
    check = globals()[f"check_{path.stem}"]  # every example has one
    if path.stem == "two_moons":
        pytest.importorskip("zuko", reason="zuko is not installed (extra flows)")
    if path.stem == "accelerate_loop":
        pytest.importorskip("accelerate", reason="accelerate is not installed (extra dev)")
    environment = os.environ | {
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(tmp_path),
        "GENREV_CACHE": str(tmp_path / "cache"),
    }
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path)],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == len(SHOWN.findall(path.read_text()))
    assert not list(work.iterdir()), "all output goes to a temporary folder"
    check(done.stdout)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_is_a_jupytext_notebook(path):
    jupytext = pytest.importorskip("jupytext")  # of the dev extra
    text = path.read_text()
    notebook = jupytext.reads(text, fmt="py:percent")
    _, head, cells = text.split("# ---\n", 2)
    assert "format_name: percent" in head
    assert jupytext.writes(notebook, fmt="py:percent").endswith(f"# ---\n{cells}")
    first, *rest = notebook.cells
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert {cell.cell_type for cell in rest} == {"markdown", "code"}
    assert all(cell.source.strip() for cell in rest)
    assert max(len(cell.source.splitlines()) for cell in rest) <= 40


def test_the_page_lists_every_example():
    page = ROOT / "docs" / "examples.md"
    if not page.is_file():
        pytest.skip("the documentation is not here (a source distribution)")
    text = page.read_text()
    names = [path.stem for path in EXAMPLES]
    assert len(names) >= 5
    in_table = re.findall(r"^\| \{doc\}`[^`]+ <examples/(\w+)>` \| \w", text, re.MULTILINE)
    in_site = re.findall(r"^examples/(\w+)$", text, re.MULTILINE)
    assert in_table == in_site
    assert sorted(in_site) == names
    assert all(path.suffix == ".py" for path in EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_uses_only_what_the_reference_promises(path):
    reference = ROOT / "docs" / "reference"
    if not reference.is_dir():
        pytest.skip("the documentation is not here (a source distribution)")
    pages = "".join(page.read_text() for page in reference.glob("*.md"))
    modules = {"genrev", *re.findall(r"\{public\} (genrev\.\w+)", pages)}
    used = re.findall(r"^from (genrev[\w.]*) import", path.read_text(), re.MULTILINE)
    assert set(used) <= modules, "from packages, not from the files in them"
    assert not re.search(r"\bsys\.path\b|\b\._\w", path.read_text())
