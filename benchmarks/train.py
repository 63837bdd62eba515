#!/usr/bin/env python3
"""How long training waits for data, with models of rising cost, decoded beside the worker and by Ray Data.

The model is the demo's, made wider until decoding on one CPU can keep up. What counts is the second epoch: the first
also starts processes.

python benchmarks/train.py [JSON]
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from report import print_table, write_json

from kinoray.cluster.session import session
from kinoray.cluster.training import train
from kinoray.data.motion8 import generate
from kinoray.recipe import Recipe
from kinoray.site import Allocation, Site
from kinoray.train.events import EpochDone, Event

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs/tiny3d/tiny3d_motion8.yaml"
NUM_VIDEOS = 256
WIDTHS = ([8, 8, 16], [16, 32, 64], [32, 64, 128])
BESIDE = Allocation(num_workers=1, cpus_per_worker=1, gpus_per_worker=0, decode_cpus=1, decode_threads=1)
WAYS = {"thread beside": BESIDE, "Ray Data": replace(BESIDE, decode_threads=0)}


def main() -> None:
    """Train each model both ways; print a table and write the figures."""
    with tempfile.TemporaryDirectory(prefix="kinoray-bench-train-") as folder:
        videos = Path(folder) / "motion8"
        generate(videos, num_train=NUM_VIDEOS, num_val=8)
        site = Site(local_cpus=2, storage=folder)
        with session(site):
            rows = [
                {"widths": "-".join(map(str, widths)), "way": way, **_trained(widths, videos, site, allocation)}
                for widths in WIDTHS
                for way, allocation in WAYS.items()
            ]
    print_table(rows)
    write_json("train", rows, sys.argv[1] if len(sys.argv) > 1 else None)


def _trained(widths: list[int], videos: Path, site: Site, allocation: Allocation) -> dict[str, Any]:
    """Figures of the second of two epochs."""
    recipe = Recipe.load(
        RECIPE,
        [
            f"model.widths={widths}",
            f"data.train.source={videos / 'train.csv'}",
            "data.val=null",
            "training.epochs=2",
            "evaluation.temporal_probe=false",
        ],
    )
    events: list[Event] = []
    name = f"bench-{'-'.join(map(str, widths))}-{allocation.decode_threads}"
    train(recipe, recipe.data.load(8), site, allocation, run_name=name, listeners=[events.append])
    last = [event for event in events if isinstance(event, EpochDone)][-1]
    return {
        "videos/s": last.videos_per_second,
        "data wait %": 100 * last.data_wait_fraction,
        "decode CPU-ms a video": 1_000 * last.decode_cpu_seconds_per_clip,
    }


if __name__ == "__main__":
    main()
