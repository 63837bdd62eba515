import numpy as np
import pytest

from kinoray.metrics import (
    accuracy_interval,
    average_precision,
    average_precisions,
    calibration_error,
    class_accuracies,
    classification_metrics,
    confusion_matrix,
    mean_average_precision,
    mean_average_precision_of_videos,
    mean_class_accuracy,
    merit,
    multi_label_metrics,
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


def test_a_class_without_videos_has_no_accuracy():
    accuracies = class_accuracies(np.array([[3, 1, 0], [0, 0, 0], [1, 0, 1]]))
    np.testing.assert_array_equal(accuracies, [0.75, np.nan, 0.5])


def test_average_precision_by_hand():
    targets = np.array([True, False, True, False])
    assert average_precision(np.array([0.9, 0.8, 0.7, 0.1]), targets) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([0.5, 0.5, 0.5, 0.5]), targets) == 0.5
    assert np.isnan(average_precision(np.ones(2), np.zeros(2, bool)))


def test_mean_average_precision_leaves_out_what_has_no_positives():
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.4]])
    targets = np.array([[True, False, False], [True, True, False]])
    assert mean_average_precision(scores, targets) == 1.0
    videos = mean_average_precision_of_videos(scores, targets)
    assert videos == pytest.approx((1 + (1 + 2 / 3) / 2) / 2)


def test_metrics_of_several_labels():
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.4, 0.8], [0.6, 0.5, 0.1]])
    targets = np.array([[True, True, False], [True, True, False], [False, False, False]])
    metrics = multi_label_metrics(scores, targets)
    assert metrics["top1"] == 0.5
    first, second = average_precisions(scores, targets)[:2]
    assert (first, second) == (pytest.approx((1 + 2 / 3) / 2), pytest.approx((1 / 2 + 2 / 3) / 2))
    assert metrics["mean_average_precision"] == pytest.approx((first + second) / 2)
    of_videos = [(1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2]
    assert metrics["mmit_mean_average_precision"] == pytest.approx(np.mean(of_videos))


def test_less_loss_has_more_merit():
    assert merit("loss", 0.5) > merit("loss", 0.6)
    assert merit("calibration_error", 0.0) > merit("calibration_error", 0.1)
    assert merit("top1", 0.6) > merit("top1", 0.5)
    assert merit("loss", float("nan")) == merit("top1", float("nan")) < merit("loss", 1e30)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    probabilities = np.array([[0.8, 0.2]] * 10 + [[0.4, 0.6]] * 10)
    labels = np.array([0] * 7 + [1] * 3 + [1] * 9 + [0])
    assert calibration_error(probabilities, labels) == pytest.approx((0.1 + 0.3) / 2)
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0


def test_the_interval_is_that_of_a_share():
    is_right = np.arange(400) < 300
    low, high = accuracy_interval(is_right)
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.01)
    assert accuracy_interval(is_right) == (low, high)


def test_whole_sources_are_drawn():
    """Twenty sources of twenty videos each, all right or all wrong, tell no more than twenty videos do."""
    sources = np.repeat(np.arange(20), 20)
    low, high = accuracy_interval(sources < 15, groups=sources)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 20), abs=0.05)
