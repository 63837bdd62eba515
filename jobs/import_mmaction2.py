#!/usr/bin/env python3
"""Turn a config of MMAction2 1.x and its checkpoint into a recipe and a checkpoint of Kinoray; say what became what.

python jobs/import_mmaction2.py CONFIG.py [--checkpoint X.pth] -o FOLDER      FOLDER/CONFIG.yaml, FOLDER/checkpoint

Neither file is ever executed, and MMAction2 need not be installed. See docs/mmaction2.md.
"""

import sys
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import run
from kinoray.cli.console import make_console
from kinoray.cli.importing import CHECKPOINT, convert_weights, importing_parser, show_import, translated, write_recipe


def main(arguments: Namespace) -> None:
    translation, recipe = translated(arguments)
    out = Path(arguments.out)
    places = [("recipe", str(write_recipe(translation, recipe, Path(arguments.config), out)))]
    if arguments.checkpoint is not None:
        report = convert_weights(recipe, arguments.checkpoint, out)
        places += [("weights", report.line()), ("checkpoint", str(out / CHECKPOINT))]
    show_import(make_console(), translation, places)


if __name__ == "__main__":
    run(main, importing_parser(__doc__ or ""))
