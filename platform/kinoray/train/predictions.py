"""Predictions of a split: gathered from all workers, scored, written to Parquet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

from kinoray.data.manifest import Manifest
from kinoray.errors import DataError
from kinoray.metrics import calibration_error, classification_metrics, confusion_matrix, multi_label_metrics, ranked
from kinoray.recipe import Average, Recipe
from kinoray.train.events import BadVideo, Evaluation
from kinoray.train.mistakes import worst_mistakes
from kinoray.train.user_code import users_metrics
from kinoray.train.world import World


@dataclass(frozen=True)
class Predictions:
    """Scores of videos, in the order of the manifest.

    Attributes:
        positions: ``(N,)`` int64, rows of the manifest.
        video_ids: N ids.
        labels: ``(N,)`` int64, as in the manifest.
        scores: ``(N, K)`` float32, averaged over views; zero where there is an error.
        errors: N messages, empty where the video was read.
    """

    positions: NDArray[np.int64]
    video_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    errors: tuple[str, ...]

    @property
    def good(self) -> NDArray[np.bool_]:
        """``(N,)``: which videos were read."""
        return np.array([not error for error in self.errors], dtype=np.bool_)


def joined(parts: list[Predictions]) -> Predictions:
    """Parts of a split as one, in the order of the manifest."""
    parts = [part for part in parts if len(part.positions)]
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return Predictions(none, (), none, np.zeros((0, 0), dtype=np.float32), ())
    positions = np.concatenate([part.positions for part in parts])
    order = np.argsort(positions)
    ids = [video_id for part in parts for video_id in part.video_ids]
    errors = [error for part in parts for error in part.errors]
    return Predictions(
        positions=positions[order],
        video_ids=tuple(ids[index] for index in order),
        labels=np.concatenate([part.labels for part in parts])[order],
        scores=np.concatenate([part.scores for part in parts])[order],
        errors=tuple(errors[index] for index in order),
    )


def gather_predictions(share: Predictions, world: World) -> Predictions | None:
    """All workers' predictions in manifest order on rank 0; None elsewhere."""
    parts = world.gather(share)
    return joined(parts) if world.is_first else None


def score_predictions(
    predictions: Predictions, recipe: Recipe, manifest: Manifest, *, seconds: float = 0.0
) -> Evaluation:
    """Metrics over the videos that were read.

    Args:
        predictions: of all videos of the manifest.
        recipe: says how scores were averaged and how many bad videos are tolerated.
        manifest: of the split, to name the bad videos.
        seconds: what to report as the time it took.

    Raises:
        DataError: too many videos could not be read, or all.
    """
    assert np.array_equal(predictions.positions, np.arange(manifest.num_videos)), "every video is scored exactly once"
    failed = np.flatnonzero(~predictions.good)
    bad = tuple(
        BadVideo(predictions.video_ids[number], path, predictions.errors[number])
        for number, path in zip(failed, manifest.shown_paths(predictions.positions[failed]), strict=True)
    )
    check_bad_videos(bad, len(predictions.errors), recipe.data.max_bad_fraction)
    good = predictions.good
    scores, labels = predictions.scores[good], predictions.labels[good]
    if len(labels) == 0:
        raise _found_at_work(
            f"{manifest.where}: none of the {len(good)} videos could be read; the first: {bad[0].error}"
        )
    is_multi = manifest.label_sets is not None
    chances = probabilities(scores, recipe.evaluation.average, multi_label=is_multi)
    if is_multi:
        targets = manifest.targets(labels)
        metrics = multi_label_metrics(scores, targets) | {"loss": _mean_binary_loss(chances, targets)}
        metrics |= users_metrics(recipe.evaluation.metrics, scores, targets)
        confusion = None
    else:
        metrics = classification_metrics(scores, labels)
        metrics |= {"calibration_error": calibration_error(chances, labels), "loss": _mean_loss(chances, labels)}
        metrics |= users_metrics(recipe.evaluation.metrics, scores, labels)
        confusion = confusion_matrix(ranked(scores)[:, -1], labels, scores.shape[1])
    mistakes = worst_mistakes(chances, labels, predictions.positions[good], manifest)
    return Evaluation(metrics, confusion, len(labels), bad, seconds, mistakes)


def check_bad_videos(bad: Sequence[BadVideo], num_videos: int, max_bad_fraction: float) -> None:
    """Raises DataError where the share of bad videos is above the limit."""
    if bad and len(bad) > max_bad_fraction * num_videos:
        raise _found_at_work(
            f"{len(bad)} of {num_videos} videos could not be read, more than data.max_bad_fraction "
            f"({max_bad_fraction:g}) allows; the first: {bad[0].error}"
        )


def _found_at_work(message: str) -> DataError:
    error = DataError(message)
    error.at_work = True
    return error


def write_predictions(predictions: Predictions, manifest: Manifest, path: Path) -> None:
    """A Parquet row per video: ``video_id path label predicted scores error``; labels as class names.

    Where videos have several labels, ``label`` holds lists.
    """
    names = pa.array(manifest.classes)
    best = ranked(predictions.scores)[:, -1]
    good = pa.array(predictions.good)
    num_classes = predictions.scores.shape[1]
    scores = pa.FixedSizeListArray.from_arrays(pa.array(predictions.scores.ravel()), num_classes)
    table = pa.table(
        {
            "video_id": predictions.video_ids,
            "path": manifest.shown_paths(predictions.positions),
            "label": manifest.label_names().take(pa.array(predictions.labels)),
            "predicted": pc.if_else(good, names.take(pa.array(best)), None),
            "scores": scores,
            "error": predictions.errors,
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, compression="zstd")


def probabilities(scores: NDArray[np.float32], average: Average, *, multi_label: bool = False) -> NDArray[np.float64]:
    """``(N, K)`` of the classes, in float64 so that the order of workers cannot show."""
    wide = scores.astype(np.float64)
    if average == "probability":
        return wide
    if multi_label:
        wide = np.exp(-np.logaddexp(0, -wide))
    else:
        wide = np.exp(wide - wide.max(axis=1, keepdims=True))
        wide /= wide.sum(axis=1, keepdims=True)
    return wide


def _mean_binary_loss(chances: NDArray[np.float64], targets: NDArray[np.bool_]) -> float:
    """Mean over videos and classes of the negative log-probability of a class being there, or not."""
    chosen = np.where(targets, chances, 1 - chances)
    return float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean())


def _mean_loss(chances: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean negative log-probability of the true class."""
    chosen = chances[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean())
