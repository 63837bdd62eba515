#!/usr/bin/env python3
"""Compare runs: params that differ, metrics, cost; with --out also a CSV file and curves. Reads MLflow, nothing else.

python jobs/compare.py RUN [RUN ...] [--out FOLDER] [--site SITE]     a sweep's name stands for all its trials
"""

import sys
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import load_site, run
from kinoray.cli.comparing import compare_parser, show_runs
from kinoray.cli.console import make_console
from kinoray.tracking.compare import load_runs


def main(arguments: Namespace) -> None:
    runs = load_runs(load_site(arguments), arguments.runs)
    show_runs(make_console(), runs, Path(arguments.out) if arguments.out else None)


if __name__ == "__main__":
    run(main, compare_parser(__doc__ or ""))
