import time

import pyarrow as pa
import pytest

from kinoray.data.annotations import (
    Lines,
    group_of,
    parse_json,
    read_entries,
    read_one_of,
    read_text,
)
from kinoray.data.annotations_lists import VideoListSource
from kinoray.data.paths import rooted
from kinoray.data.sources import indices_or_names
from kinoray.errors import DataError


def refusal(call, *arguments):
    with pytest.raises(DataError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_lines_know_where_they_stand():
    lines = Lines.of("list.txt", "a\r\n\r\n  b c \n\n\td\n")
    assert lines.texts.to_pylist() == ["a", "b c", "d"]
    assert lines.numbers.tolist() == [1, 3, 5]


def test_only_ends_of_line_end_a_line():
    assert Lines.of("list.txt", "a\x0bb\x85c\u2028d\n").texts.to_pylist() == ["a\x0bb\x85c\u2028d"]


def test_fields_are_those_of_the_whole_line():
    lines = Lines.of("list.txt", "a 1\nb\n")
    fields = lines.fields(r"(?P<name>\w)(?: (?P<number>\d))?", "a name", "a 1")
    assert {name: column.to_pylist() for name, column in fields.items()} == {"name": ["a", "b"], "number": ["1", ""]}
    told = refusal(Lines.of("list.txt", "a 1\n\nbb 1\n").fields, r"(?P<name>\w) \d", "a name", "a 1")
    assert told == "list.txt, line 3: a name, got 'bb 1'; a line should read like 'a 1'"


def test_the_first_wrong_line_is_named_and_a_null_is_wrong():
    lines = Lines.of("list.txt", "\na\nb\n" + "c" * 500)
    lines.check(pa.array([True, True, True]), "a thing", "right")
    assert refusal(lines.check, pa.array([True, None, False]), "a thing", "right").startswith("list.txt, line 3: ")
    told = refusal(lines.check, pa.array([True, True, False]), "a thing", "right")
    assert told == f"list.txt, line 4: a thing, got '{'c' * 97}...'; right"


def test_a_file_is_read_as_utf8_with_or_without_its_mark(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffwalk ü".encode())
    assert read_text(str(tmp_path / "a.txt")) == "walk ü"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such file (looked from "),
        (b"", "the file is empty; it is one of the data set's annotation files"),
        (b"PK\x03\x04\xff\xfe", "an annotation file, got bytes that are no UTF-8 text; is it an archive?"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, content, told):
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    assert refusal(read_text, str(path)).startswith(f"{path}: {told}")


def test_of_several_names_the_first_that_is_there_is_read(tmp_path):
    (tmp_path / "b.csv").write_text("two")
    (tmp_path / "c.csv").write_text("three")
    assert read_one_of(str(tmp_path), ["a.csv", "b.csv", "c.csv"]) == (f"{tmp_path}/b.csv", "two")
    told = refusal(read_one_of, str(tmp_path), ["x.csv", "y.csv"])
    assert told == f"{tmp_path}: annotation files, got none of x.csv, y.csv; one of them should lie there"


def test_a_damaged_first_file_is_not_passed_over(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"")
    (tmp_path / "b.csv").write_text("two")
    assert "a.csv: the file is empty" in refusal(read_one_of, str(tmp_path), ["a.csv", "b.csv"])


@pytest.mark.parametrize(
    ("root", "joined"),
    [
        ("videos", "videos/a b.mp4"),
        ("videos/", "videos/a b.mp4"),
        (".", "a b.mp4"),
        ("", "a b.mp4"),
        ("/data", "/data/a b.mp4"),
        ("s3://bucket/x", "s3://bucket/x/a b.mp4"),
        ("gs://bucket/x/?anonymous=true", "gs://bucket/x/a b.mp4?anonymous=true"),
    ],
)
def test_relative_paths_start_from_the_root(root, joined):
    paths = pa.array(["a b.mp4", "/abs/c.mp4", "s3://other/d.mp4"])
    assert rooted(root, paths, "list.csv", str).to_pylist() == [joined, "/abs/c.mp4", "s3://other/d.mp4"]


@pytest.mark.parametrize(
    ("texts", "read"),
    [
        (["0", "12"], [0, 12]),
        (["-1", "3"], [-1, 3]),
        (["007", "1"], ["007", "1"]),
        (["1", "two"], ["1", "two"]),
        (["1.0"], ["1.0"]),
        (["99999999999999999999"], ["99999999999999999999"]),
    ],
)
def test_labels_are_indices_where_all_are(texts, read):
    assert indices_or_names(pa.array(texts)).to_pylist() == read


def test_what_is_of_no_group_has_none():
    assert group_of(pa.array(["a_g01_c02", "b"]), r"^(?P<group>.+_g\d+)_c\d+$").to_pylist() == ["a_g01", None]


def test_entries_have_what_they_must():
    read = list(read_entries("a.json", '[{"id": "1", "label": 2, "more": []}]', {"id": str, "label": int}))
    assert read == [{"id": "1", "label": 2, "more": []}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[{"id": "1"}, {"id": 2}]', "a.json, entry 2: a video, got {\"id\": 2}; it should have 'id' (str)"),
        ('[{"label": "1"}]', 'a.json, entry 1: a video, got {"label": "1"}; it should have \'id\' (str)'),
        ("[3]", "a.json, entry 1: a video, got 3; it should have 'id' (str)"),
        ('{"1": "2"}', "a.json: a list of videos, got dict; it should be [{...}, ...]"),
    ],
)
def test_an_entry_that_is_no_video_is_named(text, told):
    assert refusal(lambda: list(read_entries("a.json", text, {"id": str}))) == told


def test_true_is_no_number():
    assert "entry 1" in refusal(lambda: list(read_entries("a.json", '[{"label": true}]', {"label": int})))


def test_text_that_is_no_json_is_placed():
    told = refusal(parse_json, "a.json", '[\n{"id": 1},\n}')
    assert told.startswith("a.json, line 3: not JSON (")


def test_passwords_stay_out_of_messages():
    lines = Lines.of("s3://key:secret@bucket/list.txt", "a")
    assert "secret" not in refusal(lines.fields, r"(?P<name>\d)", "a name", "1")
    assert "secret" not in refusal(parse_json, "s3://key:secret@bucket/a.json", "{")


def test_a_long_list_is_read_fast(tmp_path):
    num_rows = 100_000
    path = tmp_path / "list.txt"
    path.write_text("".join(f"some class/video {row:07d}.mp4 {row % 400}\n" for row in range(num_rows)))
    begin = time.process_time()
    assert VideoListSource(path=str(path), root="s3://bucket/videos").read().num_rows == num_rows
    # A million takes 1.4 CPU seconds; whatever grows faster than the list would take minutes.
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    ("text", "told"),
    [("[" * 100_000, "it is nested too deeply"), (f"[{'9' * 5_000}]", "a number has thousands of digits")],
)
def test_odd_json_is_told(text, told):
    assert refusal(lambda: parse_json("a.json", text)).startswith(f"a.json: not readable ({told}); get the file")
