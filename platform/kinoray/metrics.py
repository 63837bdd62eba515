"""Classification metrics on numpy arrays, as MMAction2 counts them."""

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Labels = NDArray[np.int64]


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
    """``top1``, ``top5`` (where there are more than five classes) and ``mean_class_accuracy`` of ``(N, K)`` scores."""
    num_classes = scores.shape[1]
    predictions = ranked(scores)[:, -1]
    metrics = {"top1": float((predictions == labels).mean())}
    if num_classes > 5:
        metrics["top5"] = top_k_accuracy(scores, labels, 5)
    metrics["mean_class_accuracy"] = mean_class_accuracy(confusion_matrix(predictions, labels, num_classes))
    return metrics
