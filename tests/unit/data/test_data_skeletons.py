"""Files of skeletons."""

import io
import os

import numpy as np
import pytest

from kinoray.data.shards import write_shard
from kinoray.data.skeletons import pack_skeletons, read_skeletons
from kinoray.errors import DecodeError


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(0, 400, (2, 6, 17, 2)).astype(np.float16)


@pytest.fixture
def write(tmp_path):
    def to_file(content):
        path = tmp_path / "a.npz"
        path.write_bytes(content)
        return str(path)

    return to_file


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_what_is_packed_is_read(points, write):
    scores = np.full((2, 6, 17), 0.5, np.float16)
    read = read_skeletons(write(pack_skeletons(points, scores, (480, 640))), "a", 25.0)
    assert read.points.dtype == read.scores.dtype == np.float32
    np.testing.assert_array_equal(read.points, points)
    np.testing.assert_array_equal(read.scores, scores)
    assert (read.height, read.width, read.fps, read.num_frames) == (480, 640, 25.0, 6)
    np.testing.assert_allclose(read.pts_seconds, np.arange(6) / 25)


def test_joints_without_scores_are_sure(points, write):
    read = read_skeletons(write(pack_skeletons(points, None, (480, 640))), "a")
    assert read.scores.shape == (2, 6, 17)
    assert (read.scores == 1).all()
    assert read.fps == 30


def test_skeletons_in_a_shard(points, tmp_path):
    path = tmp_path / "s.parquet"
    with path.open("wb") as file:
        places = write_shard(file, [("a", pack_skeletons(points, None, (1, 2))), ("b", b"")])
    np.testing.assert_array_equal(read_skeletons(f"{path}{places[0]}", "a").points, points)
    with pytest.raises(DecodeError, match="b: no file of skeletons"):
        read_skeletons(f"{path}{places[1]}", "b")


def test_joints_have_to_be_those_of_the_view(points, write):
    read = read_skeletons(write(pack_skeletons(points, None, (480, 640))), "a")
    read.check(17, 2)
    with pytest.raises(DecodeError, match="a: joints, got 17 of 2 coordinates; the view's 'joints' has 25 of 3"):
        read.check(25, 3)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no archive", ""),
        (npz(keypoint=np.zeros((1, 2, 3, 2)))[:-30], ""),
        (npz(img_shape=(4, 5)), "keypoint"),
        (npz(keypoint=np.zeros((1, 2, 3, 2))), "img_shape"),
        (npz(keypoint=np.zeros((2, 3, 2)), img_shape=(4, 5)), "keypoint has the shape 2x3x2"),
        (npz(keypoint=np.zeros((1, 0, 3, 2)), img_shape=(4, 5)), "keypoint has the shape 1x0x3x2"),
        (
            npz(keypoint=np.zeros((1, 2, 3, 2)), keypoint_score=np.zeros((1, 2)), img_shape=(4, 5)),
            "keypoint_score has the shape 1x2",
        ),
        (npz(keypoint=np.zeros((1, 2, 3, 2)), img_shape=(4, 5, 3)), "too many values"),
        (npz(keypoint=np.array([["nose"]]), img_shape=(4, 5)), "could not convert"),
    ],
)
def test_what_is_no_skeletons(content, told, write):
    with pytest.raises(DecodeError, match=rf"^a: no file of skeletons \(.*{told}.*it should be an \.npz") as raised:
        read_skeletons(write(content), "a")
    assert raised.value.reason == "unreadable"


def test_a_pickle_inside_is_not_run(tmp_path, write):
    evidence = tmp_path / "evidence"
    content = npz(keypoint=np.array([Attack(evidence)], dtype=object), img_shape=(4, 5))
    with pytest.raises(DecodeError, match="no file of skeletons"):
        read_skeletons(write(content), "a")
    assert not evidence.exists()
