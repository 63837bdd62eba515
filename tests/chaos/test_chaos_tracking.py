"""The MLflow server is away in the middle of a run, or answers nothing."""

import os
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from chaos_job import SAVE_EVERY_STEPS, STEPS_PER_EPOCH, Job, Line, recipe_values
from chaos_outcome import Outcome, damage, outcome_of, recoveries, row_of
from local_server import Server, local_server

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]
AWAY_SECONDS = float(os.environ.get("KINORAY_CHAOS_AWAY_SECONDS", "120"))
NUM_EPOCHS = 40
BEFORE_STEPS = range(40, 80)
RETRY_SECONDS = 15
"""For so long a server that did not answer is left alone."""


@pytest.fixture(scope="session")
def long_values(videos) -> dict[str, Any]:
    values = recipe_values(videos)
    values["training"] |= {"epochs": NUM_EPOCHS, "checkpoint_every_steps": 4 * SAVE_EVERY_STEPS}
    return values | {"evaluation": {"every_epochs": 10}}


@pytest.fixture(scope="session")
def long_undisturbed(tmp_path_factory, long_values) -> Outcome:
    job = Job(tmp_path_factory.mktemp("long"), long_values, pause_seconds=0)
    try:
        job.start()
        job.finish()
    finally:
        job.end()
    return outcome_of(job)


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    with local_server(tmp_path) as server:
        yield server


@pytest.mark.parametrize(("how", "share"), [("away", 1.0), ("frozen", 0.25)])
def test_the_tracking_server(how, share, server, start, long_values, long_undisturbed, dice, report) -> None:
    seconds = share * AWAY_SECONDS
    left = NUM_EPOCHS * STEPS_PER_EPOCH - BEFORE_STEPS.stop
    pause_seconds = (seconds + 2 * RETRY_SECONDS) / left
    job = start({"site.tracking_uri": server.uri}, values=long_values, pause_seconds=pause_seconds)
    strikes = job.struck(
        [dice.choice(BEFORE_STEPS)], dice, server.stop if how == "away" else server.freeze, ends_workers=False
    )
    time.sleep(seconds)
    (server.start if how == "away" else server.thaw)()
    back = time.time()
    assert job.process.poll() is None, job.log()
    job.finish()
    harm = damage(outcome_of(job, tracking_uri=server.uri), long_undisturbed)
    ratio = speed_ratio(job.lines(), strikes[0].seconds, back, pause_seconds)
    costs = recoveries(job.lines(), strikes)
    note = f"{ratio:.2f} x the speed of before and after"
    report(row_of(f"MLflow server {how} for {seconds:.0f} s", strikes, costs, harm, note=note))
    assert not any(harm)
    assert sum(cost.num_recomputed for cost in costs) == 0


def speed_ratio(lines: list[Line], begin: float, end: float, pause_seconds: float) -> float:
    """Steps per second of work between two moments, against those of the rest of the run."""
    first = [line for line in lines if line.rank == 0]
    spent: dict[bool, list[float]] = {True: [], False: []}
    for one, other in pairwise(first):
        if one.epoch == other.epoch:
            spent[begin < other.seconds < end].append(other.seconds - one.seconds - pause_seconds)
    away, rest = (sum(spent[key]) / len(spent[key]) for key in (True, False))
    return rest / away
