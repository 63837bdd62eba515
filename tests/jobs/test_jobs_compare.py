"""Comparing runs and finding a learning rate, as a user does; neither starts Ray."""

from pathlib import Path

import pytest

from kinoray.tracking.run import RunTracker
from kinoray.tracking.store import default_uri


def test_compare(call_job, tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        tracker = RunTracker.start(
            uri=default_uri(str(tmp_path / "runs")),
            experiment="kinoray",
            name=f"lr-{lr}",
            params={"optimizer.lr": lr},
            tags={},
            recipe_yaml="",
            datasets={},
        )
        tracker.add_metrics({"val/top1": lr}, 10)
        tracker.finish("FINISHED")
    done = call_job("compare.py", "lr-0.1", "lr-0.2", "--out", "compared")
    assert done.returncode == 0, done.stderr
    assert "optimizer.lr" in done.stdout
    assert (tmp_path / "compared/curves.png").is_file()
    unknown = call_job("compare.py", "lr-0.3")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("compare.py: lr-0.3: the store has no run of this name or id (did you mean 'lr-0.")


@pytest.mark.parametrize(("option", "message"), [("--steps=5", "steps: got 5"), ("--from=20", "range: from 20 to 10")])
def test_a_range_that_makes_no_sense(call_job, recipe_file: Path, option: str, message: str) -> None:
    done = call_job("find_lr.py", str(recipe_file), option)
    assert done.returncode == 2
    assert message in done.stderr


def test_find_lr(run_job, recipe_file: Path, tmp_path: Path) -> None:
    done = run_job("find_lr.py", str(recipe_file), "--steps", "12", "--from", "1e-4", "--out", "range.png")
    assert done.returncode == 0, done.stderr
    assert "loss is lowest at" in done.stdout
    assert (tmp_path / "range.png").is_file()
    assert (tmp_path / "range.csv").read_text().startswith("lr,loss,smoothed")
