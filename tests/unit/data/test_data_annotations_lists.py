from pathlib import Path

import pytest

from kinoray.data.annotations_lists import FrameListSource, VideoListSource
from kinoray.data.manifest import load_manifest
from kinoray.errors import DataError

LISTS = Path(__file__).resolve().parents[3].parent / "shared/assets/annotations/mmaction2_tests/annotations"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(source):
    with pytest.raises(DataError) as caught:
        source.read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_list_of_videos(tmp_path):
    path = write(tmp_path / "train.txt", "a/b.mp4 0\n\nc d/e f.mp4   12\r\n/abs/g.mp4\t3\n")
    assert VideoListSource(path=path, root="videos").read().to_pydict() == {
        "video_id": ["a/b.mp4", "c d/e f.mp4", "/abs/g.mp4"],
        "path": ["videos/a/b.mp4", "videos/c d/e f.mp4", "/abs/g.mp4"],
        "label": [0, 12, 3],
    }


def test_labels_may_be_names(tmp_path):
    path = write(tmp_path / "train.txt", "a.mp4, brush hair\nb.mp4,walk\n")
    source = VideoListSource(path=path, root="s3://bucket", delimiter=",")
    assert source.read()["label"].to_pylist() == ["brush hair", "walk"]
    manifest = load_manifest(source, ("walk", "brush hair"), split="train")
    assert manifest.table["label"].to_pylist() == [1, 0]
    assert manifest.table["path"].to_pylist() == ["s3://bucket/a.mp4", "s3://bucket/b.mp4"]


def test_a_list_may_lie_behind_a_uri(tmp_path):
    write(tmp_path / "train.txt", "a.mp4 1\n")
    source = VideoListSource(path=f"file://{tmp_path}/train.txt", root=f"file://{tmp_path}")
    assert source.read()["path"].to_pylist() == [f"file://{tmp_path}/a.mp4"]


@pytest.mark.parametrize("delimiter", [" ", ",", ";", "|", "\t", "||"])
def test_a_delimiter_is_taken_by_its_word(tmp_path, delimiter):
    path = write(tmp_path / "train.txt", f"a b,c;d|e.mp4{delimiter}7\n")
    source = VideoListSource(path=path, root=".", delimiter=delimiter)
    assert source.read().to_pydict() == {"video_id": ["a b,c;d|e.mp4"], "path": ["a b,c;d|e.mp4"], "label": [7]}


@pytest.mark.parametrize("line", ["b.mp4", "7", "b.mp4 "])
def test_a_line_without_a_label_is_named(tmp_path, line):
    path = write(tmp_path / "train.txt", f"a.mp4 1\n\n{line}\n")
    told = refusal(VideoListSource(path=path, root="."))
    assert told == f"{path}, line 3: a video and its label, got '{line.strip()}'; a line should read like 'a/b.mp4 3'"


@pytest.mark.parametrize(("delimiter", "gap"), [(None, " "), (None, "\t "), (",", ","), (";", " ; "), ("||", "||")])
def test_a_line_may_have_several_labels(tmp_path, delimiter, gap):
    lines = [("a b.mp4", "1"), ("c/d.mp4", "7", "0", "12")]
    path = write(tmp_path / "train.txt", "".join(f"{gap.join(line)}\n" for line in lines))
    read = VideoListSource(path=path, root="v", delimiter=delimiter).read()
    assert read["path"].to_pylist() == ["v/a b.mp4", "v/c/d.mp4"]
    assert read["label"].to_pylist() == [[1], [7, 0, 12]]


def test_several_labels_are_indices(tmp_path):
    path = write(tmp_path / "train.txt", "a.mp4 1 2\nb.mp4 walk\n")
    told = refusal(VideoListSource(path=path, root="."))
    assert told.startswith(f"{path}, line 2: a video and its labels as indices, got 'b.mp4 walk'; ")


def test_a_label_that_no_number_holds(tmp_path):
    path = write(tmp_path / "train.txt", f"a.mp4 1 {10**20}\n")
    told = refusal(VideoListSource(path=path, root="."))
    assert told.startswith(f"{path}, line 1: a video and its labels as indices, got 'a.mp4 1 1000")


def test_several_labels_where_the_recipe_wants_one(tmp_path):
    path = write(tmp_path / "train.txt", "a.mp4 1\nb.mp4 2 4\n")
    with pytest.raises(DataError) as caught:
        load_manifest(VideoListSource(path=path, root="."), None, split="train")
    assert str(caught.value) == (
        f"train data {path}: row 2 (b.mp4) has 2 labels (2, 4); a row has one, unless the recipe says "
        "data.multi_label: true"
    )


def test_a_list_of_folders(tmp_path):
    path = write(tmp_path / "train.txt", "a/b 48 0\nc d 5 12\n")
    read = FrameListSource(path=path, root="gs://bucket/frames", fps=12.5).read()
    assert read.to_pydict() == {
        "video_id": ["a/b", "c d"],
        "path": ["gs://bucket/frames/a/b", "gs://bucket/frames/c d"],
        "label": [0, 12],
        "frame_template": [None, None],
        "fps": [12.5, 12.5],
    }
    assert load_manifest(FrameListSource(path=path, root="."), None, split="train").num_videos == 2


def test_folders_with_several_labels(tmp_path):
    path = write(tmp_path / "train.txt", "a/b 48 0\nc d 5 12 3\n")
    read = FrameListSource(path=path, root=".").read()
    assert read.select(["path", "label"]).to_pydict() == {"path": ["a/b", "c d"], "label": [[0], [12, 3]]}
    path = write(tmp_path / "parts.txt", "a 0 10 3\na 10 20 4 1\n")
    read = FrameListSource(path=path, root=".", with_offset=True).read()
    assert read.select(["video_id", "label"]).to_pydict() == {"video_id": ["a@0-10", "a@10-30"], "label": [[3], [4, 1]]}


def test_a_part_of_a_folder_is_a_segment(tmp_path):
    path = write(tmp_path / "train.txt", "a 0 10 3\na 10 20 4\n")
    source = FrameListSource(path=path, root="frames", with_offset=True, fps=10, template="img_{:05}.jpg")
    assert source.read().to_pydict() == {
        "video_id": ["a@0-10", "a@10-30"],
        "path": ["frames/a", "frames/a"],
        "label": [3, 4],
        "frame_template": ["img_{:05}.jpg", "img_{:05}.jpg"],
        "fps": [10, 10],
        "start_seconds": [0, 1],
        "end_seconds": [1, 3],
    }


@pytest.mark.parametrize(
    ("line", "with_offset", "told"),
    [
        ("a 3", False, "the number of its frames and the label (with_offset is off), got 'a 3'; a line should read"),
        ("a 5 1", True, "its first frame, the number of frames and the label, got 'a 5 1'; a line should read like"),
        ("a 0 1", False, "a number of frames, got 'a 0 1'; it should be above 0"),
        ("a x 1", False, "got 'a x 1'"),
    ],
)
def test_a_wrong_line_of_folders_is_named(tmp_path, line, with_offset, told):
    path = write(tmp_path / "train.txt", f"b {'0 ' * with_offset}5 1\n{line}\n")
    refused = refusal(FrameListSource(path=path, root=".", with_offset=with_offset))
    assert refused.startswith(f"{path}, line 2: ")
    assert told in refused


def test_an_empty_list_is_told_by_the_manifest(tmp_path):
    path = write(tmp_path / "train.txt", "\n\n")
    with pytest.raises(DataError, match="lists no video"):
        load_manifest(VideoListSource(path=path, root="."), None, split="train")


def test_lists_of_mmaction2():
    if not LISTS.is_dir():
        pytest.skip("needs ../shared/assets, MMAction2's own test lists")
    videos = VideoListSource(path=str(LISTS / "video_test_list.txt"), root="v").read()
    assert videos.to_pydict() == {"video_id": ["test.mp4"] * 2, "path": ["v/test.mp4"] * 2, "label": [0, 0]}
    frames = FrameListSource(path=str(LISTS / "rawframe_test_list.txt"), root="v").read()
    assert frames.select(["path", "label"]).to_pydict() == {"path": ["v/imgs"] * 2, "label": [127, 127]}
    source = FrameListSource(path=str(LISTS / "rawframe_test_list_with_offset.txt"), root="v", with_offset=True)
    assert source.read()["video_id"].to_pylist() == ["imgs@2-7"] * 2
    several = VideoListSource(path=str(LISTS / "video_test_list_multi_label.txt"), root="v").read()
    assert several.select(["path", "label"]).to_pydict() == {"path": ["v/test.mp4"] * 2, "label": [[0, 3], [0, 2, 4]]}
    several = FrameListSource(path=str(LISTS / "rawframe_test_list_multi_label.txt"), root="v").read()
    assert several.select(["path", "label"]).to_pydict() == {"path": ["v/imgs"] * 2, "label": [[1], [3, 5]]}
