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

from kinoray.cli.arguments import job_parser, load_site, recipe_overrides, run
from kinoray.cli.console import TrainingConsole, announce, make_console
from kinoray.cluster.runs import choose_run
from kinoray.cluster.session import capacity_of, session
from kinoray.cluster.training import check_run, train
from kinoray.site import allocate
from kinoray.tracking.training import log_model, tracked_training
from kinoray.train.checkpoint import read_summary


def parser() -> ArgumentParser:
    arguments = job_parser(__doc__ or "")
    arguments.add_argument("recipe", nargs="?", help="default: the demo")
    which = arguments.add_mutually_exclusive_group()
    which.add_argument("--run", metavar="NAME", help="begin this run, or go on with it where it was cut off")
    which.add_argument("--resume", metavar="NAME", help="go on with this run by its own recipe, which --set may change")
    arguments.add_argument("--print-recipe", action="store_true", help="show every value and who set it, and stop")
    return arguments


def main(arguments: Namespace) -> None:
    site, overrides = load_site(arguments), recipe_overrides(arguments.set)
    chosen = choose_run(site, arguments.recipe, overrides, default=DEMO, run=arguments.run, resume=arguments.resume)
    if arguments.print_recipe:
        print(chosen.recipe.describe())
        return
    recipe, allocation = chosen.recipe, allocate(site, capacity_of(site))
    dataset = recipe.data.load(recipe.model.num_classes)
    check_run(recipe, dataset, allocation, resumes=chosen.has_checkpoint)
    console = make_console()
    announce(console, recipe, dataset, allocation.describe(), run_name=chosen.name)
    if arguments.dry_run:
        return
    with (
        chosen.owned(site),
        tracked_training(recipe, dataset, site, allocation, run_name=chosen.name, resume=chosen.resumes) as tracker,
        session(site),
        TrainingConsole(console, recipe.evaluation.monitor, decode_cpus=allocation.decode_cpus) as view,
    ):
        best = train(recipe, dataset, site, allocation, run_name=chosen.name, listeners=[view, tracker])
        model_uri = log_model(tracker, best)
    view.close(best, read_summary(best), places=[("model", model_uri), ("MLflow", tracker.link())])


if __name__ == "__main__":
    run(main, parser())
