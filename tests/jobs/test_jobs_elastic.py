"""Workers that go, come, are told that they will go, or hang, while a run is on: what is learned stays the same."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kinoray.data.plan import epoch_plan
from kinoray.recipe import Recipe
from kinoray.train.events import StepsDone
from kinoray.train.local import fit_locally

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).parent / "helpers" / "diary_package"
BATCH_SIZE, NUM_COPIES, STEPS_PER_EPOCH = 8, 20, 60
PATIENCE_SECONDS = 240


class Job:
    """jobs/train.py at work, in a folder of its own, with what its workers note down."""

    def __init__(self, folder: Path, values: dict[str, Any], settings: dict[str, Any]) -> None:
        self.folder = folder
        self.recipe_file = folder / "recipe.yaml"
        self.diary = folder / "diary"
        self.diary.mkdir()
        self.pace(0.4)
        values["callbacks"] = [{"kind": "diary_package.hooks:Diary", "folder": str(self.diary)}]
        values["evaluation"] = {"every_epochs": values["training"]["epochs"]}
        self.recipe_file.write_text(yaml.safe_dump(values))
        settings = {"site.packages": f"[{PACKAGE}]", "site.storage": folder / "runs"} | settings
        words = [word for path, value in settings.items() for word in ("--set", f"{path}={value}")]
        command = [sys.executable, str(ROOT / "jobs/train.py"), str(self.recipe_file), "--run", "elastic", *words]
        self._out, self._err = (folder / "out").open("w"), (folder / "err").open("w")
        environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, cwd=folder, stdout=self._out, stderr=self._err, env=environment)

    def pace(self, seconds: float) -> None:
        """How long each step takes at least."""
        (self.diary / "next").write_text(str(seconds))
        (self.diary / "next").replace(self.diary / "pace")

    def lines(self) -> list[dict[str, Any]]:
        """Of all workers, by time."""
        texts = [file.read_text() for file in self.diary.glob("*.jsonl")]
        found = [json.loads(line) for text in texts for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return sorted(found, key=lambda line: line["seconds"])

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """Until it is so."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not (found := what()):
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < until, self.told()
            time.sleep(0.05)
        return found

    def learned_by(self, size: int, *, since: float = 0.0, num_steps: int = 4) -> list[dict[str, Any]]:
        """Wait until a group of so many workers has learned some steps since then; the lines of it."""

        def found() -> list[dict[str, Any]]:
            lines = [line for line in self.lines() if line["size"] == size and line["seconds"] > since]
            return lines if len(lines) >= num_steps * size else []

        lines: list[dict[str, Any]] = self.wait_for(found)
        return lines

    def finish(self) -> None:
        self.pace(0)
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.told()

    def told(self) -> str:
        return "".join((self.folder / name).read_text() for name in ("out", "err"))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._out.close()
        self._err.close()

    def losses(self) -> dict[int, float]:
        """Step -> loss, as MLflow has them; of no step two."""
        with sqlite3.connect(self.folder / "runs/mlflow.db") as database:
            rows = database.execute("SELECT step, value FROM metrics WHERE key = 'train/loss' ORDER BY step").fetchall()
        assert max(Counter(step for step, _ in rows).values()) == 1
        return dict(rows)


def long_list(motion8: Path, path: Path) -> Path:
    """The training videos many times over: epochs that end while a fault is on would hide what is lost of one."""
    head, *lines = (motion8 / "train.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    copies = [f"{name}-{copy},{motion8 / video},{label}" for copy in range(NUM_COPIES) for name, video, label in rows]
    path.write_text("\n".join([head, *copies]) + "\n")
    return path


@pytest.fixture
def start(tmp_path: Path, motion8: Path, recipe_values: dict[str, Any]) -> Iterator[Callable[..., Job]]:
    """``start(settings, epochs=...)``; it does not outlive the test."""
    started: list[Job] = []

    def begin(settings: dict[str, Any], *, epochs: int) -> Job:
        folder = tmp_path / f"job-{len(started)}"
        folder.mkdir()
        recipe_values["training"] = {"epochs": epochs, "log_every_steps": 1}
        recipe_values["optimizer"]["lr"] = 0.0005  # at a high one, rounding grows a thousandfold in ten steps
        recipe_values["data"]["train"]["source"] = str(long_list(motion8, folder / "train.csv"))
        started.append(Job(folder, recipe_values, settings))
        return started[-1]

    yield begin
    for job in started:
        job.end()


def check_learned(job: Job) -> None:
    """Every step's videos are those of the plan, whoever read them; no step is missing; losses are the plain loop's."""
    recipe = Recipe.load(job.recipe_file)
    dataset = recipe.data.load(8)
    plans = [
        epoch_plan(dataset.train.table, seed=recipe.seed, epoch=epoch)["video_id"].to_pylist()
        for epoch in range(recipe.training.epochs)
    ]
    wanted = [
        plan[start : start + BATCH_SIZE]
        for plan in plans
        for start in range(0, STEPS_PER_EPOCH * BATCH_SIZE, BATCH_SIZE)
    ]
    parts: dict[tuple[int, int], dict[int, list[str]]] = {}
    for line in job.lines():
        parts.setdefault((line["step"], line["size"]), {})[line["rank"]] = line["videos"]
    whole = {
        step: [name for rank in sorted(shares) for name in shares[rank]]
        for (step, size), shares in parts.items()
        if len(shares) == size
    }
    assert [whole.get(step) for step in range(1, len(wanted) + 1)] == wanted
    events: list[Any] = []
    plain = recipe.replace({"callbacks": []}, "test")
    fit_locally(plain, dataset, job.folder / "plain", num_threads=1, emit=events.append)
    losses = job.losses()
    undisturbed = {event.step: event.loss for event in events if isinstance(event, StepsDone)}
    assert losses.keys() == undisturbed.keys()
    assert losses == pytest.approx(undisturbed, rel=1e-3)


def test_a_worker_that_hangs_is_named_and_replaced(start) -> None:
    site = {"site.local_cpus": 2, "site.workers": 2, "site.cpus_per_worker": 0.5, "site.collective_timeout_seconds": 10}
    job = start(site | {"site.max_failures": 1}, epochs=1)
    hung = next(line for line in job.learned_by(2, num_steps=2) if line["rank"] == 1)
    stopped_at = time.time()
    os.kill(hung["pid"], signal.SIGSTOP)
    again = job.learned_by(2, since=stopped_at + 5)
    job.finish()
    print(f"stopped -> first step {again[0]['seconds'] - stopped_at:.1f} s")
    assert not Path(f"/proc/{hung['pid']}").exists(), "a stopped process does not go by itself"
    assert f"worker 1 (host {hung['host']}, pid {hung['pid']}) has not answered for 10 s at step " in job.told()
    check_learned(job)


def test_a_worker_that_hangs_again_ends_the_run(start) -> None:
    site = {"site.local_cpus": 2, "site.workers": 2, "site.cpus_per_worker": 0.5, "site.collective_timeout_seconds": 5}
    job = start(site | {"site.max_failures": 0}, epochs=1)
    hung = next(line for line in job.learned_by(2, num_steps=2) if line["rank"] == 0)
    os.kill(hung["pid"], signal.SIGSTOP)
    assert job.process.wait(PATIENCE_SECONDS) == 1
    (line,) = (job.folder / "err").read_text().splitlines()
    assert line.startswith(f"train.py: worker 0 (host {hung['host']}, pid {hung['pid']}) has not answered for 5 s at ")


def test_four_workers_then_two_then_four(start, nodes) -> None:
    for _ in range(3):
        nodes.tell("add")
    site = {"site.address": nodes.address, "site.workers": 4, "site.min_workers": 2, "site.cpus_per_worker": 1}
    job = start(site | {"site.max_failures": 1}, epochs=3)
    job.learned_by(4)
    lost_at = time.time()
    nodes.tell("lose")
    assert nodes.tell("lose") == 2
    of_two = job.learned_by(2)
    nodes.tell("add")
    assert nodes.tell("add") == 4
    added_at = time.time()
    of_four = job.learned_by(4, since=added_at)
    job.finish()
    last = max(line["step"] for line in job.lines() if line["size"] == 2)
    print(
        f"lost -> first step {of_two[0]['seconds'] - lost_at:.1f} s; added -> {of_four[0]['seconds'] - added_at:.1f} s"
    )
    print(f"last step of two {last}, first of four {of_four[0]['step']}")
    assert {line["size"] for line in job.lines()} >= {2, 4}
    grown = next(line for line in job.lines() if line["seconds"] > added_at and line["size"] > 2)
    assert grown["step"] % STEPS_PER_EPOCH != 1, "a checkpoint was stored before the group was ended"
    check_learned(job)
    assert "state-dump" not in job.told()


def test_a_node_that_is_preempted_has_its_steps_stored(start, nodes) -> None:
    """Only the notice can be why there is a checkpoint in the middle of the epoch."""
    nodes.tell("add")
    site = {"site.address": nodes.address, "site.workers": 2, "site.min_workers": 1, "site.cpus_per_worker": 1}
    job = start(site | {"site.max_failures": 0}, epochs=2)
    job.learned_by(2)
    assert nodes.tell("preempt 25") == 1
    gone_at = time.time()
    alone = job.learned_by(1)
    job.finish()
    last = max(line["step"] for line in job.lines() if line["size"] == 2)
    print(
        f"gone -> first step {alone[0]['seconds'] - gone_at:.1f} s; last of two {last}, first alone {alone[0]['step']}"
    )
    assert alone[0]["step"] % STEPS_PER_EPOCH != 1
    check_learned(job)
    assert "state-dump" not in job.told()
