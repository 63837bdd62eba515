#!/usr/bin/env python3
"""Seconds from the command to the first training step, and the memory of all processes on the way.

Trains one step of the demo's model, as a user would start it, and prints when each line appeared and what the
process tree held at its largest. Memory is PSS: pages that processes share are counted once.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

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
    largest: Counter[str] = Counter()
    sampler = threading.Thread(target=_sample, args=(job, largest))
    sampler.start()
    assert job.stdout is not None
    for line in job.stdout:
        if line[:1].isalnum():
            print(f"  {time.perf_counter() - started:5.1f} s  {line.rstrip()[:100]}")
    job.wait()
    print(f"  {time.perf_counter() - started:5.1f} s  exit code {job.returncode}")
    sampler.join()
    print(f"  {sum(largest.values()) / 2**20:,.0f} MiB in all:")
    for name, num_bytes in largest.most_common(8):
        print(f"  {num_bytes / 2**20:8,.0f} MiB  {name}")


def _sample(job: subprocess.Popen[str], largest: Counter[str]) -> None:
    """Keep the sample with the largest sum, by the name of the process."""
    while job.poll() is None:
        now: Counter[str] = Counter()
        try:
            root = psutil.Process(job.pid)
            for process in [root, *root.children(recursive=True)]:
                now[_name(process)] += process.memory_full_info().pss
        except psutil.Error:
            continue
        if sum(now.values()) > sum(largest.values()):
            largest.clear()
            largest.update(now)
        time.sleep(SAMPLE_SECONDS)


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    first = words[0] if words else process.name()
    return first if first.startswith("ray::") else " ".join(Path(word).name for word in words[:2])


if __name__ == "__main__":
    main()
