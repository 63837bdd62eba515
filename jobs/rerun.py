#!/usr/bin/env python3
"""Train again what a run in MLflow has trained, say first what differs here and at the end whether the numbers do.

python jobs/rerun.py RUN [--site SITE] [--set PATH=VALUE ...] [--dry-run]     RUN: its id, the beginning of it, or name
"""

import sys
from argparse import Namespace
from contextlib import chdir
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import load_site, recipe_overrides, run
from kinoray.cli.console import TrainingConsole, announce, make_console
from kinoray.cli.rerunning import allocate_as_recorded, as_recorded, conclude, load_data, rerun_parser, show_differences
from kinoray.cluster.runs import new_run_name
from kinoray.cluster.session import capacity_of, session
from kinoray.cluster.training import check_run, train
from kinoray.tracking.provenance import environment_here
from kinoray.tracking.recorded import RERUN_TAG, load_recorded
from kinoray.tracking.training import log_model, tracked_training
from kinoray.train.checkpoint import read_summary


def main(arguments: Namespace) -> None:
    given = load_site(arguments)
    old = load_recorded(given, arguments.run)
    site = as_recorded(given, old)
    with chdir(old.folder):  # what the recipe names by a relative path is looked for where the run looked
        recipe = old.recipe(recipe_overrides(arguments.set))
        allocation = allocate_as_recorded(site, capacity_of(site), old)
        dataset = load_data(recipe, old, allow_other=arguments.allow_other_data)
        check_run(recipe, dataset, allocation)
        run_name, console = new_run_name(recipe), make_console()
        announce(console, recipe, dataset, allocation.describe(), run_name=run_name)
        show_differences(console, old, recipe, dataset, environment_here(site, allocation))
        if arguments.dry_run:
            return
        with (
            tracked_training(recipe, dataset, site, allocation, run_name=run_name) as tracker,
            session(site),
            TrainingConsole(console, recipe.evaluation.monitor, decode_cpus=allocation.decode_cpus) as view,
        ):
            tracker.set_tags({RERUN_TAG: old.run_id})
            best = train(recipe, dataset, site, allocation, run_name=run_name, listeners=[view, tracker])
            model_uri = log_model(tracker, best)
        view.close(best, read_summary(best), places=[("model", model_uri), ("MLflow", tracker.link())])
    conclude(console, tracker.uri, old, tracker.run_id)


if __name__ == "__main__":
    run(main, rerun_parser(__doc__ or ""))
