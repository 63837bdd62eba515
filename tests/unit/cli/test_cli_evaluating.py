"""What ``jobs/evaluate.py`` takes and shows."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from rich.console import Console
from toy_training import load_data, toy_values

from kinoray.cli.evaluating import conclude, predictions_file, show_report, with_views
from kinoray.cluster.worker import EvaluationOutcome
from kinoray.errors import ConfigError, DataError
from kinoray.recipe import Recipe
from kinoray.site import Site
from kinoray.train.checkpoint import Checkpoint, Progress
from kinoray.train.events import BadVideo, Evaluation
from kinoray.train.predictions import Predictions
from kinoray.train.report import Report

MakeRecipe = Callable[..., Recipe]
TRICKY = "/videos/[bold]clip[/] [1] :fire: [/x].mp4"
EVALUATION = Evaluation({"top1": 0.75, "loss": 0.66666}, np.eye(3, dtype=np.int64), 1234)
REPORT = Report(
    metrics={"top1": 0.75, "loss": 0.66666},
    probe={"shuffled": 0.5},
    top1_interval=(0.7, 0.8),
    num_groups=1200,
    classes=pa.table({"class": ["walk", "[b]run"], "videos": [7, 12345], "accuracy": [0.25, None]}),
    groups=None,
)


@pytest.fixture
def log() -> Console:
    return Console(file=io.StringIO(), highlight=False, soft_wrap=True, width=200)


def rows(console: Console) -> list[list[str]]:
    assert isinstance(console.file, io.StringIO)
    lines = (line for line in console.file.getvalue().splitlines() if line.startswith("│"))
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def sampled_by(toy_videos: Path, sampling: dict[str, Any]) -> Recipe:
    values = toy_values(toy_videos)
    values["data"]["val"]["sampling"] = sampling
    return Recipe.from_mapping(values, "test")


def test_the_tables_of_an_evaluation(log: Console) -> None:
    bad = (BadVideo("v", TRICKY, f"{TRICKY}: no such file"),)
    evaluation = replace(EVALUATION, bad_videos=bad, seconds=3723.4)
    show_report(log, evaluation, REPORT, places=[("predictions", TRICKY)])
    assert rows(log) == [
        ["class", "videos", "accuracy"],
        ["walk", "7", "0.250"],
        ["[b]run", "12,345", ""],
        ["top1", "0.750"],
        ["top1, 95 % interval", "0.700 to 0.800, by 1,200 groups of videos"],
        ["loss", "0.6667"],
        ["temporal probe, shuffled", "0.500"],
        ["videos", "1,234"],
        ["unreadable videos", f"1, the first: {TRICKY}: no such file"],
        ["wall time", "1 h 2 min"],
        ["predictions", TRICKY],
    ]


def test_many_classes_and_groups_are_cut(log: Console) -> None:
    numbers = list(range(30))
    many = {"videos": numbers, "accuracy": [number / 30 for number in numbers]}
    classes, groups = (pa.table({what: [f"{what}{n}" for n in numbers], **many}) for what in ("class", "group"))
    show_report(log, EVALUATION, replace(REPORT, classes=classes, groups=groups, num_groups=None))
    first = [row[0] for row in rows(log)]
    assert first[:22] == ["class", *(f"class{n}" for n in range(10)), "group", *(f"group{n}" for n in range(10))]
    said = log.file.getvalue()  # type: ignore[attr-defined]
    assert "worst classes, 10 of 30" in said
    assert "worst groups, 10 of 30" in said
    assert "by videos" in said


@pytest.mark.parametrize(
    ("sampling", "views", "shape"),
    [
        ({"clip_len": 4}, "1x1", (1, 4, 16, 16, 3)),
        ({"clip_len": 4, "num_clips": 2, "twice": True}, "10x3", (30, 4, 16, 16, 3)),
        ({"kind": "dense", "clip_len": 4}, "5x10", (50, 4, 16, 16, 3)),
        ({"kind": "uniform", "clip_len": 4}, "3x1", (3, 4, 16, 16, 3)),
        ({"kind": "segments", "num_segments": 4}, "1x3", (3, 4, 16, 16, 3)),
        ({"kind": "segments", "num_segments": 4, "twice": True}, "1x3", (3, 4, 16, 16, 3)),
        ({"kind": "segments", "num_segments": 4}, "2x1", (2, 4, 16, 16, 3)),
    ],
)
def test_other_views(toy_videos: Path, sampling: dict[str, Any], views: str, shape: tuple[int, ...]) -> None:
    recipe = sampled_by(toy_videos, sampling)
    changed = with_views(recipe, "val", views)
    assert changed.data.evaluation_split("val").clip_shape() == shape
    assert changed.data.train == recipe.data.train


def test_views_keep_the_scale_of_the_picture(toy_recipe: MakeRecipe) -> None:
    recipe = toy_recipe({"data.val.crop": 224, "data.val.num_crops": 3})
    assert with_views(recipe, "val", "1x1").data.evaluation_split("val").short_side() == 224
    recipe = toy_recipe({"data.val.crop": 224})
    assert with_views(recipe, "val", "1x3").data.evaluation_split("val").short_side() == 256


def test_views_of_a_test_split_that_is_that_of_val(toy_recipe: MakeRecipe) -> None:
    recipe = with_views(toy_recipe(), "test", "4x1")
    assert recipe.data.test is None
    assert recipe.data.evaluation_split("test").sampling.shape(is_training=False) == (4, 4)
    own = toy_recipe({"data.test": {"sampling": {"clip_len": 2}, "crop": 16}})
    changed = with_views(own, "test", "4x1")
    assert changed.data.val == own.data.val
    assert changed.data.evaluation_split("test").sampling.shape(is_training=False) == (4, 2)


@pytest.mark.parametrize(
    ("changes", "views", "told"),
    [
        ({}, "10", "--views: clips and crops, got '10'; it should read like 10x3"),
        ({}, "3x2", "data.val.num_crops"),
        ({}, "0x1", "[--views 0x1]"),
        ({"data.flip_labels": {"rising": "falling", "falling": "rising"}}, "1x10", "half of them mirrored"),
    ],
)
def test_views_that_cannot_be(toy_recipe: MakeRecipe, changes: dict[str, Any], views: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_views(toy_recipe(changes), "val", views)
    assert told in str(caught.value)


def test_a_sampling_that_takes_another_number_of_clips(toy_videos: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        with_views(sampled_by(toy_videos, {"kind": "segments", "num_segments": 4}), "val", "10x3")
    assert str(caught.value) == (
        "--views: clips, got 10 with a sampling of kind 'segments', which takes 1 of a video; write --views 1x3, or "
        "set another sampling"
    )


def test_where_predictions_go() -> None:
    checkpoint = Checkpoint(Path("/runs/a/epoch-0004"), Progress(4, 50), {})
    place = predictions_file(None, checkpoint, "val", named="/runs/a")
    assert str(place) == "/runs/a/epoch-0004-predictions-val.parquet"
    assert str(predictions_file(None, checkpoint, "test", named="s3://b/runs/a")) == "a-predictions-test.parquet"
    assert str(predictions_file("x/p.parquet", checkpoint, "val", named="/runs/a")) == "x/p.parquet"
    for out in ("p.json", "predictions", "s3://b/p.parquet"):
        with pytest.raises(ConfigError, match=f"--out: the predictions, got '{out}'; it should be a local file that"):
            predictions_file(out, checkpoint, "val", named="/runs/a")


@pytest.mark.parametrize("max_bad_fraction", [0.5, 1.0])
def test_what_was_predicted_is_kept_where_it_is_of_no_use(
    log: Console, toy_recipe: MakeRecipe, tmp_path: Path, max_bad_fraction: float
) -> None:
    recipe = toy_recipe({"data.max_bad_fraction": max_bad_fraction})
    manifest = load_data(recipe).val
    assert manifest is not None
    num_videos, ids = manifest.num_videos, tuple(manifest.table["video_id"].to_pylist())
    labels, scores = np.zeros(num_videos, np.int64), np.zeros((num_videos, 3), np.float32)
    bad = Predictions(np.arange(num_videos), ids, labels, scores, ("cannot be read",) * num_videos)
    outcome, out = EvaluationOutcome(bad, {}, 1.0), tmp_path / "p.parquet"
    with pytest.raises(DataError) as caught:
        conclude(log, outcome, recipe, manifest, Site(), checkpoint="runs/a", out=out)
    assert caught.value.at_work
    assert set(parquet.read_table(out)["error"].to_pylist()) == {"cannot be read"}
