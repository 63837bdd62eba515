#!/usr/bin/env python3
"""Tell whether `ray job submit --working-dir DIR` can upload DIR, before it is tried.

Exit codes: 0 it fits, 2 it is too big or no directory.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cluster.upload import upload_size
from kinoray.errors import KinorayError


def main() -> int:
    """Prints the report on stdout where it fits, else on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path, default=ROOT, help="default: this checkout")
    try:
        report = upload_size(parser.parse_args().root)
    except KinorayError as error:
        print(error, file=sys.stderr)
        return 2
    print(report.describe(), file=sys.stdout if report.fits else sys.stderr)
    return 0 if report.fits else 2


if __name__ == "__main__":
    sys.exit(main())
