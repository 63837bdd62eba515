#!/usr/bin/env python3
"""CPU time of reading clips, beside other libraries and beside decoding alone.

Every figure is a ratio of CPU time on one core, of readings that took turns in one process: above 1, ours is faster.
``limit`` is decoding alone (of the packets that must be decoded, those skipped that may be) divided by ours, opening
included. Libraries that are not installed leave their column out.

``ours`` opens a file that nothing is known about and makes RGB. ``prepared`` does it as a training worker does with a
manifest from jobs/prepare.py: with the packet index, into memory that was in use before. ``yuv`` and ``native`` are
prepared too, and leave the conversion to RGB, or that and the resizing, to the device. No other library keeps an index.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from readers import DecodingAlone, Read, Worker, available, ours
from report import print_table, write_json
from videos import bench_videos

from kinoray.video.frames import Box, Shot
from kinoray.video.probe import VideoInfo, probe

SIZE = (224, 224)
MAX_ROUNDS = 5
# Half a minute each, most of it other libraries'; measured where videos are named.
LONG = {("1080p", "10 clips"), ("1080p", "4 repeats")}
CLIP_LEN, INTERVAL = 32, 2
VARIANTS = ("ours", "ours prepared", "ours yuv", "ours native")
# Above 1 means faster than decord; a share of the limit for the second. What the video engine was built to reach.
GOALS = {
    ("Kinetics-like", "clip"): (1.7, 0.90),
    ("Kinetics-like", "10 clips"): (6.0, None),
    ("Kinetics-like", "3 frames"): (1.5, None),
    ("Kinetics-like", "8 frames"): (1.5, None),
    ("Kinetics-like", "whole"): (3.0, None),
    ("UCF101", "clip"): (4.5, None),
    ("UCF101", "10 clips"): (8.0, None),
    ("UCF101", "3 frames"): (4.0, None),
    ("UCF101", "8 frames"): (4.0, None),
    ("UCF101", "whole"): (3.0, None),
    ("HMDB51", "10 clips"): (15.0, None),
    ("720p", "clip"): (None, 0.90),
    ("720p", "10 clips"): (8.0, None),
    ("1080p", "clip"): (None, 0.80),
}


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("videos", nargs="*", type=Path, help="instead of the generated and the shared ones")
    parser.add_argument("--seconds", type=float, default=1.0, help="of CPU time for a video and pattern (default 1)")
    parser.add_argument("--memory", type=int, metavar="CLIPS", help="only memory after 100 and after CLIPS clips")
    parser.add_argument("--json", type=Path, help="where to write the figures (default build/bench/decode.json)")
    arguments = parser.parse_args()
    paths = arguments.videos or bench_videos()
    if arguments.memory:
        rows = memory(paths, arguments.memory)
        print_table(rows)
        write_json("decode-memory", rows, arguments.json)
        return
    rows = list(measure_all(paths, arguments.seconds, left_out=set() if arguments.videos else LONG))
    print("\nCPU time of others / ours, of one core:")
    print_table([shown(row) for row in rows])
    summary = summarize(rows)
    print("\nCPU time of decord / ours, medians of kinds of video:")
    print_table([compared(line, "decord") for line in summary])
    print("\nCPU time of decoding alone / ours:")
    print_table([compared(line, "limit") for line in summary])
    print("\nTwo at a time over one, by the clock (noisy where others use the machine):")
    scaled = scaling(paths[0])
    print_table(scaled)
    write_json("decode", [*rows, *summary, *scaled], arguments.json)


def one_clip(info: VideoInfo, rng: np.random.Generator) -> list[Shot]:
    """A training clip, somewhere in the video."""
    return [Shot(_clip(info, rng.uniform()), _centre(info), SIZE)]


def ten_clips(info: VideoInfo, rng: np.random.Generator) -> list[Shot]:  # noqa: ARG001
    """The clips of a test, spread from the start to the end."""
    return [Shot(_clip(info, place), _centre(info), SIZE) for place in np.linspace(0, 1, 10)]


def sparse(num_frames: int, info: VideoInfo, rng: np.random.Generator) -> list[Shot]:
    """One frame out of each of equal segments, as TSN samples in training."""
    places = (np.arange(num_frames) + rng.uniform(size=num_frames)) * info.num_frames / num_frames
    return [Shot(places.astype(np.int64), _centre(info), SIZE)]


def whole(info: VideoInfo, rng: np.random.Generator) -> list[Shot]:  # noqa: ARG001
    """Every frame."""
    return [Shot(np.arange(info.num_frames), _centre(info), SIZE)]


def repeats(info: VideoInfo, rng: np.random.Generator) -> list[Shot]:
    """Four training clips of one video, each with a box of its own: repeated augmentation."""
    shots = []
    for _ in range(4):
        edge = int(min(info.height, info.width) * rng.uniform(0.5, 1.0))
        top, left = (int(rng.integers(length - edge + 1)) for length in (info.height, info.width))
        shots.append(Shot(_clip(info, rng.uniform()), Box(top, left, edge, edge), SIZE))
    return shots


PATTERNS: dict[str, Callable[[VideoInfo, np.random.Generator], list[Shot]]] = {
    "clip": one_clip,
    "10 clips": ten_clips,
    "3 frames": partial(sparse, 3),
    "8 frames": partial(sparse, 8),
    "whole": whole,
    "4 repeats": repeats,
}


def measure_all(paths: Iterable[Path], seconds: float, left_out: set[tuple[str, str]]) -> Iterable[dict[str, Any]]:
    """One row a video and pattern: CPU milliseconds of every reader, and ratios."""
    worker = Worker()
    readers = available(worker)
    is_warm = False
    for path in paths:
        info = probe(str(path))
        for pattern in PATTERNS:
            if (kind_of(path, info), pattern) in left_out:
                continue
            if not is_warm:
                measure(path, info, pattern, worker, readers, seconds=0.0)  # the first call of a library loads it
                is_warm = True
            started = time.perf_counter()
            row = measure(path, info, pattern, worker, readers, seconds=seconds)
            print(f"{row['video']}, {pattern}: {time.perf_counter() - started:.1f} s", file=sys.stderr)
            yield row


def measure(
    path: Path, info: VideoInfo, pattern: str, worker: Worker, readers: dict[str, Read], *, seconds: float
) -> dict[str, Any]:
    """Let all readers take turns until the time is up, at least once, each round on other shots."""
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in (*readers, "limit", "limit unskipped")}
    failures: dict[str, str] = {}
    stop = time.process_time() + seconds
    for _ in range(MAX_ROUNDS):
        shots = PATTERNS[pattern](info, rng)
        worker.prepare(str(path), shots)
        for name, read in readers.items():
            if name not in failures:
                try:
                    times[name].append(_cpu_seconds(partial(read, str(path), shots)))
                except Exception as error:  # other libraries fail with whatever they like
                    if name.startswith("ours"):
                        raise
                    failures[name] = str(error).strip().splitlines()[0][:100] if str(error).strip() else repr(error)
        alone = DecodingAlone(str(path), np.concatenate([shot.indices for shot in shots]))
        times["limit"].append(_cpu_seconds(partial(alone.decode, is_skipping=True)))
        times["limit unskipped"].append(_cpu_seconds(partial(alone.decode, is_skipping=False)))
        alone.close()
        if time.process_time() > stop:
            break
    row: dict[str, Any] = {"video": path.stem[:32], "kind": kind_of(path, info), "pattern": pattern}
    row["rounds"] = len(times["ours"])
    row["ms"] = {name: 1000 * statistics.median(taken) for name, taken in times.items() if taken}
    row["ratios"] = {
        name: statistics.median(other / own for other, own in zip(taken, times["ours"], strict=True))
        for name, taken in times.items()
        if name not in failures
    }
    return row | ({"failures": failures} if failures else {})


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """The row as the table shows it: other libraries and the limit over ours, and what variants of ours gain."""
    ratios = row["ratios"]
    others = {f"{name} x": value for name, value in ratios.items() if not name.startswith(("ours", "limit"))}
    own = {f"{_short(name)} x": 1 / ratios[name] for name in VARIANTS[1:]}
    limits = {"limit": ratios["limit"], "unskipped": ratios["limit unskipped"]}
    return {"video": row["video"], "pattern": row["pattern"], "ours ms": row["ms"]["ours"]} | others | limits | own


def kind_of(path: Path, info: VideoInfo) -> str:
    """Which of the kinds of video that the goals speak of."""
    if "ucf101" in path.name or "hmdb51" in path.name:
        return "UCF101" if "ucf101" in path.name else "HMDB51"
    if info.codec == "h264" and (info.height, info.width) == (256, 340) and "gop16" not in path.name:
        return "Kinetics-like"
    return f"{info.height}p" if info.height >= 720 else "other"


def summarize(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the videos of a kind, beside the goals."""
    summary = []
    for kind in dict.fromkeys(row["kind"] for row in rows if row["kind"] != "other"):
        for pattern in PATTERNS:
            ratios = [row["ratios"] for row in rows if (row["kind"], row["pattern"]) == (kind, pattern)]
            if not ratios:
                continue
            line: dict[str, Any] = {"kind": kind, "pattern": pattern, "videos": len(ratios)}
            for name in ("decord", "limit", "decord scaled", "torchcodec"):
                line[name] = {_short(own): _median_over(ratios, name, own) for own in VARIANTS}
            line["decord"]["goal"], line["limit"]["goal"] = GOALS.get((kind, pattern), (None, None))
            summary.append(line)
    return summary


def compared(line: dict[str, Any], name: str) -> dict[str, Any]:
    """A line of the summary as the table of one reader shows it; in decord's, other libraries too."""
    others = ("decord scaled", "torchcodec") if name == "decord" else ()
    known = {key: line[key] for key in ("kind", "pattern", "videos")}
    return known | line[name] | {f"{other} / ours": line[other]["ours"] for other in others}


def _median_over(ratios: list[dict[str, float]], name: str, own: str) -> float | None:
    """Median over videos of a reader's time divided by one of ours; None where the reader could read none."""
    known = [found[name] / found[own] for found in ratios if name in found]
    return statistics.median(known) if known else None


def _short(name: str) -> str:
    return name.removeprefix("ours ")


def scaling(path: Path, num_clips: int = 40) -> list[dict[str, Any]]:
    """How much faster two threads, and two processes, read twice as many clips as one."""
    rows = []
    spawn = get_context("spawn")
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, mp_context=spawn) as processes:
        for name, pool in (("2 threads", threads), ("2 processes", processes)):
            _wall_seconds(pool, path, 2, 4)  # starts the processes and imports
            speedups = []
            for _ in range(3):
                alone = _wall_seconds(pool, path, 1, num_clips)
                speedups.append(2 * alone / _wall_seconds(pool, path, 2, num_clips))
            rows.append({"scaling": name, "over one": statistics.median(speedups)})
    return rows


def read_clips(path: Path, num_clips: int) -> None:
    """Read clips of a video at random places, one after another."""
    info = probe(str(path))
    rng = np.random.default_rng(0)
    for _ in range(num_clips):
        ours(str(path), one_clip(info, rng))


def memory(paths: list[Path], num_clips: int) -> list[dict[str, Any]]:
    """Resident memory while clips of all videos are read in turn, and what is left in shared memory."""
    import psutil

    process = psutil.Process()
    infos = {path: probe(str(path)) for path in paths}
    rng = np.random.default_rng(0)
    rows = []
    before = _shared_memory_bytes()
    for count in range(1, num_clips + 1):
        path = paths[count % len(paths)]
        ours(str(path), one_clip(infos[path], rng))
        if count in {100, num_clips // 2, num_clips}:
            growth = (_shared_memory_bytes() - before) / 2**20
            rows.append({"clips": count, "RSS MiB": process.memory_info().rss / 2**20, "shared MiB": growth})
    return rows


def _shared_memory_bytes() -> int:
    folder = Path("/dev/shm")  # noqa: S108  looked at, not written to
    own = (file.stat() for file in folder.glob("*") if file.is_file()) if folder.is_dir() else ()
    return sum(stat.st_size for stat in own if stat.st_uid == os.getuid())


def _wall_seconds(pool: Executor, path: Path, num_tasks: int, num_clips: int) -> float:
    started = time.perf_counter()
    for task in [pool.submit(read_clips, path, num_clips) for _ in range(num_tasks)]:
        task.result()
    return time.perf_counter() - started


def _cpu_seconds(call: Callable[[], None]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def _clip(info: VideoInfo, place: float) -> NDArray[np.int64]:
    """Indices of a clip; ``place`` 0 is the first that fits, 1 the last. A video that is too short starts over."""
    last_start = max(info.num_frames - (CLIP_LEN - 1) * INTERVAL - 1, 0)
    start = round(place * last_start)
    indices: NDArray[np.int64] = (start + np.arange(CLIP_LEN) * INTERVAL) % info.num_frames
    return indices


def _centre(info: VideoInfo) -> Box:
    """The square in the middle."""
    edge = min(info.height, info.width)
    return Box((info.height - edge) // 2, (info.width - edge) // 2, edge, edge)


if __name__ == "__main__":
    main()
