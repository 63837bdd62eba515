"""What ``jobs/compare.py`` takes and shows."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kinoray.cli.console import closing_table, duration, shown
from kinoray.tracking.compare import (
    MISSING,
    ComparedRun,
    compared_csv,
    curve_keys,
    differing_params,
    main_metrics,
)
from kinoray.tracking.compare_picture import curves_of_runs_picture
from kinoray.tracking.pictures import png_bytes

MAX_COLUMNS = 4
"""More runs than this are rows, with what is compared as columns."""


def compare_parser(description: str) -> argparse.ArgumentParser:
    """What the job takes."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "runs", nargs="+", metavar="RUN", help="MLflow's id, or a name; a sweep stands for its trials"
    )
    arguments.add_argument("--out", metavar="FOLDER", help="write compared.csv and curves.png there")
    arguments.add_argument("--site", metavar="YAML", help="names the MLflow store; default: the one below ./runs")
    arguments.add_argument(
        "--set", metavar="PATH=VALUE", action="append", default=[], help="of the site, such as site.tracking_uri=URI"
    )
    return arguments


def show_runs(console: Console, runs: Sequence[ComparedRun], out: Path | None) -> None:
    """Print the table; write it and the curves to a folder, if there is one.

    Args:
        console: where to.
        runs: at least one.
        out: made if missing.
    """
    rows = compared_rows(runs)
    names = [run.name for run in runs]
    table = Table(box=box.ROUNDED)
    if len(runs) <= MAX_COLUMNS:
        _fill(table, ["", *names], [[what, *cells] for what, cells in rows])
    else:
        _fill(
            table,
            ["", *(what for what, _ in rows)],
            [[n, *c] for n, *c in zip(names, *(c for _, c in rows), strict=True)],
        )
    console.print(table)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "compared.csv").write_text(compared_csv(runs), encoding="utf-8")
        curves = {f"{run.name} ({run.run_id[:6]})": run.history for run in runs}
        (out / "curves.png").write_bytes(png_bytes(curves_of_runs_picture(curves, curve_keys(runs))))
        places = [("table", str(out / "compared.csv")), ("curves", str(out / "curves.png"))]
        console.print(closing_table("written", places))


def compared_rows(runs: Sequence[ComparedRun]) -> list[tuple[str, list[str]]]:
    """What is compared, and the text of each run."""
    rows = [("status", [run.status for run in runs])]
    rows += list(differing_params(runs).items())
    for metric in main_metrics(runs):
        rows.append((f"val/{metric}, best", [_figure(metric, run.best(metric)) for run in runs]))
        rows.append((f"val/{metric}, last", [_figure(metric, run.last(metric)) for run in runs]))
    costs = [run.cost for run in runs]
    rows.append(("wall time", [MISSING if c.wall_seconds is None else duration(c.wall_seconds) for c in costs]))
    rows.append(("training, worker-hours", [f"{cost.worker_hours:.3g} {cost.unit}-hours" for cost in costs]))
    speeds = [MISSING if c.videos_per_second is None else f"{c.videos_per_second:.1f}" for c in costs]
    return [*rows, ("videos/s", speeds)]


def _figure(metric: str, value: float | None) -> str:
    return MISSING if value is None else shown(metric, value)


def _fill(table: Table, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for number, name in enumerate(header):
        table.add_column(Text(name), overflow="fold", justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
