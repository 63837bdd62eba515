"""Faults are injected into real trainings; what came of them is one table at the end."""

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.extend(
    str(Path(__file__).parents[1] / room / "helpers") for room in ("chaos", "jobs", "unit/tracking", "unit/train")
)

from chaos_job import BATCH_SIZE, NUM_TRAIN, NUM_VAL, ROOT, STEPS_PER_EPOCH, Job, recipe_values
from chaos_outcome import Outcome, outcome_of
from chaos_table import Row, merged, table

from kinoray.data.motion8 import generate

SEED = os.environ.get("KINORAY_CHAOS_SEED", "8")
ROWS = pytest.StashKey[list[Row]]()
StartJob = Callable[..., Job]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = merged(config.stash.get(ROWS, []))
    if not rows:
        return
    terminalreporter.section(f"faults, KINORAY_CHAOS_SEED={SEED}")
    for line in table(rows):
        terminalreporter.line(line)
    place = ROOT / "build/chaos.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps({"seed": SEED, "rows": [row.plain() for row in rows]}, indent=2) + "\n")


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[Row], None]:
    """Takes a row for the table."""
    return request.config.stash[ROWS].append


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Of each test its own, and the same with the same ``KINORAY_CHAOS_SEED``."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos") / "set"
    generate(root, num_train=NUM_TRAIN, num_val=NUM_VAL)
    return root


@pytest.fixture
def start(tmp_path: Path, videos: Path) -> Iterator[StartJob]:
    """``start(settings)``: a job at work, which does not outlive the test."""
    started: list[Job] = []

    def begin(
        settings: dict[str, object] | None = None, *, values: dict[str, Any] | None = None, **options: float
    ) -> Job:
        job = Job(tmp_path / f"job-{len(started)}", values or recipe_values(videos), settings, **options)
        started.append(job)
        job.start()
        return job

    yield begin
    for job in started:
        job.end()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Outcome:
    """What comes of a run that nothing happens to: in each epoch every video once, but for a rest below a batch."""
    job = Job(tmp_path_factory.mktemp("undisturbed"), recipe_values(videos), pause_seconds=0)
    try:
        job.start()
        job.finish()
    finally:
        job.end()
    outcome = outcome_of(job)
    for epoch in set(outcome.epochs.values()):
        used = [video for step, ids in outcome.videos.items() if outcome.epochs[step] == epoch for video in ids]
        assert len(used) == len(set(used)) == STEPS_PER_EPOCH * BATCH_SIZE
    return outcome
