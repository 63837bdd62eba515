"""What an evaluation tells beyond its metrics: how sure they are, and which classes and groups of videos are worst."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from kinoray.data.manifest import Manifest
from kinoray.metrics import accuracy_interval, average_precisions, class_accuracies, known_mean, ranked
from kinoray.train.events import Evaluation
from kinoray.train.predictions import Predictions


@dataclass(frozen=True)
class Report:
    """Figures and tables of an evaluated split.

    Attributes:
        metrics: those of the evaluation, and ``mean_average_precision``.
        probe: accuracies of the temporal probe, empty where it was not asked for.
        top1_interval: 95 % bootstrap interval of ``top1``.
        num_groups: groups that the interval is drawn from, None where it is drawn from single videos.
        classes: a row per class, the worst first: ``class videos accuracy average_precision most_confused_with
            confused_videos``; without those of accuracy and confusion where videos have several labels.
        groups: a row per group, the worst first: ``group videos accuracy``; None where the manifest names none.
    """

    metrics: Mapping[str, float]
    probe: Mapping[str, float]
    top1_interval: tuple[float, float]
    num_groups: int | None
    classes: pa.Table
    groups: pa.Table | None

    def figures(self) -> dict[str, float]:
        """The metrics and the ends of the interval."""
        low, high = self.top1_interval
        return {**self.metrics, "top1_low": low, "top1_high": high}


def make_report(
    predictions: Predictions, evaluation: Evaluation, manifest: Manifest, *, probe: Mapping[str, float] | None = None
) -> Report:
    """Look closer at an evaluation.

    Args:
        predictions: of all videos of the manifest.
        evaluation: of these predictions.
        manifest: names classes and groups.
        probe: the temporal probe, if it was asked for.
    """
    good = predictions.good
    scores, labels = predictions.scores[good], predictions.labels[good]
    targets = manifest.targets(labels)
    precisions = average_precisions(scores, targets)
    is_right = targets[np.arange(len(scores)), ranked(scores)[:, -1]]
    has_label = targets.any(axis=1)
    names = manifest.groups()
    groups = None if names is None else names.filter(pa.array(good)).filter(pa.array(has_label))
    members = None if groups is None else _members(groups)
    return Report(
        metrics={**evaluation.metrics, "mean_average_precision": known_mean(precisions)},
        probe=probe or {},
        top1_interval=accuracy_interval(is_right[has_label], groups=members),
        num_groups=None if members is None else len(np.unique(members)),
        classes=_class_table(manifest.classes, targets.sum(axis=0), precisions, evaluation.confusion),
        groups=None if groups is None else _group_table(groups, is_right[has_label]),
    )


def write_report(report: Report, predictions: Path) -> list[tuple[str, str]]:
    """Write the tables as CSV and the figures as JSON beside the predictions; returns what went where."""
    places = [("figures", predictions.with_suffix(".json"))]
    figures = report.figures() | {f"probe/{name}": value for name, value in report.probe.items()}
    known = {name: value if math.isfinite(value) else None for name, value in figures.items()}  # JSON has no NaN
    places[0][1].write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    for name, table in (("classes", report.classes), ("groups", report.groups)):
        if table is not None:
            places.append((name, predictions.with_suffix(f".{name}.csv")))
            csv.write_csv(table, places[-1][1])
    return [(name, str(path)) for name, path in places]


def _class_table(
    classes: tuple[str, ...],
    num_videos: NDArray[np.int64],
    precisions: NDArray[np.float64],
    confusion: NDArray[np.int64] | None,
) -> pa.Table:
    names = pa.array(classes)
    columns = {"class": names, "videos": pa.array(num_videos)}
    if confusion is None:
        table = pa.table(columns | {"average_precision": pa.array(precisions, from_pandas=True)})
        return _worst_first(table, "average_precision")
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    columns |= {
        "accuracy": pa.array(class_accuracies(confusion), from_pandas=True),
        "average_precision": pa.array(precisions, from_pandas=True),
        "most_confused_with": pc.if_else(pa.array(wrong.any(axis=1)), names.take(pa.array(wrong.argmax(axis=1))), None),
        "confused_videos": pa.array(wrong.max(axis=1)),
    }
    return _worst_first(pa.table(columns), "accuracy")


def _group_table(groups: pa.Array, is_right: NDArray[np.bool_]) -> pa.Table:
    """Videos that belong to no group are left out."""
    table = pa.table({"group": groups, "right": pa.array(is_right.astype(np.float64))})
    by_group = table.filter(pc.is_valid(groups)).group_by("group", use_threads=False)
    counted = by_group.aggregate([("right", "count"), ("right", "mean")]).select(["group", "right_count", "right_mean"])
    return _worst_first(counted.rename_columns(["group", "videos", "accuracy"]), "accuracy")


def _worst_first(table: pa.Table, by: str) -> pa.Table:
    """Of equals, what has more videos is the surer find; what has none comes last."""
    number = pa.array(np.arange(table.num_rows))
    order = pc.sort_indices(
        table.append_column("number", number),
        sort_keys=[(by, "ascending"), ("videos", "descending"), ("number", "ascending")],
    )
    return table.take(order)


def _members(groups: pa.Array) -> NDArray[np.int64]:
    """``(N,)`` numbers of groups; a video without one is a group of its own."""
    numbers = pc.index_in(groups, value_set=pc.unique(groups.drop_null())).to_numpy(zero_copy_only=False)
    alone = len(groups) + np.arange(len(groups))
    is_null = groups.is_null().to_numpy(zero_copy_only=False)
    return np.where(is_null, alone, np.nan_to_num(numbers)).astype(np.int64)
