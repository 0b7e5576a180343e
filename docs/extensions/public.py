"""The directive ``public``: what a module defines, under the names that users import.

``{public} genrev.reversible.block`` with the names ``Block ModuleBlock`` as its content tells what
the module says of itself, then ``genrev.Block`` and ``genrev.reversible.ModuleBlock``. Without
names it tells everything that the module defines and that has no underscore.
"""

import inspect
from importlib import import_module

from sphinx.util.docutils import SphinxDirective

import genrev


class Public(SphinxDirective):
    """Autodoc's directives for the names of a module."""

    required_arguments = 1
    has_content = True

    def run(self):
        module = import_module(self.arguments[0])
        lines = [f".. automodule:: {module.__name__}", "   :no-members:", "   :no-index:", ""]
        for name in " ".join(self.content).split() or defined(module):
            thing = getattr(module, name)
            members = ["   :members:"] if inspect.isclass(thing) else []
            lines += [f".. {_directive(thing)}:: {public_name(module, name)}", *members, ""]
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *lines, "```"]))


def defined(module):
    """Names of the classes and functions that a module defines, in the order of its source."""
    things = {
        name: thing
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    }
    own = [name for name, thing in things.items() if inspect.isclass(thing) or callable(thing)]
    return sorted(own, key=lambda name: inspect.getsourcelines(things[name])[1])


def public_name(module, name):
    """Where users import it from: genrev, else the nearest package that has it, else the module."""
    thing, parts = getattr(module, name), module.__name__.split(".")
    if name in genrev.__all__ and getattr(genrev, name) is thing:
        return f"genrev.{name}"
    for depth in range(2, len(parts)):
        package = ".".join(parts[:depth])
        if getattr(import_module(package), name, None) is thing:
            return f"{package}.{name}"
    return f"{module.__name__}.{name}"


def _directive(thing):
    if inspect.isclass(thing):
        return "autoexception" if issubclass(thing, BaseException) else "autoclass"
    return "autofunction" if inspect.isroutine(thing) else "autodata"


def setup(app):
    """Called by Sphinx."""
    app.add_directive("public", Public)
    return {"parallel_read_safe": True}
