"""A pickle of skeletons becomes a manifest of videos that are read one by one."""

import os
import pickle
import shutil

import numpy as np
import pytest
from toy_skeletons import MOTIONS, write_figures

from kinoray.data import annotations_skeletons
from kinoray.data.annotations_skeletons import SkeletonSource
from kinoray.data.manifest import load_manifest
from kinoray.data.skeletons import read_skeletons
from kinoray.errors import DataError


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def annotation(name="a", persons=1, frames=4, **others):
    points = np.random.default_rng(0).uniform(0, 400, (persons, frames, 17, 2)).astype(np.float16)
    return {"frame_dir": name, "label": 1, "keypoint": points, **others}


@pytest.fixture
def source(tmp_path):
    def make(held, **settings):
        path = tmp_path / "held.pkl"
        path.write_bytes(held if isinstance(held, bytes) else pickle.dumps(held))
        return SkeletonSource(path=str(path), **settings)

    return make


def only_video(source):
    (path,) = source.read()["path"].to_pylist()
    return read_skeletons(path, "a")


def test_a_split_is_a_manifest(tmp_path):
    path = tmp_path / "figures.pkl"
    write_figures(path, train_per_motion=3, val_per_motion=1)
    source = SkeletonSource(path=str(path), split="val")
    assert source.describe() == f"{path} val"

    manifest = load_manifest(source, MOTIONS, split="val")
    assert manifest.table["video_id"].to_pylist() == ["val0", "val1", "val2", "val3"]
    assert manifest.table["label"].to_pylist() == [0, 1, 2, 3]
    assert SkeletonSource(path=str(path)).read().num_rows == 16

    written = {one["frame_dir"]: one for one in pickle.loads(path.read_bytes())["annotations"]}["val2"]
    read = read_skeletons(manifest.table["path"][2].as_py(), "a")
    np.testing.assert_array_equal(read.points, written["keypoint"])
    assert (read.height, read.width) == (480, 640)


def test_a_pickle_is_unpacked_once_and_again_when_it_changes(source, monkeypatch):
    reads = []
    real = annotations_skeletons.read_pickle
    monkeypatch.setattr(annotations_skeletons, "read_pickle", lambda *of: reads.append(of) or real(*of))
    first = source([annotation("a")])
    assert first.read()["video_id"].to_pylist() == ["a"]
    assert first.read()["video_id"].to_pylist() == ["a"]
    assert len(reads) == 1
    assert source([annotation("b"), annotation("c")]).read()["video_id"].to_pylist() == ["b", "c"]
    assert len(reads) == 2


def test_splits_are_named_with_a_suggestion(source):
    held = {"split": {"xsub_train": ["a"], "xsub_val": ["b"]}, "annotations": [annotation("a"), annotation("b")]}
    with pytest.raises(
        DataError, match=r"no split 'xsub_vall' \(did you mean 'xsub_val'\?\); it has xsub_train, xsub_"
    ):
        source(held, split="xsub_vall").read()
    with pytest.raises(DataError, match=r"no split 'train'; it has none"):
        source([annotation()], split="train").read()


def test_labels_may_be_several(source):
    held = [annotation("a", label=[0, 2]), annotation("b", label=1)]
    assert source(held).read()["label"].to_pylist() == [[0, 2], [1]]


def test_what_is_not_told(source):
    read = only_video(source([annotation()]))
    assert (read.height, read.width) == (1080, 1920)
    assert (read.scores == 1).all()


def test_joints_of_each_video_in_a_pickle_of_its_own(source, tmp_path):
    """As Kinetics comes: boxes in any number a frame, and frames without any."""
    folder = tmp_path / "joints"
    folder.mkdir()
    boxes = np.random.default_rng(0).uniform(0, 1, (4, 17, 3)).astype(np.float16)
    with_joints = {"keypoint": boxes, "frame_inds": np.array([2, 2, 3, 7])}
    (folder / "a.pkl").write_bytes(pickle.dumps(with_joints))
    held = [{"frame_dir": "a", "label": 1, "img_shape": (10, 20)}]

    read = only_video(source(held, root=str(folder)))
    assert read.points.shape == (2, 3, 17, 2)
    np.testing.assert_array_equal(read.points[0], boxes[[0, 2, 3], :, :2])
    np.testing.assert_array_equal(read.scores[1, 0], boxes[1, :, 2])
    assert not read.points[1, 1:].any()

    with pytest.raises(DataError, match=r"b\.pkl: cannot be read: No such file"):
        source([{"frame_dir": "b", "label": 1}], root=str(folder)).read()


def test_of_a_crowd_the_surest_are_kept(source):
    boxes = np.random.default_rng(0).uniform(0, 1, (12, 17, 3)).astype(np.float16)
    boxes[:, :, 2] = np.linspace(0, 1, 12, dtype=np.float16)[:, None]
    held = [{"frame_dir": "a", "label": 1, "keypoint": boxes, "frame_inds": np.zeros(12, int)}]
    read = only_video(source(held))
    assert read.points.shape == (10, 1, 17, 2)
    np.testing.assert_array_equal(read.points[:, 0], boxes[:1:-1, :, :2])


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (b"no pickle", "no pickle of arrays and plain containers"),
        ({"split": {}}, "no skeletons; it should hold 'split' and 'annotations'"),
        ([], "no skeletons"),
        ({"split": [], "annotations": []}, "no skeletons"),
        (7, "no skeletons"),
        ([annotation(), {"frame_dir": "b", "label": 0}], "annotation 2 is not of a skeleton (no 'keypoint')"),
        ([{"label": 0}], "annotation 1 is not of a skeleton (no 'frame_dir')"),
        ([annotation(label="wave")], "annotation 1 is not of a skeleton (invalid literal"),
        ([annotation(keypoint=np.zeros((4, 17, 2)))], "(keypoint is float64 of the shape (4, 17, 2))"),
        ([annotation(keypoint=np.array([[[["x"]]]]))], "(keypoint is <U1"),
        ([7], "annotation 1 is not of a skeleton"),
    ],
)
def test_what_is_no_pickle_of_skeletons(held, told, source, tmp_path):
    with pytest.raises(DataError) as raised:
        source(held).read()
    assert str(raised.value).startswith(f"{tmp_path / 'held.pkl'}: ")
    assert told in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["held.pkl"]


def test_a_malicious_pickle_is_refused_and_was_not_run(source, tmp_path):
    evidence = tmp_path / "evidence"
    with pytest.raises(DataError, match="would run code"):
        source([annotation(keypoint=Attack(evidence))]).read()
    (tmp_path / "joints").mkdir()
    (tmp_path / "joints/a.pkl").write_bytes(pickle.dumps({"keypoint": Attack(evidence)}))
    with pytest.raises(DataError, match=r"a\.pkl: no pickle of arrays .*would run code"):
        source([{"frame_dir": "a", "label": 0}], root=str(tmp_path / "joints")).read()
    assert not evidence.exists()


def test_a_missing_pickle(tmp_path):
    with pytest.raises(DataError, match=r"none\.pkl: cannot be read: No such file or directory; it should be a pickle"):
        SkeletonSource(path=str(tmp_path / "none.pkl")).read()


def test_a_folder_that_nothing_can_be_written_to(source, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(annotations_skeletons.tempfile, "mkdtemp", full)
    with pytest.raises(
        DataError, match=r"held\.pkl\.unpacked: cannot be written: No space left on device; what a pickle"
    ):
        source([annotation()]).read()


def test_what_is_unpacked_may_be_removed(source, tmp_path):
    pickled = source([annotation()])
    pickled.read()
    shutil.rmtree(tmp_path / "held.pkl.unpacked")
    assert only_video(pickled).num_frames == 4
