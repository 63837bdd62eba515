"""The tables of an evaluation: worst first, whole groups drawn, everything in files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kinoray.data.manifest import Manifest
from kinoray.data.rows import GROUP, MANIFEST_SCHEMA
from kinoray.metrics import accuracy_interval, average_precision
from kinoray.recipe import Recipe
from kinoray.train.predictions import Predictions, score_predictions, write_predictions
from kinoray.train.report import Report, make_report, write_report

MakeRecipe = Callable[..., Recipe]
CLASSES = ("run", "sit", "walk", "wave")
SETS = ((0,), (0, 2), (), (1, 2))
SEVERAL = {
    "data.multi_label": True,
    "loss": {"kind": "binary_cross_entropy"},
    "model.num_classes": 4,
    "data.classes": list(CLASSES),
}


def manifest_of(labels: list[int], groups: list[str | None] | None = None, *, several: bool = False) -> Manifest:
    names = [f"v{index}" for index in range(len(labels))]
    none = [None] * len(labels)
    columns = [names, names, labels, none, none]
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, MANIFEST_SCHEMA, strict=True)], MANIFEST_SCHEMA)
    if groups is not None:
        table = table.append_column(GROUP, pa.array(groups, GROUP.type))
    return Manifest(table, CLASSES, "val", "listed", SETS if several else None)


def predictions_of(scores: np.ndarray, labels: list[int], bad: tuple[int, ...] = ()) -> Predictions:
    ids = tuple(f"v{index}" for index in range(len(labels)))
    errors = tuple("broken" if index in bad else "" for index in range(len(labels)))
    return Predictions(np.arange(len(labels)), ids, np.array(labels), scores.astype(np.float32), errors)


def scored(best: list[int]) -> np.ndarray:
    """Probabilities whose highest is where it is wanted."""
    return np.eye(4)[best] * 0.6 + 0.1


def report_of(predictions: Predictions, manifest: Manifest, recipe: Recipe) -> Report:
    recipe = recipe.replace({"data.max_bad_fraction": 0.5}, "test")
    return make_report(predictions, score_predictions(predictions, recipe, manifest), manifest)


def test_classes_are_told_worst_first(toy_recipe: MakeRecipe) -> None:
    labels = [0, 0, 0, 1, 1, 2, 2, 2, 0]
    predictions = predictions_of(scored([0, 2, 2, 1, 1, 0, 1, 1, 0]), labels, bad=(8,))
    report = report_of(predictions, manifest_of(labels), toy_recipe())
    rows = report.classes.select(["class", "videos", "accuracy", "most_confused_with", "confused_videos"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("walk", 3, 0.0, "sit", 2),
        ("run", 3, pytest.approx(1 / 3), "walk", 2),
        ("sit", 2, 1.0, None, 0),
        ("wave", 0, None, None, 0),
    ]
    assert report.metrics["top1"] == 3 / 8
    assert report.groups is None
    assert report.num_groups is None
    assert report.top1_interval == accuracy_interval(np.array([1, 0, 0, 1, 1, 0, 0, 0], bool))


def test_average_precision_is_of_each_class_against_all_others(toy_recipe: MakeRecipe) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=30).tolist()
    scores = rng.dirichlet(np.ones(4), 30)
    report = report_of(predictions_of(scores, labels), manifest_of(labels), toy_recipe())
    scores = scores.astype(np.float32)
    expected = {name: average_precision(scores[:, k], np.array(labels) == k) for k, name in enumerate(CLASSES[:3])}
    found = {row["class"]: row["average_precision"] for row in report.classes.to_pylist()}
    assert found == {**expected, "wave": None}
    assert report.metrics["mean_average_precision"] == pytest.approx(np.mean(list(expected.values())))


def test_whole_groups_are_drawn_and_told(toy_recipe: MakeRecipe) -> None:
    labels = [0] * 40
    best = [0] * 20 + [1] * 20
    groups = [f"film {index // 10}" for index in range(38)] + [None, None]
    report = report_of(predictions_of(scored(best), labels, bad=(0,)), manifest_of(labels, groups), toy_recipe())
    assert report.num_groups == 6
    assert report.groups is not None
    assert [tuple(row.values()) for row in report.groups.to_pylist()] == [
        ("film 2", 10, 0.0),
        ("film 3", 8, 0.0),
        ("film 1", 10, 1.0),
        ("film 0", 9, 1.0),
    ]
    members = np.array([*(index // 10 for index in range(1, 38)), 8, 9])
    assert report.top1_interval == accuracy_interval(np.array(best[1:]) == 0, groups=members)
    low, high = report_of(predictions_of(scored(best), labels), manifest_of(labels), toy_recipe()).top1_interval
    assert report.top1_interval[1] - report.top1_interval[0] > 1.5 * (high - low)


def test_several_labels_are_right_if_the_best_class_is_among_them(toy_recipe: MakeRecipe) -> None:
    labels = [0, 1, 1, 2, 3]
    scores = scored([0, 2, 1, 3, 1])
    manifest, recipe = manifest_of(labels, ["x", "x", "y", "y", "y"], several=True), toy_recipe(SEVERAL)
    evaluation = score_predictions(predictions_of(scores, labels), recipe, manifest)
    assert evaluation.confusion is None
    assert evaluation.metrics["top1"] == 3 / 4
    targets = np.array([[1, 0, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 0]])
    likelihood = np.where(targets, scores, 1 - scores)
    assert evaluation.metrics["loss"] == pytest.approx(-np.log(likelihood).mean(), rel=1e-6)
    report = report_of(predictions_of(scores, labels), manifest, recipe)
    assert report.classes.column_names == ["class", "videos", "average_precision"]
    assert report.classes["class"].to_pylist()[-1] == "wave"
    assert report.groups is not None
    assert [tuple(row.values()) for row in report.groups.to_pylist()] == [("y", 2, 0.5), ("x", 2, 1.0)]


def test_the_loss_of_logits_is_that_of_their_sigmoid(toy_recipe: MakeRecipe) -> None:
    logits = np.array([[0.0, 30.0, -2.0, 1000.0], [-1000.0, 0.5, 0.0, 1.0]])
    recipe = toy_recipe(SEVERAL | {"evaluation.average": "score"})
    found = score_predictions(predictions_of(logits, [1, 0]), recipe, manifest_of([1, 0], several=True)).metrics["loss"]
    targets = np.array([[1, 0, 1, 0], [1, 0, 0, 0]])
    nats = np.logaddexp(0, np.where(targets, -logits, logits))
    assert found == pytest.approx(np.minimum(nats, -np.log(np.finfo(np.float32).tiny)).mean(), rel=1e-6)


def test_a_split_without_any_label_has_no_figures(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    predictions = predictions_of(scored([0, 2]), [2, 2])
    report = report_of(predictions, manifest_of([2, 2], several=True), toy_recipe(SEVERAL))
    figures = json.loads(Path(dict(write_report(report, tmp_path / "p.parquet"))["figures"]).read_text())
    unknown = {"top1", "mean_average_precision", "mmit_mean_average_precision", "top1_low", "top1_high"}
    assert {name for name, value in figures.items() if value is None} == unknown
    assert figures["loss"] > 0


def test_everything_is_in_files(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    labels = [0, 1, 3, 2]
    predictions = predictions_of(scored([0, 2, 3, 3]), labels)
    manifest, recipe = manifest_of(labels, ["x", "x", "y, z", "y, z"], several=True), toy_recipe(SEVERAL)
    evaluation = score_predictions(predictions, recipe, manifest)
    report = make_report(predictions, evaluation, manifest, probe={"ordered": 0.5})
    out = tmp_path / "p.parquet"
    write_predictions(predictions, manifest, out)
    assert [list(labels) for labels in pd.read_parquet(out)["label"]] == [["run"], ["run", "walk"], ["sit", "walk"], []]
    places = dict(write_report(report, out))
    assert {name: Path(place).name for name, place in places.items()} == {
        "figures": "p.json",
        "classes": "p.classes.csv",
        "groups": "p.groups.csv",
    }
    assert pd.read_csv(places["groups"])["group"].tolist() == ["y, z", "x"]
    assert pd.read_csv(places["classes"])["videos"].tolist() == report.classes["videos"].to_pylist()
    figures = json.loads(Path(places["figures"]).read_text())
    assert figures["top1"] == evaluation.metrics["top1"]
    assert figures["probe/ordered"] == 0.5
    assert figures["top1_low"] <= figures["top1"] <= figures["top1_high"]
