"""Exact evaluation: every readable video once, whatever the number of workers."""

import time
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kinoray.data.labels import LabelSets
from kinoray.data.manifest import Manifest
from kinoray.metrics import ranked
from kinoray.recipe import Average, Recipe
from kinoray.train.batch import Batch
from kinoray.train.events import Evaluation
from kinoray.train.predictions import Predictions, gather_predictions, joined, score_predictions
from kinoray.train.world import World

PROBE_SEED = 20_260


def predict(
    model: nn.Module, batches: Iterable[Batch], *, average: Average, world: World, multi_label: bool = False
) -> Predictions:
    """Score one worker's share of the videos. ``model`` is not wrapped for DDP and is in eval mode."""
    parts = []
    with torch.inference_mode():
        for batch in batches:
            clips = batch.all_clips_on(world.device)
            scores = average_views(model(clips).float(), average, multi_label=multi_label).cpu().numpy()
            scores[[bool(error) for error in batch.errors]] = 0
            parts.append(Predictions(batch.positions, batch.video_ids, batch.labels.numpy(), scores, batch.errors))
    return joined(parts)


def average_views(logits: Tensor, average: Average, *, multi_label: bool = False) -> Tensor:
    """``(N, M, K)`` logits -> ``(N, K)`` scores, means over views of probabilities or of the logits themselves.

    Probabilities are the softmax; of videos that may have several labels, the sigmoid.
    """
    if average == "probability":
        logits = logits.sigmoid() if multi_label else logits.softmax(dim=-1)
    return logits.mean(dim=1)


def evaluate(
    model: nn.Module, batches: Iterable[Batch], world: World, *, recipe: Recipe, manifest: Manifest
) -> Evaluation | None:
    """Score a split with all workers; the result is on rank 0, None elsewhere."""
    started = time.perf_counter()
    model.eval()
    average, multi_label = recipe.evaluation.average, recipe.data.multi_label
    share = predict(model, batches, average=average, world=world, multi_label=multi_label)
    predictions = gather_predictions(share, world)
    if predictions is None:
        return None
    return score_predictions(predictions, recipe, manifest, seconds=time.perf_counter() - started)


def temporal_probe(
    model: nn.Module,
    batches: Iterable[Batch],
    world: World,
    *,
    average: Average,
    label_sets: LabelSets | None = None,
) -> dict[str, float]:
    """Accuracy with the frames of each clip ordered, reversed, shuffled, and all equal to the middle one.

    A recognizer that keeps its accuracy when frames are shuffled, or needs only one, has not learned motion. Where the
    manifest has label sets, a video is right when its best class is among its labels; one without any does not count.
    """
    model.eval()
    correct = dict.fromkeys(("ordered", "reversed", "shuffled", "single_frame"), 0)
    num_videos = 0
    with torch.inference_mode():
        for batch in batches:
            clips = batch.all_clips_on(world.device)
            labels = batch.labels.tolist()
            has_label = [not label_sets or bool(label_sets[label]) for label in labels]
            good = np.array([not error for error in batch.errors]) & has_label
            num_videos += int(good.sum())
            for name in correct:
                logits = model(_rearranged(clips, name, batch.positions)).float()
                scores = average_views(logits, average, multi_label=label_sets is not None)
                pairs = zip(ranked(scores.cpu().numpy())[:, -1].tolist(), labels, strict=True)
                is_right = [best in label_sets[label] if label_sets else best == label for best, label in pairs]
                correct[name] += int((np.array(is_right) & good).sum())
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
