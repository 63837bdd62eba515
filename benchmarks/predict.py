#!/usr/bin/env python3
"""Batch prediction beside the bare loop: videos/s for a CPU-second, seconds to the first video, memory by size.

python benchmarks/predict.py --model runs/RUN --videos FOLDER [--counts 100 1000 10000]

The bare loop has the same decoder, model and batches in one process and no Ray; what it takes per video is the
difference of two runs of it, as is what the job takes: starting up is told apart. Videos are links to those of FOLDER,
repeated until there are as many as wanted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from processes import Sampler
from report import machine

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_SECONDS = 0.5
BATCH_SIZE = 8
BARE_LOOP = """
import sys, time
from pathlib import Path
import pyarrow as pa, torch
sys.path.insert(0, {platform!r})
from kinoray.predict.listing import LISTING_SCHEMA, list_videos
from kinoray.predict.reading import outcomes, plan_of
from kinoray.predict.scoring import Scorer
from kinoray.data.reading import ClipReader
from kinoray.recognizer import load_recognizer
from kinoray.train.beside import decoded_beside
torch.set_num_threads(1)
model = load_recognizer({model!r}, split="test")
scorer = Scorer(model, precision="fp32", compiled=False, with_embeddings=False)
reader = ClipReader(model.view, with_facts=True)
rows = [row for row, _ in zip(list_videos({videos!r}), range({count}))]
table = pa.table([pa.array(each, kind) for each, kind in zip(zip(*rows), LISTING_SCHEMA.types)], schema=LISTING_SCHEMA)
batches = decoded_beside(plan_of(table), reader, {batch_size}, 1, pinned=False)
num_clips, _ = model.view.sampling.shape(is_training=False)
done = sum(len(some) for some, _ in outcomes(table, batches, scorer, num_clips=num_clips * model.view.num_crops))
assert done == {count}
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--videos", required=True, type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--set", action="append", default=[], help="of the job's site")
    arguments = parser.parse_args()
    print(json.dumps(machine()))
    files = sorted(path.resolve() for path in arguments.videos.rglob("*") if path.is_file() and path.suffix != ".csv")
    with tempfile.TemporaryDirectory(prefix="kinoray-predict-") as folder:
        few, *_, many = sorted({1, *arguments.counts})
        bare, jobs = {}, {}
        for count in sorted({1, *arguments.counts}):
            videos = _linked(files, Path(folder) / str(count), count)
            if count in (few, many):
                bare[count] = _measured(_bare(arguments.model, videos, count), Path(folder))
                _print("bare loop", count, *bare[count])
            jobs[count] = _measured(
                _job(arguments.model, videos, Path(folder) / f"out{count}", arguments.set), Path(folder)
            )
            _print("job", count, *jobs[count])
        for name, found in (("bare loop", bare), ("job", jobs)):
            (seconds, cpu, _), (least_seconds, least_cpu, _) = found[many], found[few]
            per_video = (cpu - least_cpu) / (many - few)
            rate = (many - few) / (seconds - least_seconds)
            first = f"{least_seconds:.1f} s for the first"
            print(f"{name:10} {per_video * 1000:8.1f} CPU ms a video {rate:8.1f} videos/s, {first}")


def _linked(files: list[Path], folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        source = files[number % len(files)]
        (folder / f"{number:07d}{source.suffix}").symlink_to(source)
    return folder


def _bare(model: str, videos: Path, count: int) -> list[str]:
    names = {"platform": str(ROOT / "platform"), "model": model, "videos": str(videos), "count": count}
    return [sys.executable, "-c", BARE_LOOP.format(**names, batch_size=BATCH_SIZE)]


def _job(model: str, videos: Path, out: Path, settings: list[str]) -> list[str]:
    words = ["--model", model, "--videos", str(videos), "--out", str(out), "--batch-size", str(BATCH_SIZE)]
    return [sys.executable, str(ROOT / "jobs" / "predict.py"), *words, *(w for s in settings for w in ("--set", s))]


def _measured(command: list[str], folder: Path) -> tuple[float, float, int]:
    """Seconds, CPU seconds of all processes, largest sum of their memory."""
    begin = time.perf_counter()
    job = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, text=True)
    sampler = Sampler(job, every_seconds=SAMPLE_SECONDS)
    code = job.wait()
    seconds = time.perf_counter() - begin
    sampler.join()
    if code:
        raise SystemExit(f"exit code {code} of {' '.join(command)[:200]}")
    return seconds, sampler.cpu_seconds, sampler.peak_bytes


def _print(name: str, count: int, seconds: float, cpu_seconds: float, peak_bytes: int) -> None:
    busy = psutil.cpu_percent()
    print(
        f"{name:10} {count:7,} videos {seconds:8.1f} s {cpu_seconds:8.1f} CPU s {peak_bytes / 2**20:8,.0f} MiB"
        f"  (machine {busy:.0f} % busy)",
        flush=True,
    )


if __name__ == "__main__":
    main()
