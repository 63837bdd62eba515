#!/usr/bin/env python3
"""Find learning rates worth trying: one short run in which the rate grows from step to step, in this process.

python jobs/find_lr.py RECIPE [--steps 100] [--from 1e-6] [--to 10] [--out lr_range.png] [--set PATH=VALUE ...]

The schedule of the recipe is left out: what is found is the highest rate of a schedule. See docs/sweeps.md.
"""

import os
import sys
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

import torch

from kinoray.cli.arguments import load_site, recipe_overrides, run
from kinoray.cli.console import make_console
from kinoray.cli.finding_lr import LrConsole, find_lr_parser
from kinoray.recipe import Recipe
from kinoray.train.local import LocalFeed
from kinoray.train.lr_finder import exponential_rates, find_lr
from kinoray.train.world import World


def main(arguments: Namespace) -> None:
    site = load_site(arguments)
    recipe = Recipe.load(arguments.recipe, recipe_overrides(arguments.set))
    dataset = recipe.data.load(recipe.model.num_classes)
    feed = LocalFeed(recipe, dataset, num_threads=site.decode_threads or os.cpu_count() or 1)
    rates = exponential_rates(arguments.lowest, arguments.highest, arguments.num_steps)
    world = World(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    console = make_console()
    console.print(
        f"{recipe.name}: {len(rates)} steps of {recipe.data.train.batch_size} videos on {world.describe()}, "
        f"lr {rates[0]:g} to {rates[-1]:g}"
    )
    if arguments.dry_run:
        return
    with LrConsole(console, len(rates)) as view:
        found = find_lr(recipe, feed, world, rates, tell=view.tell)
    view.close(found, recipe=arguments.recipe, out=Path(arguments.out))


if __name__ == "__main__":
    run(main, find_lr_parser(__doc__ or ""))
