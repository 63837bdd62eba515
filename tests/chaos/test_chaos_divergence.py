"""A batch of which no number comes is left out, and nothing else."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chaos_job import BATCH_SIZE, NUM_EPOCHS, SAVE_EVERY_STEPS, STEPS_PER_EPOCH, Job, Strike, recipe_values
from chaos_outcome import Outcome, damage, outcome_of, recoveries, row_of
from toy_training import write_video

from kinoray.data.plan import epoch_plan
from kinoray.recipe import Recipe

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
OF_STEPS = frozenset(f"train/{name}" for name in ("loss", "lr", "grad_norm", "videos_per_second", "data_wait_fraction"))


@pytest.fixture
def videos_with_a_white_one(videos: Path, tmp_path: Path, dice) -> tuple[Path, str]:
    """A set, and the id of a video of each epoch in it that is white."""
    root = tmp_path / "set"
    shutil.copytree(videos, root)
    train = Recipe.from_mapping(recipe_values(root), "test").data.load(8).train
    plans = [epoch_plan(train.table, seed=0, epoch=epoch)["video_id"].to_pylist() for epoch in range(NUM_EPOCHS)]
    used = set.intersection(*(set(plan[: STEPS_PER_EPOCH * BATCH_SIZE]) for plan in plans))
    white = dice.choice(sorted(used))
    with (root / "train.csv").open(newline="") as file:
        place = next(row["path"] for row in csv.DictReader(file) if row["video_id"] == white)
    write_video(root / place, np.full(32, 255), np.random.default_rng(0))
    return root, white


def test_a_loss_is_no_number(start, videos_with_a_white_one, report) -> None:
    root, white = videos_with_a_white_one
    values = recipe_values(root)
    values["training"] |= {"ema_decay": None, "on_divergence": "roll_back"}  # an average follows undone steps too
    job = start(values=values | {"model": values["model"] | {"kind": "chaos_package.touchy:TouchyConfig"}})
    job.finish()
    left_out = sorted({line.step for line in job.lines() if white in line.videos})
    assert left_out == sorted({line.step for line in job.lines() if not np.isfinite(line.loss)})
    assert len(left_out) == NUM_EPOCHS
    undo = {"kind": "chaos_package.undo:Undo", "steps": left_out}
    whole_job = start(values=values | {"callbacks": [undo]}, pause_seconds=0)
    whole_job.finish()

    run, whole = outcome_of(job), outcome_of(whole_job)
    harm = damage(without(run, left_out), without(whole, left_out))
    strikes = [Strike(max(line.seconds for line in job.lines() if line.step == step)) for step in left_out]
    costs = recoveries(job.lines(), strikes)
    note = f"by policy {len(left_out)} batches are left out"
    report(row_of("loss is no number, rolled back", strikes, costs, harm, note=note))
    for step in left_out:
        assert white in (artifacts_of(job) / f"diverged_step_{step}.csv").read_text()
    assert not any(harm)
    assert not any(step in left_out for step, _ in run.metrics["train/loss"])
    assert max(cost.num_recomputed for cost in costs) <= SAVE_EVERY_STEPS


def artifacts_of(job: Job) -> Path:
    """The folder of the files of its one MLflow run."""
    return next((job.folder / "runs").rglob("curves.png")).parent


def without(outcome: Outcome, steps: list[int]) -> Outcome:
    """Metrics of these steps, and the means over epochs that they are in, are not compared."""
    metrics = {
        key: [(step, value) for step, value in points if step not in steps or key not in OF_STEPS]
        for key, points in outcome.metrics.items()
        if key != "train/epoch_loss"
    }
    return replace(outcome, metrics=metrics)
