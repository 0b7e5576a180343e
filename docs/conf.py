"""Sphinx configuration; `make docs` builds the site and fails on any warning."""

from importlib import metadata

project = "genrev"
author = "The genrev authors"
copyright = "2026, the genrev authors"
release = metadata.version("genrev")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "genrev"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
napoleon_google_docstring = True
suppress_warnings = ["ref.python"]  # a name that is defined in one module and exported by another
