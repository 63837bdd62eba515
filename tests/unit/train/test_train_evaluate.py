"""Scoring: exact counts, averages over views, the temporal probe, and what is written down."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from toy_training import CLASSES, ByHand, load_data, read_rows, write_manifest

from kinoray.data.manifest import Manifest
from kinoray.data.rows import MANIFEST_SCHEMA
from kinoray.errors import DataError
from kinoray.recipe import Recipe
from kinoray.train.evaluate import average_views, evaluate, predict, temporal_probe
from kinoray.train.local import LocalFeed
from kinoray.train.predictions import Predictions, joined, score_predictions, write_predictions
from kinoray.train.world import World

MakeRecipe = Callable[..., Recipe]


def manifest_of(labels: list[int], num_classes: int = 3) -> Manifest:
    none = [None] * len(labels)
    names = [f"v{index}" for index in range(len(labels))]
    columns = [names, [f"/videos/{name}.mp4" for name in names], labels, none, none]
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, MANIFEST_SCHEMA, strict=True)], MANIFEST_SCHEMA)
    return Manifest(table, tuple(f"class {index}" for index in range(num_classes)), "test", "listed")


def predictions_of(scores: list[list[float]], labels: list[int], errors: dict[int, str] | None = None) -> Predictions:
    return Predictions(
        positions=np.arange(len(labels)),
        video_ids=tuple(f"v{index}" for index in range(len(labels))),
        labels=np.array(labels),
        scores=np.array(scores, dtype=np.float32),
        errors=tuple((errors or {}).get(index, "") for index in range(len(labels))),
    )


SCORES = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.125, 0.125, 0.75], [0.75, 0.125, 0.125]]


def test_scores_are_counted_exactly(toy_recipe: MakeRecipe) -> None:
    found = score_predictions(
        predictions_of(SCORES, [0, 1, 2, 2]), toy_recipe(), manifest_of([0, 1, 2, 2]), seconds=2.0
    )
    assert found.metrics["top1"] == 0.75
    assert found.metrics["mean_class_accuracy"] == (1 + 1 + 0.5) / 3
    assert found.metrics["loss"] == pytest.approx(-np.log([0.5, 0.5, 0.75, 0.125]).mean(), rel=1e-12)
    assert "top5" not in found.metrics
    assert found.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert (found.num_videos, found.bad_videos, found.seconds) == (4, (), 2.0)


def test_bad_videos_are_named_and_not_counted(toy_recipe: MakeRecipe) -> None:
    labels = [0, 1, 2, 2]
    predictions = predictions_of([SCORES[0], [0, 0, 0], *SCORES[2:]], labels, {1: "cannot be read"})
    found = score_predictions(predictions, toy_recipe({"data.max_bad_fraction": 0.25}), manifest_of(labels))
    assert found.num_videos == 3
    assert found.metrics["top1"] == 2 / 3
    assert [(bad.video_id, bad.path, bad.error) for bad in found.bad_videos] == [
        ("v1", "/videos/v1.mp4", "cannot be read")
    ]
    with pytest.raises(DataError, match="1 of 4 videos could not be read, more than"):
        score_predictions(predictions, toy_recipe({"data.max_bad_fraction": 0.24}), manifest_of(labels))


def test_nothing_to_score_is_an_error(toy_recipe: MakeRecipe) -> None:
    predictions = predictions_of([[0, 0, 0]], [0], {0: "cannot be read"})
    with pytest.raises(
        DataError, match="test data listed: none of the 1 videos could be read; the first: cannot be read"
    ):
        score_predictions(predictions, toy_recipe({"data.max_bad_fraction": 1.0}), manifest_of([0]))


def test_a_video_that_got_lost_is_our_own_fault(toy_recipe: MakeRecipe) -> None:
    with pytest.raises(AssertionError, match="every video is scored exactly once"):
        score_predictions(predictions_of(SCORES, [0, 1, 2, 2]), toy_recipe(), manifest_of([0, 1, 2, 2, 0]))


def test_parts_are_joined_in_the_order_of_the_manifest() -> None:
    whole = predictions_of(SCORES, [0, 1, 2, 2], {3: "bad"})

    def part(indices: list[int]) -> Predictions:
        return Predictions(
            whole.positions[indices],
            tuple(whole.video_ids[index] for index in indices),
            whole.labels[indices],
            whole.scores[indices],
            tuple(whole.errors[index] for index in indices),
        )

    again = joined([part([3, 1]), joined([]), part([2, 0])])
    assert again.video_ids == whole.video_ids
    assert again.errors == whole.errors
    assert np.array_equal(again.scores, whole.scores)
    assert np.array_equal(again.labels, whole.labels)
    assert again.good.tolist() == [True, True, True, False]


def test_views_are_averaged_after_or_before_the_softmax() -> None:
    logits = torch.tensor([[[0.0, 4.0], [3.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    by_score = average_views(logits, "score")
    assert torch.equal(by_score, torch.tensor([[1.5, 2.0], [1.0, 1.0]]))
    by_probability = average_views(logits, "probability")
    low, high = 1 / (1 + np.exp(4)), 1 / (1 + np.exp(-3))
    assert by_probability[0].tolist() == pytest.approx([(low + high) / 2, 1 - (low + high) / 2], rel=1e-6)
    assert by_probability.sum(1).tolist() == pytest.approx([1, 1])


def test_the_loss_of_scores_is_that_of_their_softmax(toy_recipe: MakeRecipe) -> None:
    logits = [[2.0, 0.0, -1.0], [1000.0, 0.0, 0.0], [0.0, 0.0, 3.0]]
    labels = [0, 0, 2]
    found = score_predictions(
        predictions_of(logits, labels), toy_recipe({"evaluation.average": "score"}), manifest_of(labels)
    )
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits, dtype=torch.float64), torch.tensor(labels))
    assert found.metrics["loss"] == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("average", ["probability", "score"])
def test_views_of_real_videos_are_averaged(toy_recipe: MakeRecipe, average: str) -> None:
    recipe = toy_recipe({"evaluation.average": average, "data.val.sampling.num_clips": 3})
    feed = LocalFeed(recipe, load_data(recipe), num_threads=2)
    model = ByHand(sees_order=True).eval()
    found = predict(model, feed.val(0), average=recipe.evaluation.average, world=World())
    for batch in feed.val(0):
        logits = model(batch.clips.permute(0, 1, 5, 2, 3, 4))
        assert logits.shape[1] == 3
        by_view = logits.softmax(-1) if average == "probability" else logits
        expected = sum(by_view[:, view] for view in range(3)) / 3
        np.testing.assert_allclose(found.scores[batch.positions], expected.numpy(), rtol=1e-6, atol=1e-6)


def test_evaluation_counts_every_video_once(toy_recipe: MakeRecipe) -> None:
    recipe = toy_recipe()
    dataset = load_data(recipe)
    model = ByHand(sees_order=True).train()
    feed = LocalFeed(recipe, dataset, num_threads=2)
    found = evaluate(model, feed.val(0), World(), recipe=recipe, manifest=dataset.val)
    assert not model.training
    assert found.metrics["top1"] == 1.0
    assert found.confusion.tolist() == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]


def test_the_probe_tells_who_looks_at_the_order(toy_recipe: MakeRecipe) -> None:
    recipe = toy_recipe()
    feed = LocalFeed(recipe, load_data(recipe), num_threads=2)
    probes = {
        sees_order: temporal_probe(ByHand(sees_order=sees_order), feed.val(0), World(), average="probability")
        for sees_order in (True, False)
    }
    assert probes[True]["ordered"] == 1.0
    assert probes[True]["reversed"] == pytest.approx(1 / 3)  # rising and falling change places, dim stays
    assert probes[True]["shuffled"] < 1.0
    assert len(set(probes[False].values())) == 1
    again = temporal_probe(ByHand(sees_order=True), feed.val(0), World(), average="probability")
    assert again == probes[True]


def test_the_probe_counts_equal_scores_as_top1_does(toy_recipe: MakeRecipe) -> None:
    class Undecided(torch.nn.Module):
        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            return clips.new_zeros((*clips.shape[:2], 3), dtype=torch.float32)

    recipe = toy_recipe()
    dataset = load_data(recipe)
    feed = LocalFeed(recipe, dataset, num_threads=2)
    evaluation = evaluate(Undecided(), feed.val(0), World(), recipe=recipe, manifest=dataset.val)
    labels = dataset.val.table["label"].to_pylist()
    assert evaluation.metrics["top1"] == labels.count(2) / len(labels)
    probe = temporal_probe(Undecided(), feed.val(0), World(), average="probability")
    assert set(probe.values()) == {evaluation.metrics["top1"]}


def test_the_probe_leaves_bad_videos_out(toy_recipe: MakeRecipe, toy_videos: Path) -> None:
    write_manifest(toy_videos / "val_missing.csv", [("missing.mp4", "dim"), *read_rows(toy_videos / "val.csv")])
    recipe = toy_recipe({"data.val.source": str(toy_videos / "val_missing.csv"), "data.max_bad_fraction": 0.5})
    feed = LocalFeed(recipe, load_data(recipe), num_threads=2)
    assert temporal_probe(ByHand(sees_order=True), feed.val(0), World(), average="score")["ordered"] == 1.0


def test_predictions_are_read_by_pandas(tmp_path: Path) -> None:
    predictions = predictions_of([*SCORES[:3], [0, 0, 0]], [0, 1, 1, 2], {3: "cannot be read"})
    path = tmp_path / "deep" / "predictions.parquet"
    write_predictions(predictions, manifest_of([0, 1, 1, 2]), path)
    table = pd.read_parquet(path)
    assert list(table.columns) == ["video_id", "path", "label", "predicted", "scores", "error"]
    assert table["video_id"].tolist() == ["v0", "v1", "v2", "v3"]
    assert table["path"][2] == "/videos/v2.mp4"
    assert table["label"].tolist() == ["class 0", "class 1", "class 1", "class 2"]
    assert table["predicted"][:3].tolist() == ["class 0", "class 1", "class 2"]
    assert table["predicted"].isna().tolist() == [False, False, False, True]
    assert np.array_equal(np.stack(table["scores"]), predictions.scores)
    assert table["error"].tolist() == ["", "", "", "cannot be read"]


def test_the_classes_of_the_toy_set_are_in_order(toy_recipe: MakeRecipe) -> None:
    """The models by hand lean on it."""
    assert load_data(toy_recipe()).classes == CLASSES
