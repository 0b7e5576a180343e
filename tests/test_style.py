"""One dialect, as far as a test can tell: see "House style" in CONTRIBUTING.md."""

import ast
import re
from pathlib import Path

import pytest

import genrev

SOURCE = Path(genrev.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
SECTIONS = ("Args", "Returns", "Yields", "Raises", "Warns", "Attributes", "Example")
LONGEST = 60  # lines of a function


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def documented(path):
    """Docstrings of a file, with the names of what they describe."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", path.name), text


def entries(text):
    """Section and text of every entry of ``Args:`` and the like."""
    section = None
    for line in text.splitlines():
        if heading := re.fullmatch(r"([A-Z]\w+):", line):
            section = heading[1]
        elif line and not line.startswith(" "):
            section = None
        elif section and (entry := re.match(r"    (\*{0,2}[\w., ]+): (.+)", line)):
            yield section, entry[1], entry[2]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_docstrings_speak_one_dialect(path):
    for name, text in documented(path):
        for heading in re.findall(r"^(\w+):$", text, re.MULTILINE):
            assert heading in SECTIONS, f"{name} has a section {heading}"
        for section, entry, words in entries(text):
            if section in ("Args", "Raises", "Attributes"):
                first = words.split()[0]
                assert not re.match(r"(If|A|An|The|Whether|Number|How|What)$", first), (
                    f"{name}: {entry} begins with {first!r}; entries start in lower case"
                )
            if section == "Raises":
                assert not words.lower().startswith("if "), f"{name}: {entry}: say what is wrong"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_functions_fit_on_a_page(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= LONGEST, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_what_users_are_told_is_a_sentence(path):
    for node in ast.walk(tree(path)):
        called = isinstance(node, ast.Call) and getattr(node.func, "id", "")
        if called in ("GenrevError", "OptionError") and node.args:
            words = literal(node.args[0])
            if words:
                assert re.search(r"[.?`}\]]$", words), f"no full stop: {words}"
                assert not re.match(r"[a-z]+ ", words), f"no capital: {words}"


def literal(node):
    """The text of a string, with {} for what is put in; nothing for other expressions."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
        return "".join(parts)
    return ""


def test_blocks_are_asked_by_their_class():
    for path in SOURCE.glob("reversible/**/*.py"):
        for node in ast.walk(tree(path)):
            asked = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "hasattr"
            assert not asked, f"{path.name}:{node.lineno}: a block has a base class"
