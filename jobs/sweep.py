#!/usr/bin/env python3
"""Train one recipe many times with other values, end the worse ones early, and say what is best.

python jobs/sweep.py SWEEP [--site SITE] [--set PATH=VALUE ...]; the same command again goes on with what is not done
--set optimizer.momentum=0.8 means the recipe, --set sweep.trials=4 the sweep, --set site.workers=2 the site
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import SWEEP_PREFIX, job_parser, load_site, recipe_overrides, run, sweep_overrides
from kinoray.cli.console import make_console
from kinoray.cli.sweeping import SweepConsole, announce_sweep, close_sweep
from kinoray.cluster.session import capacity_of, session
from kinoray.cluster.sweep.plan import plan_sweep
from kinoray.cluster.sweep.run import run_sweep
from kinoray.cluster.sweep.trial_log import TrialLog
from kinoray.sweep.file import Sweep
from kinoray.tracking.sweep import tracked_sweep


def parser() -> ArgumentParser:
    arguments = job_parser(__doc__ or "")
    arguments.add_argument("sweep", help="a sweep file, such as configs/sweeps/lr_schedule_motion8.yaml")
    return arguments


def main(arguments: Namespace) -> None:
    site, overrides = load_site(arguments), recipe_overrides(arguments.set, SWEEP_PREFIX)
    sweep = Sweep.load(arguments.sweep, sweep_overrides(arguments.set))
    plan = plan_sweep(sweep, site, capacity_of(site), overrides)
    log = TrialLog(plan.folder)
    log.check(sweep, plan.recipe)
    console = make_console()
    announce_sweep(console, plan, log)
    if arguments.dry_run:
        return
    with (
        log.opened(sweep, plan.recipe),
        tracked_sweep(sweep, plan.recipe, plan.datasets, site, plan.allocation, sweep_id=log.sweep_id) as tracker,
        session(site),
        SweepConsole(console) as view,
    ):
        states = run_sweep(plan, log, listeners=[view, tracker])
    places = [("model", tracker.best_model), ("MLflow", tracker.link()), ("its trials", tracker.trials_link())]
    close_sweep(console, plan, log, states, overrides=overrides, places=places)


if __name__ == "__main__":
    run(main, parser())
