"""List the recipes that come with genrev, or print one.

A printed recipe is a starting point for an own one: redirect it to a file and edit.
"""

import argparse

from genrev.cli.terminal import print_json
from genrev.recipes import headline, read_recipe, recipe_names


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", nargs="?", metavar="RECIPE", help="print the keys of this one")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    """Print names and headlines, or one recipe."""
    if options.name is not None:
        from genrev.files.readers import dump_yaml

        _, values = read_recipe(options.name)
        if options.json:
            print_json(values)
        else:
            print(dump_yaml(values), end="")
        return
    names = recipe_names()
    if options.json:
        print_json({name: headline(name) for name in names})
        return
    width = max(len(name) for name in names)
    for name in names:
        print(f"{name:{width}s}  {headline(name)}")
