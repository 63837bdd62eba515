#!/usr/bin/env python3
"""Seconds from the command to the first training step, and the memory of all processes on the way.

Trains one step of the demo's model, as a user would start it, and prints when each line appeared and what the
process tree held at its largest. Memory is PSS: pages that processes share are counted once.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import Sampler

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_SECONDS = 1.0
ONE_STEP = (
    "training.epochs=1",
    "data.val=null",
    "evaluation.temporal_probe=false",
    "data.train.source.num_train=16",
    "data.train.source.num_val=8",
    "schedule=[]",
)


def main() -> None:
    """Run twice in one folder: the first run also renders videos and makes MLflow's tables."""
    with tempfile.TemporaryDirectory(prefix="kinoray-startup-") as folder:
        for turn in ("first run", "second run"):
            print(turn)
            _measure(Path(folder))


def _measure(folder: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "jobs" / "train.py"),
        *(word for text in ONE_STEP for word in ("--set", text)),
    ]
    started = time.perf_counter()
    job = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    sampler = Sampler(job, every_seconds=SAMPLE_SECONDS)
    assert job.stdout is not None
    for line in job.stdout:
        if line[:1].isalnum():
            print(f"  {time.perf_counter() - started:5.1f} s  {line.rstrip()[:100]}")
    job.wait()
    print(f"  {time.perf_counter() - started:5.1f} s  exit code {job.returncode}")
    sampler.join()
    print(f"  {sampler.peak_bytes / 2**20:,.0f} MiB in all:")
    for name, num_bytes in sampler.largest.most_common(8):
        print(f"  {num_bytes / 2**20:8,.0f} MiB  {name}")


if __name__ == "__main__":
    main()
