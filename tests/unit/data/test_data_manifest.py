import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from kinoray.data.manifest import check_files, load_manifest, read_classes
from kinoray.data.rows import MANIFEST_SCHEMA
from kinoray.data.sources import ManifestSource
from kinoray.errors import DataError


@pytest.fixture
def load(tmp_path):
    """Loads a CSV that is written for it."""

    def load(text, classes=None, split="train"):
        (tmp_path / "m.csv").write_text(text)
        return load_manifest(ManifestSource(path=str(tmp_path / "m.csv")), classes, split=split)

    return load


def refusal(act, *args, **options):
    with pytest.raises(DataError) as caught:
        act(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def labels(manifest):
    return manifest.table["label"].to_pylist()


def test_names_become_indices_of_sorted_classes(load):
    manifest = load("path,label\na,walk\nb,run\nc,walk\n")
    assert manifest.classes == ("run", "walk")
    assert labels(manifest) == [1, 0, 1]
    assert manifest.num_videos == 3
    assert manifest.table.schema == MANIFEST_SCHEMA
    assert manifest.table["start_seconds"].to_pylist() == [None] * 3


def test_stated_classes_keep_their_order(load):
    assert labels(load("path,label\na,walk\nb,run\n", ("walk", "sit", "run"))) == [0, 2]


def test_numbers_are_indices(load):
    manifest = load("path,label\na,10\nb,2\n")
    assert manifest.classes == tuple(map(str, range(11)))
    assert labels(manifest) == [10, 2]
    assert labels(load("path,label\na,1\nb,0\n", ("run", "walk"))) == [1, 0]


@pytest.mark.parametrize("classes", [("1", "0"), ("0", "1"), ("2", "1", "0"), ("0", "one", "1")])
def test_numbers_are_names_where_classes_are_called_so(load, classes):
    assert labels(load("path,label\na,1\nb,0\n", classes)) == [classes.index("1"), classes.index("0")]


@pytest.mark.parametrize(
    ("text", "classes", "told"),
    [
        ("path,label\na,0\nb,2\nc,7\n", ("x", "y"), "row 2 (b) has label 2, 2 such row(s) in all; labels are 0..1"),
        ("path,label\na,0\nb,-1\n", None, "row 2 (b) has label -1, 1 such row(s) in all; labels are 0..0"),
        ("path,label\na,x\nb,z\n", ("x", "y"), "row 2 (b) has label 'z', 1 such row(s) in all; the 2 classes are x, y"),
        ("path,label\na,4\n", ("3", "5"), "row 1 (a) has label 4, 1 such row(s) in all; the 2 classes are 3, 5"),
        ("path,label\na,x\nb,\n", None, "row 2 (b) has no label, 1 such row(s) in all; the 1 classes are x"),
        ("path,label\na,1\nb,\n", None, "row 2 (b) has no label, 1 such row(s) in all; labels are"),
        ("path,label\na,\nb,\n", None, "no row has a label; each row needs a class name or index"),
        ("path,label\na,\nb,\n", ("x",), "row 1 (a) has no label, 2 such row(s) in all"),
    ],
)
def test_a_label_that_is_no_class(load, text, classes, told):
    message = refusal(load, text, classes)
    assert message.startswith("train data /")
    assert told in message


def test_many_classes_are_not_all_told(load):
    names = tuple(f"class{number}" for number in range(20))
    assert refusal(load, "path,label\na,x\n", names).endswith("the 20 classes are " + ", ".join(names[:8]) + ", ...")


def test_ids(load):
    assert load("path,label,video_id\na,0,x\na,0,y\n").table["video_id"].to_pylist() == ["x", "y"]
    told = "video_id 'a' is listed 3 times (2 ids are repeated); give each row its own video_id"
    assert told in refusal(load, "path,label\na,0\nb,0\na,0\nb,0\na,0\n")
    assert "1 row(s) have no video_id; give each row its own" in refusal(load, "path,label,video_id\na,0,x\nb,0,\n")


def test_segments(load):
    manifest = load("path,label,start_seconds,end_seconds\na,0,1.5,2\na,0,2,\na,0,,1\n")
    assert manifest.table["start_seconds"].to_pylist() == [1.5, 2.0, None]
    assert manifest.table["end_seconds"].to_pylist() == [2.0, None, 1.0]


@pytest.mark.parametrize("segment", ["2,1", "2,2", "nan,1", "nan,", "1,nan", "inf,", ",0", ",-1", "-1,1", "-0.5,"])
def test_segments_of_no_length(load, segment):
    message = refusal(load, f"path,label,start_seconds,end_seconds\nok,0,0,1\na,0,{segment}\n")
    assert "row 2 (a@" in message
    assert "it should end after it starts" in message


def test_a_list_without_rows(tmp_path):
    (tmp_path / "m.csv").write_text("path,label,fold\na,0,1\n")
    source = ManifestSource(path=str(tmp_path / "m.csv"), where={"fold": [2]})
    assert refusal(load_manifest, source, None, split="val") == (
        f"val data {tmp_path}/m.csv (fold in [2]): lists no video; check its path and its where/where_not conditions"
    )


def test_labels_of_an_unfit_type(tmp_path):
    parquet.write_table(pa.table({"path": ["a"], "label": [0.5]}), tmp_path / "m.parquet")
    message = refusal(load_manifest, ManifestSource(path=str(tmp_path / "m.parquet")), None, split="train")
    assert message.endswith("labels, got double; they are class names or whole numbers")


def test_the_digest_is_of_what_is_listed(load, tmp_path):
    text = "path,label,start_seconds\na,x,\nb,y,2\n"
    manifest = load(text)
    parquet.write_table(csv.read_csv(tmp_path / "m.csv"), tmp_path / "m.parquet", row_group_size=1)
    again = load_manifest(ManifestSource(path=str(tmp_path / "m.parquet")), None, split="val")
    assert len(manifest.digest()) == 12
    assert again.digest() == manifest.digest()
    others = [text.replace("2", "3"), text.replace("b,", "c,"), "path,label,start_seconds\nb,y,2\na,x,\n"]
    assert len({load(other).digest() for other in [text, *others]}) == 4


def test_the_path_of_an_id(load, tmp_path):
    assert load("path,label,video_id\na,0,x\nb,0,y\n").path_of("y") == f"{tmp_path}/b"


def test_classes_of_a_file(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("\ufeffrun fast\n\n  sitzt  \r\n走る\n", encoding="utf-8")
    assert read_classes(str(file)) == ("run fast", "sitzt", "走る")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\n \n", "names no class; it should hold a class name a line"),
        (b"a\nb\nc\nb\nc\n", "names 'b' twice; each class has a line of its own"),
        (b"h\xe9\n", "cannot be read: it is not UTF-8 text; it should hold"),
        (None, "cannot be read: No such file or directory; it should hold"),
    ],
)
def test_unusable_class_files(tmp_path, content, told):
    file = tmp_path / "classes.txt"
    if content is not None:
        file.write_bytes(content)
    message = refusal(read_classes, str(file))
    assert message.startswith(f"data.classes: {file} ")
    assert told in message


def test_a_missing_root_is_told_before_anything_starts(load, tmp_path):
    manifest = load("path,label\n" + "".join(f"{number}.mp4,0\n" for number in range(999)))
    message = refusal(check_files, manifest, 0.01)
    assert "500 of the 500 video files looked at do not exist, the first is " in message
    assert f"{tmp_path}/0.mp4; check the source's root" in message
    check_files(manifest, 1.0)


def test_a_few_missing_files_are_let_through(load, tmp_path):
    manifest = load("path,label\n" + "".join(f"{number}.mp4,0\n" for number in range(10)))
    for number in range(9):
        (tmp_path / f"{number}.mp4").touch()
    check_files(manifest, 0.1)
    assert "1 of the 10 video files" in refusal(check_files, manifest, 0.09)


def test_objects_of_a_store_are_not_looked_at(load):
    check_files(load("path,label\ns3://bucket/a.mp4,0\n"), 0.0)


def test_a_file_of_classes_is_a_regular_one_and_has_a_path():
    assert refusal(read_classes, "/dev/zero").startswith("data.classes: /dev/zero is no regular file")
    assert "embedded null byte" in refusal(read_classes, "a\0b")


def test_a_path_that_is_too_long_is_missing(tmp_path):
    (tmp_path / "a.csv").write_text(f"path,label\n{'x' * 5_000}.mp4,0\n")
    manifest = load_manifest(ManifestSource(path=str(tmp_path / "a.csv")), None, split="train")
    assert "1 of the 1 video files looked at do not exist" in refusal(check_files, manifest, 0.0)


def test_who_named_a_list_or_its_classes_is_told(tmp_path):
    source = ManifestSource(path=str(tmp_path / "a.csv"))
    assert refusal(load_manifest, source, None, split="val").endswith("  [data.val.source]")
    (tmp_path / "a.csv").write_text("path,label\na.mp4,walk\n")
    assert refusal(load_manifest, source, ["run"], split="val", stated_in="c.txt").endswith("are run  [c.txt]")
