"""Sphinx configuration; `make docs` builds the site and fails on any warning.

The notebooks of ``examples/`` (linked here as ``docs/examples``) are executed for their pages.
"""

import sys
from pathlib import Path

import genrev

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "genrev"
author = "The genrev authors"
copyright = "2026, the genrev authors"
release = genrev.__version__

extensions = [
    "myst_nb",  # myst_parser, and notebooks
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "commands",  # these three are in extensions/
    "mathml",
    "public",
]
exclude_patterns = ["_build", "conf.py", "drawings", "extensions"]
html_theme = "furo"
html_title = "genrev"
html_math_renderer = "mathml"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
napoleon_google_docstring = True
suppress_warnings = ["ref.python"]  # a name that is defined in one module and exported by another

# Every reference to an object of genrev has to resolve. Those to other projects would need their
# inventories, and with them a network; and these few names are for the reader of signatures only.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(collections|os|pathlib|torch|numpy|PIL|matplotlib|lightning|huggingface_hub)\..*"),
    ("py:class", r"genrev\.reversible\.(stream\.(Stream|Halves)|engine\.replay\.Replay)"),
    (
        "py:class",
        r"genrev\.data\.(images\.Images|shards\.Shards|images\.Inventory|streaming\.order\.Window)",
    ),
    ("py:class", r"genrev\.(models\.devices\.(Items|Result)|priors\.expectation\.Mixture)"),
    ("py:class", r"genrev\.training\.steps\.graphs\.Recorder"),
    ("py:class", r"genrev\.progress\.T|Image\.Image|Figure"),  # the latter imported when used
    ("py:class", r"genrev\.registry\.C|pydantic\.fields\.FieldInfo"),
]

nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"  # a cache would not see that genrev has changed
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds for a cell
nb_merge_streams = True  # one box for all that a cell prints
nb_output_stderr = "remove"  # where it trains and into which folder, which is a temporary one

# `make linkcheck`: links to elsewhere, which takes a network.
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_ignore = [r"http://(127\.0\.0\.1|localhost)[:/].*"]


def _fields(app, what, name, thing, options, lines):
    """Below a class of options: every option, its default, what it takes and what it is."""
    from genrev.options import Options, allowed

    if what != "class" or not issubclass(thing, Options):
        return
    for option, field in thing.model_fields.items():
        default = "" if field.is_required() else f" = {field.default!r}"
        words = " ".join((field.description or "").split())
        lines += ["", f"``{option}{default}``", f"   {words} Takes {allowed(field)}."]
    lines.append("")
    app.env.current_document.autodoc_annotations.pop(name, None)


def _bare(app, what, name, thing, options, signature, returned):
    """The call of a class of options takes keywords, which are told with the options."""
    from genrev.options import Options

    if what == "class" and issubclass(thing, Options):
        return "(**values)", None
    return None


def _skip(app, what, name, thing, skip, options):
    """The fields themselves, which are told above: pydantic's types are no reading."""
    from genrev.options import Options

    classes = [Options]
    for owner in classes:
        classes += owner.__subclasses__()
    field = any(name in owner.model_fields for owner in classes) or name == "model_config"
    return True if field and not callable(thing) and not hasattr(thing, "__get__") else skip


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _fields)
    app.connect("autodoc-process-signature", _bare)
    app.connect("autodoc-skip-member", _skip)
