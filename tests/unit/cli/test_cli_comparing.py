"""What ``jobs/compare.py`` shows."""

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from kinoray.cli.comparing import compare_parser, compared_rows, show_runs
from kinoray.tracking.compare import ComparedRun, Cost


def compared(name: str, params: Mapping[str, str], *accuracies: float) -> ComparedRun:
    history = {"val/top1": [(10 * step, top1) for step, top1 in enumerate(accuracies)]} if accuracies else {}
    cost = Cost(3725.0, 1800.0, 0.5, "GPU", 41.27) if accuracies else Cost(None, 0.0, 0.0, "CPU", None)
    return ComparedRun(name.ljust(32, "0"), name, "finished", params, history, cost)


@pytest.fixture
def log() -> Console:
    return Console(file=io.StringIO(), highlight=False, soft_wrap=True, width=400)


def shown(console: Console) -> list[list[str]]:
    assert isinstance(console.file, io.StringIO)
    lines = (line for line in console.file.getvalue().splitlines() if line.startswith(("│", "┃")))
    return [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines]


FIRST = compared("slow", {"optimizer.lr": "0.01", "seed": "0"}, 0.25, 0.5, 0.4)
SECOND = compared("[b]new", {"optimizer.lr": "0.1", "seed": "0"})


def test_few_runs_are_columns(log: Console) -> None:
    show_runs(log, [FIRST, SECOND], None)
    assert shown(log) == [
        ["", "slow", "[b]new"],
        ["status", "finished", "finished"],
        ["optimizer.lr", "0.01", "0.1"],
        ["val/top1, best", "0.500", "–"],
        ["val/top1, last", "0.400", "–"],
        ["wall time", "1 h 2 min", "–"],
        ["training, worker-hours", "0.5 GPU-hours", "0 CPU-hours"],
        ["videos/s", "41.3", "–"],
    ]


def test_many_runs_are_rows(log: Console) -> None:
    runs = [compared(f"run-{number}", {"optimizer.lr": f"0.{number}"}, number / 10) for number in range(1, 6)]
    show_runs(log, runs, None)
    rows = shown(log)
    assert rows[0][:4] == ["", "status", "optimizer.lr", "val/top1, best"]
    assert [row[0] for row in rows[1:]] == [run.name for run in runs]
    assert rows[2][:4] == ["run-2", "finished", "0.2", "0.200"]


def test_a_run_alone(log: Console) -> None:
    assert "optimizer.lr" not in dict(compared_rows([FIRST]))


def test_what_is_written(log: Console, tmp_path: Path) -> None:
    show_runs(log, [FIRST, SECOND], tmp_path / "new" / "folder")
    assert (tmp_path / "new/folder/curves.png").read_bytes().startswith(b"\x89PNG")
    table = (tmp_path / "new/folder/compared.csv").read_text().splitlines()
    assert table[1].startswith(f"slow,{FIRST.run_id},finished,0.01,0.5,0.4,3725.0,1800.0,0.5,,41.27")


def test_what_it_takes() -> None:
    arguments = compare_parser("").parse_args(["a", "b", "--set", "site.experiment=x"])
    assert (arguments.runs, arguments.out, arguments.set) == (["a", "b"], None, ["site.experiment=x"])
