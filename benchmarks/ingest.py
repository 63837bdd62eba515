#!/usr/bin/env python3
"""What it costs to get decoded clips to the model: threads beside it, Ray Data tasks, and both.

First real clips, 32 frames of 224 x 224, against calling the reader in a loop. CPU time is that of all processes, Ray's
own included, over runs that take turns; Ray is up, and idle, while the loop runs. Then clips that cost nothing to
decode: the ceiling, and what the parts of Ray take of it. Last a model slower than decoding: what waiting costs.

python benchmarks/ingest.py [JSON]
"""

import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from numpy.typing import NDArray
from report import print_table, write_json
from videos import bench_videos

from kinoray.cluster.ingest import decoded
from kinoray.cluster.remote import DecodeBudget
from kinoray.cluster.session import session
from kinoray.data.reading import ClipReader
from kinoray.data.rows import PLAN_SCHEMA, PlanRow, ReadRow
from kinoray.data.views import TrainView
from kinoray.site import Site
from kinoray.train.packed import PackedClips
from kinoray.train.world import World

BATCH_SIZE = 8
NUM_CLIPS = 96
NUM_FREE_CLIPS = 480
ROUNDS = 2
STORE_BYTES = 2**30
KINDS = (
    ("mmaction2_demo_arm_wrestling.mp4", "h264_340x256_gop250.mp4"),
    ("ucf101_v_SoccerJuggling_g23_c01.avi", "mpeg4_320x240_gop12.avi"),
)
"""Like Kinetics and like UCF101, the first of each that there is."""
PIXELS = ("rgb", "yuv420", "native")
SAMPLING = {"clip_len": 32, "frame_interval": 2}
RGB, YUV = (1, 32, 224, 224, 3), (1, 32, 336, 224)
WAYS = {
    "thread beside": DecodeBudget(threads=1, beside_share=1),
    "Ray Data": DecodeBudget(cpus=1, object_store_bytes=STORE_BYTES),
    "Ray Data, 2 tasks": DecodeBudget(cpus=2, object_store_bytes=STORE_BYTES),
    "both": DecodeBudget(threads=1, beside_share=0.5, cpus=1, object_store_bytes=STORE_BYTES),
}


@dataclass(frozen=True)
class FreeView:
    """The shape of clips that cost nothing."""

    shape: tuple[int, ...]

    def clip_shape(self) -> tuple[int, ...]:
        """As that of a real view."""
        return self.shape


@dataclass(frozen=True)
class FreeReader:
    """Gives clips without reading anything; only touching the memory is left."""

    view: FreeView

    def read_into(self, row: PlanRow, out: NDArray[np.uint8]) -> ReadRow:
        """As that of a real reader."""
        out.fill(row["position"] % 251)
        return ReadRow(
            video_id=row["video_id"],
            position=row["position"],
            clip_seed=np.uint64(row["clip_seed"]),
            label=0,
            error="",
            decode_seconds=0.0,
            colour=0,
            facts="",
        )


def main() -> None:
    """Print three tables and write the figures."""
    known = {path.name: path for path in bench_videos()}
    videos = [next(known[name] for name in names if name in known) for names in KINDS]
    with session(Site(local_cpus=4)):
        for _ in range(3):  # starts processes; and memory that Ray never used before is slow
            _consume(_plan(Path("none"), NUM_FREE_CLIPS), FreeReader(FreeView(RGB)), WAYS["Ray Data, 2 tasks"])
        rows = [row for path in videos for row in _shown(_real(path))]
        rows += _shown(_ceilings())
        rows += _shown([_waiting()])
    write_json("ingest", rows, sys.argv[1] if len(sys.argv) > 1 else None)


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    print_table(rows)
    print(flush=True)
    return rows


def _real(path: Path) -> list[dict[str, Any]]:
    """CPU time of every way to read clips of one video, in turns."""
    plan = _plan(path, NUM_CLIPS)
    views = {pixels: ClipReader(TrainView(sampling=SAMPLING, crop=224, pixels=pixels)) for pixels in PIXELS}
    runs: dict[tuple[str, str], Callable[[], None]] = {}
    for pixels, reader in views.items():
        runs[pixels, "loop"] = lambda reader=reader: _loop(plan, reader)
        for way in ("thread beside", "Ray Data"):
            runs[pixels, way] = lambda reader=reader, way=way: _consume(plan, reader, WAYS[way])
    found: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in runs}
    for _ in range(ROUNDS):
        for key, run in runs.items():
            found[key].append(_measured(run))
    rows = []
    for (pixels, way), figures in found.items():
        cpu, wall = (statistics.median(column) / NUM_CLIPS for column in zip(*figures, strict=True))
        base = statistics.median(figure[0] for figure in found[pixels, "loop"]) / NUM_CLIPS
        rows.append(
            {
                "video": path.name,
                "pixels": pixels,
                "way": way,
                "CPU-ms a clip": cpu * 1_000,
                "clips per CPU-s": 1 / cpu,
                "overhead %": None if way == "loop" else 100 * (cpu / base - 1),
                "clips/s": 1 / wall,
            }
        )
    return rows


def _ceilings() -> list[dict[str, Any]]:
    """Clips that cost nothing: how many get through, and who spends what on them."""
    rows = []
    for name, shape in {"rgb": RGB, "yuv420": YUV}.items():
        reader, plan = FreeReader(FreeView(shape)), _plan(Path("none"), NUM_FREE_CLIPS)
        for way, budget in WAYS.items():
            _consume(plan.slice(0, 96), reader, budget)
            before, started = _tree_cpu(), time.perf_counter()
            _consume(plan, reader, budget)
            seconds = time.perf_counter() - started
            spent = _spent(before)
            rows.append(
                {
                    "clips": f"free, {name}",
                    "way": way,
                    "clips/s": NUM_FREE_CLIPS / seconds,
                    "GB/s": NUM_FREE_CLIPS * math.prod(shape) / seconds / 1e9,
                    **{f"CPU-ms {who}": 1_000 * cpu / NUM_FREE_CLIPS for who, cpu in spent.items()},
                }
            )
    return rows


def _waiting() -> dict[str, Any]:
    """A model that is busy while clips wait: CPU time of this process, which the model could have had."""
    reader, plan = FreeReader(FreeView(RGB)), _plan(Path("none"), 160)
    batches = decoded(plan, reader, BATCH_SIZE, replace(WAYS["Ray Data"], object_store_bytes=2**28), World()).batches()
    next(batches)
    time.sleep(2)  # the store is full
    started, before = time.perf_counter(), time.process_time()
    for _ in range(6):
        time.sleep(0.5)
        next(batches)
    busy = (time.process_time() - before) / (time.perf_counter() - started)
    list(batches)
    return {"model": "slower than decoding", "way": "Ray Data", "CPU of the worker spent on waiting %": 100 * busy}


def _plan(path: Path, num_rows: int) -> pa.Table:
    columns: Mapping[str, Any] = {
        "video_id": [str(index) for index in range(num_rows)],
        "path": [str(path)] * num_rows,
        "label": [0] * num_rows,
        "position": range(num_rows),
        "clip_seed": range(num_rows),
    }
    return pa.Table.from_pydict(
        {name: columns.get(name, [None] * num_rows) for name in PLAN_SCHEMA.names}, schema=PLAN_SCHEMA
    )


def _loop(plan: pa.Table, reader: ClipReader) -> None:
    out = np.empty((BATCH_SIZE, *reader.view.clip_shape()), np.uint8)
    for index, row in enumerate(plan.to_pylist()):
        assert not reader.read_into(row, out[index % BATCH_SIZE])["error"]


def _consume(plan: pa.Table, reader: Any, budget: DecodeBudget) -> None:
    """Take all batches as a model would that costs nothing; one byte of each clip is looked at."""
    num_clips = 0
    for batch in decoded(plan, reader, BATCH_SIZE, budget, World()).batches():
        num_clips += batch.num_good
        if isinstance(batch.clips, PackedClips):
            num_bytes = sum(len(batch.clips.row(index)) for index in range(len(batch.clips)))
            assert num_bytes <= len(batch.clips) * math.prod(reader.view.clip_shape())
        else:
            int(batch.clips.flatten(1)[:, 0].sum())
    assert num_clips == plan.num_rows


def _measured(run: Callable[[], None]) -> tuple[float, float]:
    """CPU seconds of all processes and wall seconds of a run."""
    before, started = _tree_cpu(), time.perf_counter()
    run()
    return sum(_spent(before).values()), time.perf_counter() - started


def _tree_cpu() -> dict[int, tuple[str, float]]:
    """Process id -> who it is and its CPU seconds, of this process and all that it started."""
    found = {}
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            times, words = process.cpu_times(), process.cmdline()
        except psutil.Error:
            continue
        is_decoder = bool(words) and words[0].startswith(("ray::IDLE", "ray::MapBatches"))
        who = "worker" if process.pid == me.pid else "decoders" if is_decoder else "rest of Ray"
        found[process.pid] = who, times.user + times.system
    return found


def _spent(before: Mapping[int, tuple[str, float]]) -> Counter[str]:
    """CPU seconds since then, by who spent them."""
    spent: Counter[str] = Counter()
    for pid, (who, seconds) in _tree_cpu().items():
        spent[who] += seconds - before.get(pid, (who, 0.0))[1]
    return spent


if __name__ == "__main__":
    main()
