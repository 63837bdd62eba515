#!/usr/bin/env python3
"""Write a recognizer to one file, ONNX or torch.export, with its classes and views in it, and prove it right.

python jobs/export.py runs/RUN -o model.onnx                        the run's best checkpoint
python jobs/export.py CONFIG --checkpoint WEIGHTS -o model.pt2      weights from elsewhere

jobs/recognize.py and kinoray.load_recognizer open such files. See docs/export.md.
"""

import sys
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import load_site, run
from kinoray.cli.console import make_console
from kinoray.cli.exporting import export_parser, export_recognizer
from kinoray.exported.files import check_target
from kinoray.recognizer import load_recognizer


def main(arguments: Namespace) -> None:
    load_site(arguments)
    out = Path(arguments.out)
    check_target(out)
    recognizer = load_recognizer(arguments.model, arguments.checkpoint, split=arguments.split)
    export_recognizer(make_console(), recognizer, out)


if __name__ == "__main__":
    run(main, export_parser(__doc__ or ""))
