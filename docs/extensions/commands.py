"""Fills ``commands.md``: every command of ``genrev``, from the parsers that read its arguments."""

import argparse
import re

from genrev.cli import main as cli
from genrev.cli import search, train

MARK = "<!-- every command -->"
RECIPE = "mnist"  # whose keys are shown


def page():
    """A section for every command: what it does, how it is called, its arguments."""
    return "\n\n".join(_section(name) for name in cli._MODULES)


def _section(name):
    told = [f"## {name}", _plain(cli._SUMMARIES[cli._MODULES[name]][name])]
    if name == "train":
        keys = train._help_of(train.read_line([RECIPE]))
        text = f"`genrev train {RECIPE} --help` lists the keys of one recipe with its values:"
        usage = re.sub(r"recipes:\n(  .*\n)+\n", "", train._help())  # they have a page of their own
        return "\n\n".join([*told, _literal(usage), text, *_keys(keys)])
    if name == "search":
        return "\n\n".join([*told, _literal(f"usage: {search._USAGE}\n\n{search._HELP}")])
    commands = next(
        action
        for action in cli._parser(name)._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    parser = commands.choices[name]
    formatter = argparse.HelpFormatter(parser.prog, width=88)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups)
    told.append(_literal(formatter.format_help()))
    for action in parser._actions:
        if "--help" in action.option_strings or action.help == argparse.SUPPRESS:
            continue
        words = formatter._expand_help(action) if action.help else ""
        told.append(f"`{formatter._format_action_invocation(action)}`\n: {_plain(words)}")
    return "\n\n".join(told)


def _keys(text):
    """What the help of a recipe says, as titles and definitions."""
    for part in re.split(r"\n+(?=\S|  --)", text)[2:]:  # usage and headline come first
        head, *words = part.splitlines()
        term = f"`{head.strip()}`\n: {_plain(' '.join(' '.join(words).split()))}"
        yield term if part.startswith("  --") else f"**{_plain(head)}**"


def _literal(text):
    return f"```text\n{text.strip()}\n```"


def _plain(text):
    """Text of a terminal as Markdown: a sentence in which nothing is markup but its backticks."""
    if "`" not in text:
        text = re.sub(r"([*_<>\[\]{}$|])", r"\\\1", text)
        text = re.sub(r"(?<!\S)(--[\w.-]*\w)", r"`\1`", text)
    return f"{text[:1].upper()}{text[1:].rstrip('.:')}."


def _fill(app, docname, source):
    if docname == "commands":
        source[0] = source[0].replace(MARK, page())


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True}
