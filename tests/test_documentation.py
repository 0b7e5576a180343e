"""The Python of README and documentation runs, their commands exist, and so do files they name."""

import inspect
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

import genrev
from genrev.cli import main as cli
from genrev.cli.search import run_search
from genrev.cli.train import read_arguments

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
PAGES.pop("extend.md", None)  # tests/test_extend.py runs it


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", PAGES[page], flags=re.DOTALL | re.MULTILINE)


def python(page: str) -> str:
    """All Python of a page: a later block may use what an earlier one made."""
    return "\n".join(text for language, text in blocks(page) if language == "python")


COMMANDS = [
    (page, re.split(r" [|>] |  #", line)[0].strip())  # without redirections and comments
    for page in PAGES
    for language, text in blocks(page)
    if not language
    for line in text.splitlines()
    if line.startswith("genrev ")
]


@pytest.mark.parametrize("page", [page for page in PAGES if python(page)])
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(python(page), page, "exec"), {})


class Checked(Exception):
    """Arguments are right, and a search would begin."""


def checked(*_):
    raise Checked


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_have_these_arguments(page, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command)[1:]
    if arguments[0] == "search":
        Path("inception.pt").touch()
        monkeypatch.setattr("genrev.searching.trials.claim", checked)
        with pytest.raises(Checked):  # and nothing was wrong before
            run_search(arguments[1:])
        return
    if arguments[0] != "train":
        assert cli._parser(arguments[0]).parse_args(arguments).command == arguments[0]
        return
    name = arguments[1]
    if name.endswith(".yaml"):  # the one that the page shows
        (text,) = (text for language, text in blocks(page) if language == "yaml")
        Path(name).write_text(text)
    config, out = read_arguments(arguments[1:])
    assert config.recipe == Path(name).stem
    assert str(out).startswith("runs/")


def test_the_reference_has_every_name_of_genrev():
    told = set()
    for page in ROOT.glob("docs/reference/*.md"):
        blocks = re.findall(r"^```\{public\} (\S+)\n(.*?)^```", page.read_text(), re.M | re.S)
        for name, listed in blocks:
            module = import_module(name)
            things = vars(module).items()
            own = [key for key, thing in things if getattr(thing, "__module__", None) == name]
            told |= {id(getattr(module, key)) for key in listed.split() or own}
    names = {name: getattr(genrev, name) for name in genrev.__all__ if name != "__version__"}
    missing = {name for name, thing in names.items() if id(thing) not in told}
    assert missing == {name for name, thing in names.items() if inspect.ismodule(thing)}


# Sphinx checks the links between pages of the site, but not those of the files beside it, nor paths
# that stand in plain text.
TEXTS = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/reference/*.md",
        "src/**/*.py",
        "src/**/*.yaml",
        "examples/*.py",
    )
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(
    r"(?<![\w/.:-])(?:(?:docs|tests|examples)/[\w./-]*\.(?:md|py|png|gif)|src/genrev[\w./-]*\w)\b"
)


def without_code(text: str) -> str:
    """Markdown without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.+)$", without_code(page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path) -> list[str]:
    """Links of a Markdown file to files of this repository, or headings in them, that are not."""
    broken = []
    for link in LINK.findall(without_code(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        inside = target.is_relative_to(ROOT) and target.exists()
        if not inside or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", [path for path in TEXTS if path.suffix == ".md"], ids=str)
def test_links_lead_to_files_and_headings(page):
    if not (ROOT / "docs").is_dir():
        pytest.skip("the documentation is not here (a source distribution)")
    assert broken_links(page) == []


def test_paths_in_the_text_exist():
    if not (ROOT / "docs").is_dir():
        pytest.skip("the documentation is not here (a source distribution)")
    named = {(path, name) for path in TEXTS for name in PATH.findall(path.read_text())}
    # Whole, or the beginning of the names of some files.
    missing = {(str(path), name) for path, name in named if not any(ROOT.glob(f"{name}*"))}
    assert not missing
    assert len(named) > 20


def test_a_broken_link_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# A title, of sorts\n\n```\n# no title\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#a-title-of-sorts) [c](https://example.org)\n"
        "[d](other.md#no-title) ![e](none.png) [f](../outside.md) [g](#nowhere)\n"
    )
    expected = ["other.md#no-title", "none.png", "../outside.md", "#nowhere"]
    assert broken_links(page) == expected


def test_there_is_something_to_test():
    assert len([page for page in PAGES if python(page)]) >= 4
    assert len(COMMANDS) > 20
