"""Arguments that jobs share, and how a job ends: 0 done, 1 failed at work, 2 the input was wrong, 130 interrupted."""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from kinoray.config.secrets import without_passwords
from kinoray.errors import KinorayError
from kinoray.site import Site

MAX_LINE = 1_000
"""Characters of a message's line: what it quotes may be a whole file."""
SITE_PREFIX = "site."
SWEEP_PREFIX = "sweep."


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


def recipe_overrides(assignments: Sequence[str], *others: str) -> list[str]:
    """Those of ``--set`` that mean the recipe: neither the site nor what begins with ``others``."""
    return [assignment for assignment in assignments if not assignment.startswith((SITE_PREFIX, *others))]


def sweep_overrides(assignments: Sequence[str]) -> list[str]:
    """Those of ``--set`` that mean the sweep, without saying so."""
    return [text.removeprefix(SWEEP_PREFIX) for text in assignments if text.startswith(SWEEP_PREFIX)]


def load_site(arguments: argparse.Namespace) -> Site:
    """The site of ``--site`` and ``--set site.*``; this process, too, can then import the packages that it names.

    Raises:
        ConfigError: lists every problem with what set it.
    """
    overrides = [text.removeprefix(SITE_PREFIX) for text in arguments.set if text.startswith(SITE_PREFIX)]
    site = Site.load(arguments.site, overrides)
    sys.path += [str(Path(package).resolve().parent) for package in site.packages]
    return site


def printable(message: str) -> str:
    """A message as a terminal takes it: lines of some length, and without what would move its cursor or colour it."""
    half = MAX_LINE // 2
    lines = [line if len(line) <= MAX_LINE else f"{line[:half]} ... {line[-half:]}" for line in message.split("\n")]
    return "".join(
        letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in "\n".join(lines)
    )


def run(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Parse, call ``main``, exit with the code that fits; a user's mistake is told without a traceback."""
    arguments = parser.parse_args()
    try:
        main(arguments)
    except KinorayError as error:
        sys.stdout.flush()
        print(f"{parser.prog}: {printable(without_passwords(str(error)))}", file=sys.stderr)
        sys.exit(1 if error.at_work else 2)
    except Exception:  # noqa: BLE001 - ours to mend; texts in its traceback may quote an address that the user gave
        sys.stdout.flush()
        print(without_passwords(traceback.format_exc()), end="", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: interrupted", file=sys.stderr)
        sys.exit(130)
