"""Arguments that jobs share, and how a job ends: 0 done, 1 failed at work, 2 the input was wrong."""

import argparse
import sys
from collections.abc import Callable, Sequence

from kinoray.errors import KinorayError

SITE_PREFIX = "site."


def job_parser(description: str) -> argparse.ArgumentParser:
    """A parser with ``--site``, ``--set`` and ``--dry-run``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", metavar="YAML", help="where to compute; default: this machine, or the job's cluster")
    parser.add_argument(
        "--set",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="override one value of the recipe (optimizer.lr=0.01) or of the site (site.workers=2); may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="check recipe, site, data and resources; start nothing")
    return parser


def recipe_overrides(assignments: Sequence[str]) -> list[str]:
    """Those of ``--set`` that mean the recipe."""
    return [assignment for assignment in assignments if not assignment.startswith(SITE_PREFIX)]


def site_overrides(assignments: Sequence[str]) -> list[str]:
    """Those of ``--set`` that mean the site, without their prefix."""
    return [text.removeprefix(SITE_PREFIX) for text in assignments if text.startswith(SITE_PREFIX)]


def run(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Parse, call ``main``, exit with the code that fits; a user's mistake is told without a traceback."""
    arguments = parser.parse_args()
    try:
        main(arguments)
    except KinorayError as error:
        sys.stdout.flush()
        print(f"{parser.prog}: {error}", file=sys.stderr)
        sys.exit(1 if error.at_work else 2)
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: interrupted", file=sys.stderr)
        sys.exit(130)
