#!/usr/bin/env python3
"""What each option of a recipe does to held-out accuracy: all folds, several seeds, one change at a time.

python benchmarks/ablation.py MANIFEST NUM_CLASSES FOLDER [--folds 0 1] [--seeds 0 1 2] [--variants NAME ...]

MANIFEST is a CSV with columns path, label, group, fold; one fold is held out at a time. Every run is one line of
FOLDER/runs.jsonl, so that the same command goes on where it was stopped. What counts is the last epoch, never the best
one: that is chosen on the held-out videos. Intervals are of a bootstrap over groups of videos from the same source.
"""

import csv
import json
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from report import print_table, write_json

from kinoray.metrics import ranked
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.evaluate import predict
from kinoray.train.events import EpochDone, Event
from kinoray.train.local import LocalFeed, fit_locally
from kinoray.train.world import World

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs/tiny3d/tiny3d_videos.yaml"
VARIANTS: dict[str, tuple[str, ...]] = {
    "base": (),
    "no augmentation": ("data.train.box={kind: centre}", "data.train.flip=0"),
    "colour jitter": ("data.train.augment=[{kind: colour_jitter, brightness: 0.4, contrast: 0.4, saturation: 0.4}]",),
    "RandAugment": ("data.train.augment=[{kind: rand_augment}]",),
    "random erasing": ("data.train.augment=[{kind: random_erasing}]",),
    "EMA 0.98": ("training.ema_decay=0.98",),
    "mixup 0.8": ("training.mix={mixup: 0.8}",),
    "cutmix 1.0": ("training.mix={cutmix: 1.0}",),
    "bf16": ("training.precision=bf16",),
}
NUM_DRAWS = 10_000

Run = tuple[str, int, int]
"""Variant, fold, seed."""


def main() -> None:
    """Train what is missing; print a table and write the figures."""
    arguments = _parser().parse_args()
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "runs.jsonl"
    torch.set_num_threads(arguments.threads)
    done = _done(record)
    for run in [(v, f, s) for s in arguments.seeds for f in arguments.folds for v in arguments.variants]:
        if run not in done:
            done[run] = _right(run, arguments)
            with record.open("a") as file:
                file.write(json.dumps({"run": run, "right": done[run]}) + "\n")
            print(*run, f"{np.mean(list(done[run].values())):.3f}", flush=True)
    rows = _table(done, _groups(arguments.manifest))
    print_table(rows)
    write_json("ablation", rows, str(folder / "ablation.json"))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("num_classes", type=int)
    parser.add_argument("folder")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    return parser


def _done(record: Path) -> dict[Run, dict[str, bool]]:
    if not record.exists():
        return {}
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    return {tuple(line["run"]): line["right"] for line in lines}


def _groups(manifest: str) -> dict[str, str]:
    """Path -> group."""
    with Path(manifest).open(newline="") as file:
        return {row["path"]: row["group"] for row in csv.DictReader(file)}


def _right(run: Run, arguments: Namespace) -> dict[str, bool]:
    """Train with one fold held out: path in the manifest -> whether the last epoch's model is right."""
    variant, fold, seed = run
    recipe = Recipe.load(
        RECIPE,
        [
            f"model.num_classes={arguments.num_classes}",
            f"data.train.source={{kind: manifest, path: {arguments.manifest}, where_not: {{fold: [{fold}]}}}}",
            f"data.val.source={{kind: manifest, path: {arguments.manifest}, where: {{fold: [{fold}]}}}}",
            f"seed={seed}",
            "evaluation.every_epochs=1000",
            *arguments.set,
            *VARIANTS[variant],
        ],
    )
    dataset = recipe.data.load(arguments.num_classes)
    with tempfile.TemporaryDirectory(prefix="kinoray-ablation-") as folder:
        events: list[Event] = []
        fit_locally(recipe, dataset, Path(folder), num_threads=1, emit=events.append)
        last = [event for event in events if isinstance(event, EpochDone)][-1]
        model = recipe.model.without_pretrained().build().eval()
        open_checkpoint(last.checkpoint).restore_model(model)
    feed = LocalFeed(recipe, dataset, num_threads=1)
    predictions = predict(model, feed.val(0), average=recipe.evaluation.average, world=World())
    right = ranked(predictions.scores)[:, -1] == predictions.labels
    return dict(zip(predictions.video_ids, right.tolist(), strict=True))


def _table(done: Mapping[Run, Mapping[str, bool]], groups: Mapping[str, str]) -> list[dict[str, object]]:
    """A row for each variant: accuracy over folds and seeds, and its difference from the base's, with intervals."""
    of_variant = {variant: _by_video(variant, done) for variant in dict.fromkeys(name for name, _, _ in done)}
    base = of_variant["base"]
    rows = []
    for variant, shares in of_variant.items():
        videos = sorted(shares.keys() & base.keys())
        names = [groups[video] for video in videos]
        accuracy = np.array([shares[video] for video in videos])
        gain = accuracy - np.array([base[video] for video in videos])
        low, high = _interval(accuracy, names)
        worse, better = _interval(gain, names)
        by_run = [np.mean(list(right.values())) for (name, _, _), right in done.items() if name == variant]
        rows.append(
            {
                "variant": variant,
                "accuracy %": 100 * accuracy.mean(),
                "95 %": f"{100 * low:.1f}..{100 * high:.1f}",
                "runs %": f"{100 * min(by_run):.1f}..{100 * max(by_run):.1f}",
                "against base": f"{100 * gain.mean():+.1f}" if variant != "base" else "",
                "95 % of it": f"{100 * worse:+.1f}..{100 * better:+.1f}" if variant != "base" else "",
            }
        )
    return rows


def _by_video(variant: str, done: Mapping[Run, Mapping[str, bool]]) -> dict[str, float]:
    """Video -> share of the seeds that were right about it."""
    votes: dict[str, list[bool]] = {}
    for (name, _, _), right in done.items():
        if name == variant:
            for video, is_right in right.items():
                votes.setdefault(video, []).append(is_right)
    return {video: float(np.mean(marks)) for video, marks in votes.items()}


def _interval(values: NDArray[np.float64], groups: Sequence[str]) -> tuple[float, float]:
    """95 % percentile bootstrap of a mean; whole groups are drawn."""
    members = np.unique(groups, return_inverse=True)[1]
    sums, counts = np.bincount(members, weights=values), np.bincount(members)
    drawn = np.random.default_rng(0).integers(len(counts), size=(NUM_DRAWS, len(counts)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
