"""What ``jobs/find_lr.py`` takes and shows."""

import argparse
import csv
import shlex
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

from kinoray.cli.arguments import job_parser
from kinoray.cli.console import closing_table, progress_bar
from kinoray.tracking.lr_range_picture import lr_range_picture
from kinoray.tracking.pictures import png_bytes
from kinoray.train.lr_finder import HIGHEST, LOWEST, NUM_STEPS, LrRange


def find_lr_parser(description: str) -> argparse.ArgumentParser:
    """What the job takes."""
    arguments = job_parser(description)
    arguments.add_argument("recipe", help="a recipe file")
    arguments.add_argument(
        "--steps",
        dest="num_steps",
        type=int,
        default=NUM_STEPS,
        metavar="N",
        help="optimizer steps; default: %(default)s",
    )
    arguments.add_argument(
        "--from", dest="lowest", type=float, default=LOWEST, metavar="LR", help="default: %(default)g"
    )
    arguments.add_argument(
        "--to", dest="highest", type=float, default=HIGHEST, metavar="LR", help="default: %(default)g"
    )
    arguments.add_argument(
        "--out", default="lr_range.png", metavar="PNG", help="picture; the figures go beside it. Default: %(default)s"
    )
    return arguments


class LrConsole:
    """Shows a range test. A context manager, because a live display has to be closed.

    Args:
        console: where to.
        num_steps: at most.
    """

    def __init__(self, console: Console, num_steps: int) -> None:
        self.console = console
        self._progress = progress_bar(console, "[bold]step")
        self._task = self._progress.add_task("", total=num_steps, figures="decoding the first batch")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tell(self, rate: float, loss: float) -> None:
        self._progress.update(self._task, advance=1, figures=f"lr {rate:.2g}  loss {loss:.3f}")

    def close(self, found: LrRange, *, recipe: str, out: Path) -> None:
        """Write the picture and the figures, and say what to do with them.

        Args:
            found: by the test.
            recipe: as the user named it.
            out: the picture's file.
        """
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(png_bytes(lr_range_picture(found)))
        table = out.with_suffix(".csv")
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("lr", "loss", "smoothed"))
            writer.writerows(zip(found.rates, found.losses, found.smoothed, strict=True))
        rows = [*figures_of(found), *advice(found, recipe), ("picture", str(out)), ("figures", str(table))]
        self.console.print(closing_table("learning rate", rows))


def figures_of(found: LrRange) -> list[tuple[str, str]]:
    """What was read off."""
    last = f"never up to {found.rates[-1]:.2g}" if found.bound is None else f"from {found.bound:.2g} on"
    steepest = "nowhere" if found.steepest is None else f"{found.steepest:.2g}"
    return [
        ("loss falls fastest at", steepest),
        ("loss is lowest at", f"{found.turn:.2g}"),
        ("loss is worse than at first", last),
    ]


def advice(found: LrRange, recipe: str) -> list[tuple[str, str]]:
    """What to do with it: values for a recipe and for a sweep's space, or how to see more.

    Args:
        found: by the test.
        recipe: as the user named it.
    """
    if found.space is None:
        return [("advice", "the loss never fell: begin lower (--from), take more --steps, or look at the recipe")]
    low, high = found.space
    command = shlex.join(["python", "jobs/train.py", recipe, "--set", f"optimizer.lr={found.suggestion:g}"])
    rows = [("to train", command), ("space of a sweep", f"optimizer.lr: {{loguniform: [{low:g}, {high:g}]}}")]
    if found.bound is None:
        rows.append(("advice", f"the loss did not suffer yet: a larger --to than {found.rates[-1]:.2g} shows more"))
    return rows
