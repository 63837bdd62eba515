"""Classification metrics on numpy arrays, as MMAction2 counts them."""

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Labels = NDArray[np.int64]

TOP_K = 5
"""The k of top-k accuracy; measured where there are more classes."""
SMALLER_IS_BETTER = ("loss", "calibration_error")
"""Of what an evaluation measures."""


def merit(metric: str, value: float) -> float:
    """A figure that is larger the better the value of a metric is; nothing is worse than no number."""
    if np.isnan(value):
        return float("-inf")
    return -value if metric in SMALLER_IS_BETTER else value


def top_k_accuracy(scores: Scores, labels: Labels, k: int) -> float:
    """Share of videos whose label is among the k highest of their ``(N, K)`` scores.

    Of equal scores the later class ranks higher.
    """
    return float((ranked(scores)[:, -k:] == labels[:, None]).any(axis=1).mean())


def ranked(scores: Scores) -> Labels:
    """``(N, K)`` scores -> ``(N, K)`` classes, the best one last; of equal scores the later class.

    Sorting is stable: numpy's default places equals differently from one processor to the next.
    """
    return np.argsort(scores, axis=1, kind="stable")


def confusion_matrix(predictions: Labels, labels: Labels, num_classes: int) -> NDArray[np.int64]:
    """``(K, K)`` counts: row = true class, column = predicted class."""
    counts = np.bincount(labels * num_classes + predictions, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def mean_class_accuracy(confusion: NDArray[np.int64]) -> float:
    """Mean over classes of the share of their videos that is recognized.

    A class that is predicted but never true counts as 0; one that is neither does not count.
    """
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    seen = (true + predicted) > 0
    return float((np.diag(confusion)[seen] / np.maximum(true[seen], 1)).mean())


def classification_metrics(scores: Scores, labels: Labels) -> dict[str, float]:
    """``top1``, ``top5`` (where there are more classes) and ``mean_class_accuracy`` of ``(N, K)`` scores."""
    num_classes = scores.shape[1]
    predictions = ranked(scores)[:, -1]
    metrics = {"top1": float((predictions == labels).mean())}
    if num_classes > TOP_K:
        metrics["top5"] = top_k_accuracy(scores, labels, TOP_K)
    metrics["mean_class_accuracy"] = mean_class_accuracy(confusion_matrix(predictions, labels, num_classes))
    return metrics


def multi_label_metrics(scores: Scores, targets: NDArray[np.bool_]) -> dict[str, float]:
    """``top1``, ``mean_average_precision`` and ``mmit_mean_average_precision`` of videos with several labels.

    Args:
        scores: ``(N, K)``.
        targets: ``(N, K)``; top1 is the share of videos whose best class is among theirs, and leaves those without a
            label out.
    """
    is_right = targets[np.arange(len(scores)), ranked(scores)[:, -1]]
    return {
        "top1": known_mean(is_right[targets.any(axis=1)].astype(np.float64)),
        "mean_average_precision": mean_average_precision(scores, targets),
        "mmit_mean_average_precision": mean_average_precision_of_videos(scores, targets),
    }


def class_accuracies(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(K,)`` share of each class's videos that is recognized; NaN for a class without videos."""
    true = confusion.sum(axis=1)
    accuracies = np.full(len(true), np.nan)
    np.divide(np.diag(confusion), true, out=accuracies, where=true > 0)
    return accuracies


def average_precision(scores: Scores, targets: NDArray[np.bool_]) -> float:
    """Area under the curve of precision over recall, in steps; NaN where nothing is positive.

    Args:
        scores: ``(N,)``; equal ones are taken together.
        targets: ``(N,)``.
    """
    if not targets.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(targets[order])
    lasts = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    precisions, recalls = hits[lasts] / (lasts + 1), hits[lasts] / hits[-1]
    return float(np.sum(np.diff(recalls, prepend=0.0) * precisions))


def mean_average_precision(scores: Scores, targets: NDArray[np.bool_]) -> float:
    """Mean of the classes' average precisions, those without positives left out.

    Args:
        scores: ``(N, K)``.
        targets: ``(N, K)``; a video may have several classes.
    """
    return known_mean(average_precisions(scores, targets))


def known_mean(values: NDArray[np.float64]) -> float:
    """Mean of ``(N,)`` values, those that are NaN left out; NaN where none is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def average_precisions(scores: Scores, targets: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``(K,)`` average precision of each class of ``(N, K)`` scores; NaN where no video is of it."""
    return np.array([average_precision(scores[:, k], targets[:, k]) for k in range(scores.shape[1])])


def mean_average_precision_of_videos(scores: Scores, targets: NDArray[np.bool_]) -> float:
    """Mean of the videos' average precisions over classes, as Multi-Moments in Time is scored.

    Videos without a label are left out (MMAction2 gives NaN for all then). Shapes as for ``mean_average_precision``.
    """
    return mean_average_precision(scores.T, targets.T)


def calibration_error(probabilities: Scores, labels: Labels, num_bins: int = 15) -> float:
    """How far confidence lies from accuracy: the mean over bins of confidence, weighted by their videos.

    Args:
        probabilities: ``(N, K)``, rows sum to 1.
        labels: ``(N,)``.
        num_bins: of equal width.

    Source: arXiv 1706.04599.
    """
    confidence = probabilities.max(axis=1)
    is_right = ranked(probabilities)[:, -1] == labels
    # Bins are closed above, so a confidence of 1 is in the last.
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, weights=confidence - is_right, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))


def accuracy_interval(
    is_right: NDArray[np.bool_], *, groups: Labels | None = None, confidence: float = 0.95, num_draws: int = 2_000
) -> tuple[float, float]:
    """A percentile bootstrap interval of an accuracy; the same numbers give the same interval.

    Args:
        is_right: ``(N,)``, of each video.
        groups: ``(N,)`` numbers of the sources that videos were cut from; whole sources are drawn then, because videos
            of one source are right or wrong together.
        confidence: share of such intervals that hold the true accuracy.
        num_draws: of the bootstrap.

    Returns:
        Its ends; NaN where there is no video.
    """
    if len(is_right) == 0:
        return float("nan"), float("nan")
    members = np.arange(len(is_right)) if groups is None else np.unique(groups, return_inverse=True)[1]
    num_right = np.bincount(members, weights=is_right)
    num_videos = np.bincount(members)
    rng = np.random.default_rng(0)
    accuracies = np.empty(num_draws)
    for draw in range(num_draws):
        drawn = rng.integers(len(num_videos), size=len(num_videos))
        accuracies[draw] = num_right[drawn].sum() / num_videos[drawn].sum()
    low, high = np.quantile(accuracies, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
