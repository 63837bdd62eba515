"""Exact evaluation: every readable video once, whatever the number of workers."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kinoray.errors import DataError
from kinoray.metrics import classification_metrics, confusion_matrix
from kinoray.train.batch import Batch
from kinoray.train.events import BadVideo, Evaluation
from kinoray.train.world import World

Average = Literal["probability", "score"]
PROBE_SEED = 20_260


@dataclass(frozen=True)
class Predictions:
    """Scores of videos, in the order of the manifest.

    Attributes:
        positions: ``(N,)`` int64, rows of the manifest.
        video_ids: N ids.
        labels: ``(N,)`` int64.
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


def predict(model: nn.Module, batches: Iterable[Batch], *, average: Average, world: World) -> Predictions:
    """Score one worker's share of the videos. ``model`` is not wrapped for DDP and is in eval mode."""
    parts = []
    with torch.inference_mode():
        for batch in batches:
            clips = batch.clips.to(world.device, non_blocking=True).permute(0, 1, 5, 2, 3, 4)
            scores = average_views(model(clips).float(), average).cpu().numpy()
            scores[[bool(error) for error in batch.errors]] = 0
            parts.append(Predictions(batch.positions, batch.video_ids, batch.labels.numpy(), scores, batch.errors))
    return _joined(parts)


def average_views(logits: Tensor, average: Average) -> Tensor:
    """``(N, M, K)`` logits -> ``(N, K)`` scores: mean of the softmax, or mean of the logits, over views."""
    return (logits.softmax(dim=-1) if average == "probability" else logits).mean(dim=1)


def gather_predictions(share: Predictions, world: World) -> Predictions | None:
    """All workers' predictions in manifest order on rank 0; None elsewhere."""
    parts = world.gather(share)
    return _joined(parts) if world.is_first else None


def score_predictions(
    predictions: Predictions, *, average: Average, paths: list[str], max_bad_fraction: float, seconds: float = 0.0
) -> Evaluation:
    """Metrics over the videos that were read.

    Args:
        predictions: of a whole split.
        average: how its scores were averaged.
        paths: of the manifest's rows, to name the bad ones.
        max_bad_fraction: share of unreadable videos that is tolerated.
        seconds: what to report as the time it took.

    Raises:
        DataError: more videos than that could not be read, or none could.
    """
    bad = tuple(
        BadVideo(video_id, paths[position], error)
        for video_id, position, error in zip(
            predictions.video_ids, predictions.positions.tolist(), predictions.errors, strict=True
        )
        if error
    )
    check_bad_videos(bad, len(predictions.errors), max_bad_fraction)
    good = predictions.good
    scores, labels = predictions.scores[good], predictions.labels[good]
    if len(labels) == 0:
        raise DataError(f"evaluation: none of the {len(good)} videos could be read; the first: {bad[0].error}")
    metrics = classification_metrics(scores, labels) | {"loss": _mean_loss(scores, labels, average)}
    confusion = confusion_matrix(scores.argsort(axis=1)[:, -1], labels, scores.shape[1])
    return Evaluation(metrics, confusion, int(good.sum()), bad, seconds)


def check_bad_videos(bad: Iterable[BadVideo], num_videos: int, max_bad_fraction: float) -> None:
    """Raises DataError where the share of bad videos is above the limit."""
    bad = tuple(bad)
    if bad and len(bad) > max_bad_fraction * num_videos:
        raise DataError(
            f"{len(bad)} of {num_videos} videos could not be read, more than data.max_bad_fraction "
            f"({max_bad_fraction:g}) allows; the first: {bad[0].error}"
        )


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    world: World,
    *,
    average: Average,
    paths: list[str],
    max_bad_fraction: float,
) -> Evaluation | None:
    """Score a split with all workers; the result is on rank 0, None elsewhere."""
    started = time.perf_counter()
    model.eval()
    predictions = gather_predictions(predict(model, batches, average=average, world=world), world)
    if predictions is None:
        return None
    return score_predictions(
        predictions,
        average=average,
        paths=paths,
        max_bad_fraction=max_bad_fraction,
        seconds=time.perf_counter() - started,
    )


def temporal_probe(model: nn.Module, batches: Iterable[Batch], world: World, *, average: Average) -> dict[str, float]:
    """Accuracy with the frames of each clip ordered, reversed, shuffled, and all equal to the middle one.

    A recognizer that keeps its accuracy when frames are shuffled, or needs only one, has not learned motion.
    """
    model.eval()
    correct = dict.fromkeys(("ordered", "reversed", "shuffled", "single_frame"), 0)
    num_videos = 0
    with torch.inference_mode():
        for batch in batches:
            clips = batch.clips.to(world.device).permute(0, 1, 5, 2, 3, 4)
            labels, good = batch.labels.numpy(), np.array([not error for error in batch.errors])
            num_videos += int(good.sum())
            for name in correct:
                scores = average_views(model(_rearranged(clips, name, batch.positions)).float(), average)
                correct[name] += int(((scores.argmax(1).cpu().numpy() == labels) & good).sum())
    counts = world.sum(torch.tensor([num_videos, *correct.values()], dtype=torch.float64, device=world.device))
    return {name: count / max(1.0, counts[0].item()) for name, count in zip(correct, counts[1:].tolist(), strict=True)}


def _rearranged(clips: Tensor, arrangement: str, positions: NDArray[np.int64]) -> Tensor:
    """``(N, M, C, T, H, W)`` with another order of frames; a shuffle depends on the video's position alone."""
    num_frames = clips.shape[3]
    if arrangement == "reversed":
        return clips.flip(3)
    if arrangement == "single_frame":
        return clips[:, :, :, num_frames // 2 : num_frames // 2 + 1].expand_as(clips)
    if arrangement == "shuffled":
        orders = [np.random.default_rng([PROBE_SEED, position]).permutation(num_frames) for position in positions]
        return torch.stack([clip[:, :, torch.from_numpy(order)] for clip, order in zip(clips, orders, strict=True)])
    return clips


def _mean_loss(scores: NDArray[np.float32], labels: NDArray[np.int64], average: Average) -> float:
    """Mean negative log-probability of the true class, in float64 so that the order of workers cannot show."""
    wide = scores.astype(np.float64)
    if average == "score":
        wide = np.exp(wide - wide.max(axis=1, keepdims=True))
        wide /= wide.sum(axis=1, keepdims=True)
    chosen = wide[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean())


def _joined(parts: list[Predictions]) -> Predictions:
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
