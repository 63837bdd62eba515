"""What ``jobs/find_lr.py`` shows."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from kinoray.cli.finding_lr import LrConsole, advice, figures_of, find_lr_parser
from kinoray.train.lr_finder import LrRange, exponential_rates

RATES = exponential_rates(1e-6, 10.0, 10)
FOUND = LrRange(RATES, tuple(range(10)), tuple(range(10)), steepest=0.0123, turn=0.234, bound=1.2)


def test_what_is_said_of_a_range() -> None:
    assert figures_of(FOUND) == [
        ("loss falls fastest at", "0.012"),
        ("loss is lowest at", "0.23"),
        ("loss is worse than at first", "from 1.2 on"),
    ]
    assert advice(FOUND, "my recipe.yaml") == [
        ("to train", "python jobs/train.py 'my recipe.yaml' --set optimizer.lr=0.012"),
        ("space of a sweep", "optimizer.lr: {loguniform: [0.0012, 0.23]}"),
    ]


def test_a_tenth_of_the_turn_where_that_is_less() -> None:
    assert "optimizer.lr=0.003" in dict(advice(replace(FOUND, turn=0.03), "r.yaml"))["to train"]


def test_what_is_said_where_too_little_was_seen() -> None:
    assert "begin lower" in dict(advice(replace(FOUND, steepest=None), "r.yaml"))["advice"]
    assert "a larger --to than 10" in dict(advice(replace(FOUND, bound=None), "r.yaml"))["advice"]
    assert dict(figures_of(replace(FOUND, bound=None)))["loss is worse than at first"] == "never up to 10"


def test_what_is_written(tmp_path: Path) -> None:
    log = Console(file=io.StringIO(), width=200)
    out = tmp_path / "new" / "range.png"
    with LrConsole(log, 10) as view:
        view.tell(0.1, 2.0)
    view.close(FOUND, recipe="r.yaml", out=out)
    assert out.read_bytes().startswith(b"\x89PNG")
    with out.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["lr"]) for row in rows] == pytest.approx(RATES)
    assert isinstance(log.file, io.StringIO)
    assert "loguniform" in log.file.getvalue()


def test_what_it_takes() -> None:
    arguments = find_lr_parser("").parse_args(["r.yaml", "--from", "1e-3", "--to", "1", "--steps", "20"])
    assert (arguments.lowest, arguments.highest, arguments.num_steps) == (1e-3, 1.0, 20)
