"""Several lists as one, and the one that is missing."""

import pytest

from kinoray.data.manifest import load_manifest
from kinoray.data.sources import SOURCES
from kinoray.errors import DataError


def joined(*paths, kind="video_list"):
    return SOURCES.validate({"kind": "joined", "sources": [{"kind": kind, "path": str(p), "root": "v"} for p in paths]})


@pytest.fixture
def lists(tmp_path):
    (tmp_path / "a.txt").write_text("a.mp4 0\nb.mp4 2\n")
    (tmp_path / "b.txt").write_text("c.mp4 1\n")
    (tmp_path / "names.txt").write_text("d.mp4 run\n")
    return tmp_path


def test_lists_follow_one_another(lists):
    source = joined(lists / "a.txt", lists / "b.txt")
    table = source.read()
    assert table["path"].to_pylist() == ["v/a.mp4", "v/b.mp4", "v/c.mp4"]
    assert table["label"].to_pylist() == [0, 2, 1]
    assert source.describe() == f"{lists / 'a.txt'} + {lists / 'b.txt'}"
    manifest = load_manifest(source, ("x", "y", "z"), split="train", multi_label=False)
    assert manifest.num_videos == 3


def test_columns_that_one_of_them_lacks_are_empty_there(lists):
    (lists / "m.csv").write_text("path,label,start_seconds,end_seconds\nm.mp4,1,2.0,3.0\n")
    both = [{"kind": "video_list", "path": str(lists / "a.txt"), "root": "v"}, str(lists / "m.csv")]
    table = SOURCES.validate({"kind": "joined", "sources": both}).read()
    assert table["start_seconds"].to_pylist() == [None, None, 2.0]


def test_names_and_indices_do_not_mix(lists):
    with pytest.raises(DataError, match=r"columns differ in type, of labels .*int64.*string; write them alike"):
        joined(lists / "a.txt", lists / "names.txt").read()


def test_classes_are_those_that_are_stated(tmp_path):
    stated = {"kind": "hmdb51", "root": "v", "annotations": str(tmp_path), "split": "train"}
    other = {"kind": "video_list", "path": "a.txt", "root": "v"}
    source = SOURCES.validate({"kind": "joined", "sources": [other, stated]})
    assert len(source.class_names()) == 51
    assert joined("a.txt").class_names() is None


def test_the_missing_list_says_why():
    source = SOURCES.validate({"kind": "missing", "why": "x.py has no train_dataloader"})
    with pytest.raises(DataError, match=r"data\.train\.source: missing, as x\.py has no train_dataloader"):
        source.read()
