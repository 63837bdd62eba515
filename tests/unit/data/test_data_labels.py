"""Several labels of a video, from how they are written to the sets that the pipeline counts."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from kinoray.config.layers import from_values
from kinoray.config.problems import validate
from kinoray.data.config import DataConfig
from kinoray.data.manifest import load_manifest
from kinoray.data.sources import ManifestSource
from kinoray.errors import DataError


def load_csv(folder, text, classes=None, *, multi_label=True, split="train"):
    (folder / "m.csv").write_text(text)
    source = ManifestSource(path=str(folder / "m.csv"))
    return load_manifest(source, classes, split=split, multi_label=multi_label)


def load_table(folder, labels, classes=None, *, multi_label=True):
    paths = [f"{number}.mp4" for number in range(len(labels))]
    parquet.write_table(pa.table({"path": paths, "label": labels}), folder / "m.parquet")
    source = ManifestSource(path=str(folder / "m.parquet"))
    return load_manifest(source, classes, split="train", multi_label=multi_label)


def sets_of(manifest):
    return [set(manifest.label_sets[label]) for label in manifest.table["label"].to_pylist()]


def refusal(act, *args, **options):
    with pytest.raises(DataError) as caught:
        act(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_texts_are_cut_at_semicolons(tmp_path):
    manifest = load_csv(tmp_path, "path,label\na,walk; run\nb,run\nc,run;walk\nd,sit\n")
    assert manifest.classes == ("run", "sit", "walk")
    assert manifest.label_sets == ((0, 2), (0,), (1,))
    assert manifest.table["label"].to_pylist() == [0, 1, 0, 2]


@pytest.mark.parametrize("multi_label", [False, True])
def test_numbers_of_something_else_are_no_labels(tmp_path, multi_label):
    """Seconds since 1970 would be names of two thousand million classes."""
    told = refusal(load_csv, tmp_path, "path,label\na,1\nb,1760000000\n", multi_label=multi_label)
    assert told.endswith(
        "m.csv: labels, got 1760000000; they are indices of classes from 0 on, or names of data.classes"
    )


def test_digits_are_indices(tmp_path):
    manifest = load_csv(tmp_path, "path,label\na,1;5;1\nb,2\n")
    assert manifest.classes == tuple("012345")
    assert sets_of(manifest) == [{1, 5}, {2}]
    assert sets_of(load_csv(tmp_path, "path,label\na,1\nb,0\n", ("x", "y"))) == [{1}, {0}]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([[2, 0], [], [1]]),
        pa.array([[2, 0], [], [1]], pa.large_list(pa.int32())),
        pa.array([["c", "a"], [], ["b"]]),
        pa.array([["c", "a"], [], ["b"]], pa.large_list(pa.large_string())),
        pa.array([["2", "0"], [], ["1"]]),
    ],
    ids=lambda labels: str(labels.type),
)
def test_lists_of_a_table(tmp_path, labels):
    manifest = load_table(tmp_path, labels, ("a", "b", "c"))
    assert sets_of(manifest) == [{0, 2}, set(), {1}]
    hot = manifest.targets(np.array(manifest.table["label"]))
    assert hot.astype(int).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert manifest.label_names().to_pylist() == [["a", "c"], [], ["b"]]


def test_lists_of_json_lines(tmp_path):
    rows = [{"path": "a", "label": [0, 1]}, {"path": "b", "label": [1]}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = ManifestSource(path=str(tmp_path / "m.jsonl"))
    assert sets_of(load_manifest(source, None, split="train", multi_label=True)) == [{0, 1}, {1}]


def test_single_labels_may_be_lists_of_one(tmp_path):
    manifest = load_table(tmp_path, pa.array([["b"], ["a"]]), multi_label=False)
    assert (manifest.label_sets, manifest.table["label"].to_pylist()) == (None, [1, 0])
    assert manifest.targets(np.array([1, 0])).tolist() == [[False, True], [True, False]]
    assert manifest.label_names().to_pylist() == ["a", "b"]
    told = refusal(load_table, tmp_path, pa.array([["b"], ["a", "b"]]), multi_label=False)
    assert "row 2 (1.mp4) has 2 labels (a, b); a row has one, unless the recipe says data.multi_label: true" in told
    assert "row 1 (0.mp4) has 0 labels ()" in refusal(load_table, tmp_path, pa.array([[], ["a"]]), multi_label=False)


@pytest.mark.parametrize(
    ("text", "classes", "told"),
    [
        ("path,label\na,0;1\nb,1;7\n", ("x", "y"), "row 2 (b) has label 7, 1 such row(s) in all; labels are 0..1"),
        (
            "path,label\na,x\nb,y;z\n",
            ("x", "y"),
            "row 2 (b) has label 'z', 1 such row(s) in all; the 2 classes are x, y",
        ),
        ("path,label\na,0\nb,1;\n", None, "row 2 (b) has no label, 1 such row(s) in all; labels are 0..1"),
        ("path,label\na,0;1\nb,\n", None, "row 2 (b) has no label; an empty list says that it is of no class"),
    ],
)
def test_labels_that_are_no_classes(tmp_path, text, classes, told):
    assert refusal(load_csv, tmp_path, text, classes).endswith(told)


def test_rows_without_any_label_name_no_classes(tmp_path):
    assert "no row has a label" in refusal(load_table, tmp_path, pa.array([[], []], pa.list_(pa.int64())))


def test_the_digest_is_of_the_labels_not_of_the_order_of_their_sets(tmp_path):
    text = "path,label\na,0;1\nb,1\n"
    manifest = load_csv(tmp_path, text, ("x", "y"))
    mirrored, _ = manifest.mirrored((1, 0))
    assert len(mirrored.label_sets) > len(manifest.label_sets)
    assert mirrored.digest() == manifest.digest() == load_csv(tmp_path, text, ("x", "y"), split="val").digest()
    assert load_csv(tmp_path, text.replace("0;1", "0"), ("x", "y")).digest() != manifest.digest()


def test_a_mirror_changes_sets(tmp_path):
    manifest = load_csv(tmp_path, "path,label\na,left;up\nb,up\nc,left;right\n", ("left", "right", "up"))
    mirrored, flips = manifest.mirrored((1, 0, 2))
    assert mirrored.label_sets == ((0, 2), (2,), (0, 1), (1, 2))
    assert flips == (3, 1, 2, 0)
    assert manifest.mirrored(()) == (manifest, ())


def test_a_data_set_of_several_labels(tmp_path):
    (tmp_path / "train.csv").write_text("path,label\na,left;up\nb,up\n")
    (tmp_path / "val.csv").write_text("path,label\na,up\nb,left\n")
    view = {"sampling": {"clip_len": 1}, "crop": 32}
    values = {
        "train": {**view, "source": str(tmp_path / "train.csv"), "batch_size": 1},
        "val": {**view, "source": str(tmp_path / "val.csv")},
        "classes": ["left", "right", "up"],
        "flip_labels": {"left": "right", "right": "left"},
        "multi_label": True,
        "max_bad_fraction": 1.0,
    }
    data = validate(DataConfig, from_values(values, "test"), "test").load(3)
    assert data.train.label_sets == ((0, 2), (2,), (1, 2))
    assert data.flip_labels == (2, 1, 0)
    assert sets_of(data.val) == [{2}, {0}]


def test_groups_are_kept_as_texts(tmp_path):
    manifest = load_csv(tmp_path, "path,label,group\na,0,7\nb,1,\nc,0,7\n", multi_label=False)
    assert manifest.groups().to_pylist() == ["7", None, "7"]
    assert load_csv(tmp_path, "path,label\na,0\n", multi_label=False).groups() is None
    (tmp_path / "m.csv").write_text("path,label,film\na,0,x\n")
    named = ManifestSource(path=str(tmp_path / "m.csv"), group_column="film")
    assert load_manifest(named, None, split="val").groups().to_pylist() == ["x"]
    missing = ManifestSource(path=str(tmp_path / "m.csv"), group_column="source")
    assert "has no column 'source'; its columns are path, label, film" in refusal(missing.read)
