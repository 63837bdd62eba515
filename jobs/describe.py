#!/usr/bin/env python3
"""Say what a recipe's network costs: parameters, multiply-adds and memory on the recipe's own views, part by part.

python jobs/describe.py RECIPE [--set PATH=VALUE ...]     e.g. --set data.test.crop=224

Nothing is read and nothing computed but shapes: neither videos nor weights nor a GPU are needed. See docs/describe.md.
"""

import sys
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import load_site, recipe_overrides, run
from kinoray.cli.console import make_console
from kinoray.cli.describing import describe_parser, show_description
from kinoray.recipe import Recipe
from kinoray.train.describe import describe_model


def main(arguments: Namespace) -> None:
    load_site(arguments)
    recipe = Recipe.load(arguments.recipe, recipe_overrides(arguments.set))
    show_description(make_console(), recipe, describe_model(recipe))


if __name__ == "__main__":
    run(main, describe_parser(__doc__ or ""))
