"""The storage fails: it is full at a checkpoint, it is a bucket, or who writes to it dies."""

import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from chaos_job import NUM_STEPS, RUN, SAVE_EVERY_STEPS, Job, Strike, draw_steps, recipe_values
from chaos_outcome import damage, outcome_of, recoveries, row_of
from chaos_table import Row
from local_bucket import local_bucket
from toy_killed_writers import kill_while_writing

from kinoray.recipe import Recipe
from kinoray.train.checkpoint import newest_of_run, open_checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
FILLER = "filler"
MOST_BYTES = 100_000
"""Of a file, where its size is limited: more than a log, less than a checkpoint."""


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own, of 64 MiB."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this user may mount no file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no room in a file system."""
    with (folder / FILLER).open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(2**16)):
            pass


def is_refused_and_goes_on(
    job: Job, blow: Callable[[], object], mend: Callable[[], object], dice: random.Random
) -> list[Strike]:
    """The job says in a line what is wrong, what was stored before is whole, and the same command goes on."""
    step = dice.randrange(2 * SAVE_EVERY_STEPS, NUM_STEPS - 3 * SAVE_EVERY_STEPS)
    strikes = job.struck([step], dice, blow)
    job.finish(code=1)
    last = job.log().splitlines()[-1]
    assert last.startswith("train.py: ")
    assert "cannot be stored: " in last
    assert last.endswith("is whole; make room in the storage or mend it, and resume the run")
    assert "Traceback" not in job.log()
    place = newest_of_run(f"{job.folder}/runs/{RUN}")
    assert place is not None
    assert open_checkpoint(place).progress.step > 0
    mend()
    job.start()
    job.finish()
    return strikes


def report_and_check(job: Job, fault: str, strikes, undisturbed, report, **places: str) -> None:
    harm = damage(outcome_of(job, **places), undisturbed)
    costs = recoveries(job.lines(), strikes)
    report(row_of(fault, strikes, costs, harm))
    assert not any(harm)
    # Training goes on while a checkpoint is written: a failure is told with the next one.
    assert max(cost.num_recomputed for cost in costs) <= 2 * SAVE_EVERY_STEPS


def test_the_disk_is_full(start, undisturbed, dice, report, tmp_path) -> None:
    disk, store = tmp_path / "job-0/runs", f"sqlite:///{tmp_path}/mlflow.db"
    with small_disk(disk):
        job = start({"site.tracking_uri": store})
        strikes = is_refused_and_goes_on(job, lambda: fill(disk), (disk / FILLER).unlink, dice)
        report_and_check(job, "disk full, command again", strikes, undisturbed, report, tracking_uri=store)


def test_a_file_may_not_become_so_large(start, undisturbed, dice, report, tmp_path) -> None:
    job = start()

    def limit() -> None:
        for process in {line.process for line in job.lines()}:
            psutil.Process(process).rlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))

    strikes = is_refused_and_goes_on(job, limit, lambda: None, dice)
    report_and_check(job, "quota reached, command again", strikes, undisturbed, report)


def test_a_training_worker_is_killed_and_goes_on_from_a_bucket(
    start, undisturbed, dice, report, tmp_path, monkeypatch
) -> None:
    store = f"sqlite:///{tmp_path}/mlflow.db"
    with local_bucket(monkeypatch) as bucket:
        storage = f"s3://{bucket}/runs"
        job = start({"site.storage": storage, "site.tracking_uri": store})
        strikes = job.struck(draw_steps(dice, 2), dice, lambda: job.strike_one("RayTrainWorker", dice))
        job.finish()
        fault = "training worker killed, storage s3://"
        report_and_check(job, fault, strikes, undisturbed, report, storage=storage, tracking_uri=store)


def test_a_writer_of_checkpoints_is_killed(videos, dice, report, tmp_path) -> None:
    recipe = Recipe.from_mapping(recipe_values(videos), "test")
    written = kill_while_writing(recipe, tmp_path, 200, seed=dice.randrange(2**32))
    report(Row("killed while a checkpoint is written", 200, 0, 0, note=f"{written} written, 0 unreadable"))
    assert written > 50
