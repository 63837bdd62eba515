#!/usr/bin/env python3
"""Look at what a prediction did: one HTML page with counts, confidence, pictures of each class, and the doubtful ones.

python jobs/report.py PREDICTIONS [--labels manifest.csv] [--out page.html]

With labels also accuracy, the confusion matrix, and the worst mistakes as clips. The page holds all its pictures.
"""

import sys
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import run
from kinoray.cli.console import make_console
from kinoray.cli.reporting import report_parser, write_report


def main(arguments: Namespace) -> None:
    write_report(arguments, make_console())


if __name__ == "__main__":
    run(main, report_parser(__doc__ or ""))
