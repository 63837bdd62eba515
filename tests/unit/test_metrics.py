import numpy as np
import pytest

from kinoray.metrics import (
    classification_metrics,
    confusion_matrix,
    mean_class_accuracy,
    ranked,
    top_k_accuracy,
)

SCORES = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5], [0.4, 0.35, 0.25]])
LABELS = np.array([1, 2, 2, 2])


@pytest.mark.parametrize(("k", "expected"), [(1, 0.5), (2, 0.75), (3, 1.0), (5, 1.0)])
def test_top_k(k, expected):
    assert top_k_accuracy(SCORES, LABELS, k) == expected


def test_of_equal_scores_the_later_class_ranks_higher():
    """Also among many classes, where numpy's default sort is not stable."""
    scores = np.random.default_rng(0).integers(3, size=(20, 400)).astype(np.float32)
    for row, order in zip(scores, ranked(scores), strict=True):
        assert order.tolist() == sorted(range(400), key=lambda index, row=row: (row[index], index))
    last_best = np.array([max(np.flatnonzero(row == 2)) for row in scores])
    assert top_k_accuracy(scores, last_best, 1) == 1


def test_rows_of_the_confusion_matrix_are_true_classes():
    counts = confusion_matrix(np.array([1, 0, 2, 0]), LABELS, 4)
    assert counts.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [2, 0, 1, 0], [0, 0, 0, 0]]
    assert counts.dtype == np.int64


def test_mean_class_accuracy_counts_what_is_predicted_but_never_true():
    assert mean_class_accuracy(np.array([[2, 0, 0], [0, 0, 0], [0, 0, 3]])) == 1.0
    assert mean_class_accuracy(np.array([[1, 1, 0], [0, 0, 0], [0, 0, 3]])) == pytest.approx((0.5 + 0 + 1) / 3)


def test_all_metrics_of_a_split():
    assert classification_metrics(SCORES, LABELS) == {
        "top1": 0.5,
        "mean_class_accuracy": pytest.approx((0 + 1 + 1 / 3) / 3),
    }
    six = np.eye(6)[[0, 1, 2]]
    assert classification_metrics(six, np.array([0, 1, 5])) == {
        "top1": pytest.approx(2 / 3),
        "top5": 1.0,
        "mean_class_accuracy": pytest.approx((1 + 1 + 0 + 0) / 4),
    }
