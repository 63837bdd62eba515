#!/usr/bin/env python3
"""Train a recipe on Ray and record it in MLflow.

python jobs/train.py RECIPE [--site SITE] [--set PATH=VALUE ...], or the same words after `ray job submit --`
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "configs/tiny3d/tiny3d_motion8.yaml"
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import job_parser, recipe_overrides, run, site_overrides
from kinoray.cli.console import TrainingConsole, announce, make_console
from kinoray.cluster.runs import new_run_name, recipe_of_run
from kinoray.cluster.session import capacity_of, session
from kinoray.cluster.training import check_batch, train
from kinoray.recipe import Recipe
from kinoray.site import Site, allocate
from kinoray.tracking.training import log_model, tracked_training


def parser() -> ArgumentParser:
    arguments = job_parser(__doc__ or "")
    arguments.add_argument("recipe", nargs="?", default=DEMO, help="a recipe; default: the demo")
    arguments.add_argument("--print-recipe", action="store_true", help="show every value and who set it, and stop")
    arguments.add_argument("--resume", metavar="RUN", help="continue this run from its last checkpoint")
    return arguments


def main(arguments: Namespace) -> None:
    site = Site.load(arguments.site, site_overrides(arguments.set))
    overrides = recipe_overrides(arguments.set)
    resumed = arguments.resume and recipe_of_run(site, arguments.resume, overrides)
    recipe = resumed or Recipe.load(arguments.recipe, overrides)
    if arguments.print_recipe:
        print(recipe.describe())
        return
    allocation = allocate(site, capacity_of(site))
    dataset = recipe.data.load(recipe.model.num_classes)
    check_batch(recipe, dataset, allocation)
    run_name = arguments.resume or new_run_name(recipe)
    console = make_console()
    announce(console, recipe, dataset, allocation.describe(), run_name=run_name)
    if arguments.dry_run:
        return
    with (
        tracked_training(recipe, dataset, site, run_name=run_name, resume=bool(arguments.resume)) as tracker,
        session(site),
        TrainingConsole(console, recipe.evaluation.monitor) as view,
    ):
        result = train(recipe, dataset, site, allocation, run_name=run_name, listeners=[view, tracker])
        model_uri = log_model(tracker, result.best_checkpoint)
    view.close(checkpoint=result.best_checkpoint, places=[("model", model_uri), ("MLflow", tracker.link())])


if __name__ == "__main__":
    run(main, parser())
