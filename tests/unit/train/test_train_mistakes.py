import numpy as np
import pyarrow as pa
import pytest

from kinoray.data.manifest import Manifest
from kinoray.data.rows import MANIFEST_SCHEMA
from kinoray.train.mistakes import MAX_MISTAKES, worst_mistakes


def manifest_of(labels: list[int], label_sets: tuple[tuple[int, ...], ...] | None = None) -> Manifest:
    rows = [
        {"video_id": f"v{place}", "path": f"/videos/{place}.mp4", "label": label} for place, label in enumerate(labels)
    ]
    return Manifest(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), ("a", "b", "c"), "val", "listed", label_sets)


def worst(probabilities: list[list[float]], manifest: Manifest, positions: list[int] | None = None) -> list[tuple]:
    places = np.arange(len(probabilities)) if positions is None else np.array(positions)
    labels = manifest.table["label"].to_numpy()[places]
    found = worst_mistakes(np.array(probabilities), labels, places, manifest)
    return [(mistake.video_id, mistake.labels, mistake.predicted, mistake.confidence) for mistake in found]


def test_the_most_confident_mistake_comes_first() -> None:
    chances = [[0.9, 0.1, 0], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.5, 0.2, 0.3], [0.2, 0.1, 0.7]]
    manifest = manifest_of([0, 1, 1, 2, 0])
    assert worst(chances, manifest) == [
        ("v2", (1,), 2, 0.7),
        ("v4", (0,), 2, 0.7),
        ("v1", (1,), 0, 0.6),
        ("v3", (2,), 0, 0.5),
    ]
    first, *_ = worst_mistakes(np.array(chances), np.array([0, 1, 1, 2, 0]), np.arange(5), manifest)
    assert (first.position, first.path, first.label_confidence) == (2, "/videos/2.mp4", 0.2)


def test_positions_name_the_rows_where_bad_videos_are_left_out() -> None:
    manifest = manifest_of([0, 0, 1, 1])
    assert worst([[0.1, 0.9, 0], [0.8, 0.2, 0]], manifest, [1, 3]) == [("v1", (0,), 1, 0.9), ("v3", (1,), 0, 0.8)]


def test_no_more_are_named_than_anybody_looks_at() -> None:
    chances = np.linspace(0.5, 0.9, 50)
    found = worst([[1 - chance, chance, 0] for chance in chances], manifest_of([0] * 50))
    assert [video for video, *_ in found] == [f"v{place}" for place in range(49, 49 - MAX_MISTAKES, -1)]


def test_of_several_labels_any_is_right_and_without_labels_none() -> None:
    manifest = manifest_of([0, 1, 2], ((0, 2), (0, 1), ()))
    found = worst_mistakes(
        np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.8], [0.2, 0.1, 0.6]]), np.array([0, 1, 2]), np.arange(3), manifest
    )
    assert [(mistake.video_id, mistake.labels, mistake.label_confidence) for mistake in found] == [
        ("v1", (0, 1), pytest.approx(0.4)),
        ("v2", (), 0.0),
    ]


def test_a_perfect_evaluation_has_none() -> None:
    assert worst([[0.9, 0.1, 0], [0, 1, 0]], manifest_of([0, 1])) == []


def test_signed_addresses_are_named_without_their_signature() -> None:
    rows = [{"video_id": "v", "path": "https://host/a.mp4?id=7&X-Amz-Signature=c4nary", "label": 0}]
    manifest = Manifest(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), ("a", "b"), "val", "listed")
    (mistake,) = worst_mistakes(np.array([[0.1, 0.9]]), np.array([0]), np.array([0]), manifest)
    assert mistake.path == "https://host/a.mp4?id=7&X-Amz-Signature=***"
