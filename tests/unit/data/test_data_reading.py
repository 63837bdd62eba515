import pickle
from pathlib import Path

import numpy as np
import pytest

from kinoray.data.reading import ClipReader
from kinoray.data.rows import ClipRow
from kinoray.data.views import EvalView, TrainView
from kinoray.video.sampling import ClipSampling

SAMPLING = ClipSampling(clip_len=4, frame_interval=2, num_clips=2)
TRAIN = TrainView(sampling=SAMPLING, crop=16, flip=0.5, scale=(1, 1), ratio=(4 / 3, 4 / 3))
EVAL = EvalView(sampling=SAMPLING, crop=24, num_crops=3)


def plan_row(path, **fields):
    return {
        "video_id": "v7", "path": str(path), "label": 0, "start_seconds": None, "end_seconds": None,
        "position": 11, "clip_seed": 5,
    } | fields  # fmt: skip


def test_a_row_becomes_the_clip_of_its_view(video, indices_of):
    read = ClipReader(EVAL)(plan_row(video, label=2))
    assert read.keys() == ClipRow.__annotations__.keys()
    assert (read["video_id"], read["position"], read["label"], read["error"]) == ("v7", 11, 2, "")
    assert read["clip"].shape == EVAL.clip_shape() == (6, 4, 24, 24, 3)
    assert indices_of(read["clip"])[::3].tolist() == [[0, 2, 4, 6], [33, 35, 37, 39]]
    assert read["decode_seconds"] > 0


def test_a_mirrored_clip_has_the_mirrored_label(video, brighter_side):
    reader = ClipReader(TRAIN, flip_labels=(1, 0, 2))
    seen = set()
    for seed in range(20):
        for label in (0, 1, 2, -1):
            read = reader(plan_row(video, clip_seed=seed, label=label))
            is_mirrored = brighter_side(read["clip"]) == "right"
            assert read["label"] == ({0: 1, 1: 0}.get(label, label) if is_mirrored else label)
            seen.add(is_mirrored)
    assert seen == {True, False}


def test_without_flip_labels_a_mirror_changes_none(video):
    reader = ClipReader(TRAIN)
    assert {reader(plan_row(video, clip_seed=seed, label=1))["label"] for seed in range(10)} == {1}


def test_the_seed_of_the_row_decides(video):
    reader = ClipReader(TRAIN)
    first, again, other = (reader(plan_row(video, clip_seed=seed))["clip"] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_only_the_segment_is_read(video, indices_of):
    read = ClipReader(EVAL)(plan_row(video, start_seconds=0.4, end_seconds=0.8))
    assert indices_of(read["clip"])[::3].tolist() == [[10, 12, 14, 16], [13, 15, 17, 19]]


@pytest.mark.parametrize("view", [TRAIN, EVAL])
@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut", "folder", "late_segment"])
def test_a_bad_video_is_a_row_with_its_error(video, tmp_path, view, damage):
    path, segment = tmp_path / "bad.mp4", {}
    if damage == "folder":
        path.mkdir()
    elif damage == "late_segment":
        path, segment = video, {"start_seconds": 60.0, "end_seconds": 61.0}
    elif damage != "missing":
        content = Path(video).read_bytes()
        path.write_bytes({"empty": b"", "text": b"no video at all\n", "cut": content[: len(content) // 2]}[damage])
    read = ClipReader(view, flip_labels=(1, 0))(plan_row(path, label=1, **segment))
    assert read["error"].startswith(f"{path}: ")
    assert "\n" not in read["error"]
    assert read["clip"].shape == view.clip_shape()
    assert read["clip"].dtype == np.uint8
    assert not read["clip"].any()
    assert (read["video_id"], read["position"], read["label"]) == ("v7", 11, 1)


def test_a_reader_travels_to_another_process(video):
    reader = ClipReader(TRAIN, flip_labels=(1, 0))
    again = pickle.loads(pickle.dumps(reader))
    assert again == reader
    np.testing.assert_array_equal(again(plan_row(video))["clip"], reader(plan_row(video))["clip"])
