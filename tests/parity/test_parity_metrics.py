"""Classification metrics against a running MMAction2; see shared/golden/README.md, section 7."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kinoray.losses import BinaryCrossEntropyConfig, CrossEntropyConfig
from kinoray.metrics import (
    classification_metrics,
    confusion_matrix,
    mean_average_precision,
    mean_average_precision_of_videos,
    mean_class_accuracy,
    multi_label_metrics,
    ranked,
    top_k_accuracy,
)

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "metrics.json"

pytestmark = pytest.mark.skipif(not GOLDEN.is_file(), reason="no ../shared/golden/metrics.json beside the repository")


def golden(name: str) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads(GOLDEN.read_text())[name]
    return expected


def scored() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.RandomState(0)
    scores = rng.standard_normal((500, 20))
    labels = rng.randint(0, 20, 500)
    scores[np.arange(500), labels] += 1
    return scores, labels


def mean_class(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return mean_class_accuracy(confusion_matrix(ranked(scores)[:, -1], labels, scores.shape[1]))


def test_classification() -> None:
    expected = golden("cls")
    scores, labels = scored()
    assert {k: top_k_accuracy(scores, labels, int(k)) for k in expected["top_k_accuracy"]} == expected["top_k_accuracy"]
    assert mean_class(scores, labels) == expected["mean_class_accuracy"]
    counts = confusion_matrix(ranked(scores)[:, -1], labels, 20)
    assert counts.tolist() == expected["confusion"]["none"]
    assert classification_metrics(scores, labels) == {
        "top1": expected["top_k_accuracy"]["1"],
        "top5": expected["top_k_accuracy"]["5"],
        "mean_class_accuracy": expected["mean_class_accuracy"],
    }


def test_ties() -> None:
    expected = golden("cls_ties")
    scores, labels = np.zeros((6, 4)), np.array([0, 1, 2, 3, 0, 3])
    assert {k: top_k_accuracy(scores, labels, int(k)) for k in expected["top_k_accuracy"]} == expected["top_k_accuracy"]
    assert mean_class(scores, labels) == expected["mean_class_accuracy"]


def test_a_class_that_is_predicted_but_never_true() -> None:
    scores, labels = scored()
    labels[labels == 7] = 8
    assert mean_class(scores, labels) == golden("cls_absent_class")["mean_class_accuracy"]


def test_cross_entropy() -> None:
    rng = np.random.RandomState(5)
    logits = torch.from_numpy(rng.standard_normal((8, 5)).astype(np.float32))
    labels = torch.from_numpy(rng.randint(0, 5, 8))
    loss = CrossEntropyConfig().per_sample(logits, labels).mean().item()
    assert loss == pytest.approx(golden("losses")["ce_hard"], rel=1e-6)


def multilabel() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.RandomState(1)
    scores = rng.random_sample((200, 12))
    targets = rng.random_sample((200, 12)) < 0.2
    return scores + 0.3 * targets, targets


def test_several_labels() -> None:
    scores, targets = multilabel()
    expected = golden("multilabel")["mean_average_precision"]
    assert mean_average_precision(scores, targets) == pytest.approx(expected, abs=1e-12)


def test_several_labels_and_at_least_one() -> None:
    scores, targets = multilabel()
    targets[np.arange(200), np.arange(200) % 12] = True
    expected = golden("multilabel_no_empty_row")
    assert mean_average_precision(scores, targets) == pytest.approx(expected["mean_average_precision"], abs=1e-12)
    of_videos = mean_average_precision_of_videos(scores, targets)
    assert of_videos == pytest.approx(expected["mmit_mean_average_precision"], abs=1e-12)
    measured = multi_label_metrics(scores, targets)
    assert measured["mmit_mean_average_precision"] == of_videos
    assert measured["mean_average_precision"] == mean_average_precision(scores, targets)


def test_losses() -> None:
    expected = golden("losses")
    rng = np.random.RandomState(5)
    scores = torch.from_numpy(rng.standard_normal((8, 5)).astype(np.float32))
    hard = torch.from_numpy(rng.randint(0, 5, 8))
    soft = torch.from_numpy(rng.dirichlet(np.ones(5), 8).astype(np.float32))
    several = torch.from_numpy((rng.random_sample((8, 5)) < 0.4).astype(np.float32))
    weights = (0.5, 1.0, 2.0, 1.5, 1.0)
    plain, weighted = CrossEntropyConfig(), CrossEntropyConfig(class_weights=weights)
    assert plain.per_sample(scores, hard).mean().item() == pytest.approx(expected["ce_hard"], rel=1e-6)
    assert plain.per_sample(scores, soft).mean().item() == pytest.approx(expected["ce_soft"], rel=1e-6)
    smooth = CrossEntropyConfig(label_smoothing=0.1).per_sample(scores, hard).mean().item()
    assert smooth == pytest.approx(expected["head_label_smooth_0.1"]["loss_cls"], rel=1e-6)
    binary = BinaryCrossEntropyConfig().per_sample(scores, several).mean().item()
    assert binary == pytest.approx(expected["bce"], rel=1e-6)
    # The reference divides by the weights of the batch, ours by its videos.
    norm = torch.tensor(weights)[hard].mean().item()
    assert weighted.per_sample(scores, hard).mean().item() / norm == pytest.approx(
        expected["ce_hard_weighted"], rel=1e-6
    )
