#!/usr/bin/env python3
"""Name what happens in a video: the best classes with their scores, and the video with them drawn on it.

python jobs/recognize.py VIDEO --model runs/RUN                              the run's best checkpoint
python jobs/recognize.py VIDEO --model model.onnx --out shown.mp4            a file of jobs/export.py
python jobs/recognize.py VIDEO --model CONFIG --checkpoint WEIGHTS --labels labels.txt --out shown.gif

See docs/recognize.md.
"""

import sys
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import load_site, run
from kinoray.cli.console import make_console
from kinoray.cli.recognizing import check_arguments, device_named, recognize, recognize_parser
from kinoray.recognizer import load_recognizer


def main(arguments: Namespace) -> None:
    load_site(arguments)
    check_arguments(arguments)
    recognizer = load_recognizer(
        arguments.model,
        arguments.checkpoint,
        device=device_named(arguments.device),
        split=arguments.split,
        labels=arguments.labels,
    )
    recognize(make_console(), recognizer, arguments.video, top=arguments.top, out=arguments.out)


if __name__ == "__main__":
    run(main, recognize_parser(__doc__ or ""))
