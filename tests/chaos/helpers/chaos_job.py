"""A training as a user runs it, in a folder of its own, and what can be done to it while it is at work."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = Path(__file__).resolve().parent / "chaos_package"
RUN = "rehearsal"
NUM_TRAIN, NUM_VAL, BATCH_SIZE, NUM_EPOCHS = 99, 16, 8, 3
STEPS_PER_EPOCH = NUM_TRAIN // BATCH_SIZE
NUM_STEPS = NUM_EPOCHS * STEPS_PER_EPOCH
SAVE_EVERY_STEPS = 3
PAUSE_SECONDS = 0.15
_START_SECONDS = 180
"""In which a job that was started, or struck, takes its next step on a busy machine."""


class Line(NamedTuple):
    """One step of one worker; the fields are those of ``chaos_package.ledger``."""

    seconds: float
    process: int
    rank: int
    epoch: int
    step: int
    videos: tuple[str, ...]
    loss: float


class Strike(NamedTuple):
    """A fault that was injected."""

    seconds: float
    ended: frozenset[int] = frozenset()
    """Processes that trained before, and cannot go on."""

    def is_overcome_by(self, line: Line) -> bool:
        """Whether a step is one that was computed after it, and because others went on."""
        return line.seconds > self.seconds and line.process not in self.ended


def recipe_values(videos: Path) -> dict[str, Any]:
    """All that a checkpoint has to carry is in use: momentum, an average, batch norms, dropout, a schedule by steps."""
    sampling = {"clip_len": 8, "frame_interval": 2}
    train = {
        "source": str(videos / "train.csv"),
        "sampling": sampling,
        "crop": 32,
        "box": {"scale": [0.6, 1.0]},
        "batch_size": BATCH_SIZE,
    }
    return {
        "name": "small",
        "model": {"kind": "tiny3d", "num_classes": 8, "dropout": 0.2},
        "data": {
            "train": train,
            "val": {"source": str(videos / "val.csv"), "sampling": sampling, "crop": 32, "batch_size": 4},
            "flip_labels": {"left": "right", "right": "left", "cw": "ccw", "ccw": "cw"},
        },
        "optimizer": {"kind": "sgd", "lr": 0.03, "momentum": 0.9, "weight_decay": 1e-4},
        "schedule": [{"kind": "cosine", "per": "step"}],
        "training": {
            "epochs": NUM_EPOCHS,
            "ema_decay": 0.9,
            "clip_grad_norm": 5.0,
            "log_every_steps": 1,
            "checkpoint_every_steps": SAVE_EVERY_STEPS,
        },
    }


def draw_steps(dice: random.Random, number: int, *, num_steps: int = NUM_STEPS) -> list[int]:
    """Steps in rising order, each from a stretch of its own; the last of a stretch leaves time for what follows."""
    stretch = (num_steps - SAVE_EVERY_STEPS) // number
    return [dice.randrange(1, stretch) + start * stretch for start in range(number)]


class Job:
    """A training in a folder: ``train.py --run``, which the same command continues.

    Args:
        folder: made, and worked in.
        values: of the recipe; the ledger is added.
        settings: what else is set, dotted path -> value.
        pause_seconds: after each step.
    """

    def __init__(
        self,
        folder: Path,
        values: Mapping[str, Any],
        settings: Mapping[str, object] | None = None,
        *,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._ledger, self._log = folder, folder / "ledger.jsonl", folder / "log"
        callback = {
            "kind": "chaos_package.ledger:Ledger",
            "path": str(self._ledger),
            "pause_seconds": pause_seconds,
        }
        (folder / "small.yaml").write_text(
            yaml.safe_dump({**values, "callbacks": [*values.get("callbacks", ()), callback]}, sort_keys=False)
        )
        site = {"workers": 2, "cpus_per_worker": 0.5, "local_cpus": 3, "max_failures": 10, "packages": f"[{PACKAGE}]"}
        settings = {f"site.{name}": value for name, value in site.items()} | dict(settings or {})
        given = [word for path, value in settings.items() if value is not None for word in ("--set", f"{path}={value}")]
        self.command = [sys.executable, str(ROOT / "jobs/train.py"), "small.yaml", "--run", RUN, *given]
        self._process: subprocess.Popen[bytes] | None = None
        self._families: list[psutil.Process] = []

    def start(self) -> None:
        """Give the command, for the first time or again."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
        kept = {key: value for key, value in os.environ.items() if key.startswith("RAY_AUTH")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, cwd=self.folder, env=environment | kept, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "start() comes first"
        return self._process

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def lines(self) -> list[Line]:
        """The ledger, in order."""
        text = self._ledger.read_text() if self._ledger.exists() else ""
        plain = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [Line(**each | {"videos": tuple(each["videos"])}) for each in plain]

    def wait_for_step(self, step: int, after: Strike | None = None) -> None:
        """Until this step, or a later one, is taken; where there was a strike, after that."""
        until = time.monotonic() + _START_SECONDS
        while not any(line.step >= step and (after is None or after.is_overcome_by(line)) for line in self.lines()):
            assert self.process.poll() is None, f"step {step}: the job has ended:\n{self.log()}"
            if time.monotonic() > until:
                until = time.monotonic() + _START_SECONDS
                last = max((line.seconds for line in self.lines()), default=0.0)
                assert time.time() - last < _START_SECONDS, f"step {step}: nothing goes on:\n{self.log()}"
            time.sleep(0.005)

    def struck(
        self, steps: list[int], dice: random.Random, blow: Callable[[], None], *, ends_workers: bool = True
    ) -> list[Strike]:
        """Inject a fault at each of some steps, or as soon as the job goes on from the one before."""
        strikes: list[Strike] = []
        for step in steps:
            self.wait_for_step(step, strikes[-1] if strikes else None)
            time.sleep(dice.random() * 2 * PAUSE_SECONDS)
            ended = frozenset(line.process for line in self.lines()) if ends_workers else frozenset[int]()
            strikes.append(Strike(time.time(), ended))
            blow()
        return strikes

    def strike_one(self, name: str, dice: random.Random, *, how: int = signal.SIGKILL) -> None:
        """A signal to one of the processes of the job's Ray whose names begin so; waits until there is one."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            found = [process for process in self._family() if _is_named(process, name)]
            if found:
                dice.choice(found).send_signal(how)
                return
            time.sleep(0.005)
        raise AssertionError(f"no process is at work as {name}")

    def kill_driver(self) -> None:
        """SIGKILL to the job itself; what it has started is left to end as it may."""
        self._families += self._family()
        self.process.kill()
        self.process.wait()

    def finish(self, timeout_seconds: float = 300, *, code: int = 0) -> None:
        """Wait for the end."""
        ended = self.process.wait(timeout_seconds)
        assert ended == code, f"exit code {ended}\n{self.log()}"

    def end(self) -> None:
        """Leave nothing behind."""
        if self._process is not None and self._process.poll() is None:
            self._families += self._family()
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        _, alive = psutil.wait_procs(self._families, timeout=30)
        for process in alive:
            process.kill()

    def _family(self) -> list[psutil.Process]:
        try:
            return sorted(psutil.Process(self.process.pid).children(recursive=True), key=lambda each: each.pid)
        except psutil.NoSuchProcess:
            return []


def _is_named(process: psutil.Process, name: str) -> bool:
    try:
        return re.match(rf"ray::\w*{name}", " ".join(process.cmdline())) is not None
    except psutil.NoSuchProcess:
        return False
