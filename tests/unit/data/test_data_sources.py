import re

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import TypeAdapter, ValidationError

from kinoray.data.sources import AnySource, FolderSource, ManifestSource, read_table
from kinoray.errors import DataError

ROWS = [
    {"path": "a b/ü.mp4", "label": "walk, fast", "fold": 1},
    {"path": "c.mp4", "label": 'say "hi"', "fold": 2},
    {"path": "/abs/d.mp4", "label": "run", "fold": 3},
]


def write_table(path, rows=ROWS):
    table = pa.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix in {".csv", ".tsv"}:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        fields = [rows[0].keys(), *(row.values() for row in rows)]
        quoted = [['"' + str(value).replace('"', '""') + '"' for value in line] for line in fields]
        path.write_text("\n".join(delimiter.join(line) for line in quoted) + "\n", encoding="utf-8")
    else:
        path.write_text(table.to_pandas().to_json(orient="records", lines=True, force_ascii=False), encoding="utf-8")
    return str(path)


def write_text(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(source):
    with pytest.raises(DataError) as caught:
        source.read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl"])
def test_a_manifest_means_the_same_in_every_format(tmp_path, ending):
    read = ManifestSource(path=write_table(tmp_path / f"train.{ending}")).read()
    assert read.select(["video_id", "path", "label"]).to_pydict() == {
        "video_id": ["a b/ü.mp4", "c.mp4", "/abs/d.mp4"],
        "path": [f"{tmp_path}/a b/ü.mp4", f"{tmp_path}/c.mp4", "/abs/d.mp4"],
        "label": ["walk, fast", 'say "hi"', "run"],
    }


def test_relative_paths_start_from_the_root(tmp_path):
    path = write_table(tmp_path / "train.csv")
    assert ManifestSource(path=path, root="videos/").read()["path"].to_pylist() == [
        "videos/a b/ü.mp4", "videos/c.mp4", "/abs/d.mp4",
    ]  # fmt: skip
    assert ManifestSource(path=path, root=".").read()["path"][1].as_py() == "c.mp4"
    in_store = ManifestSource(path=path, root="s3://bucket/videos?region=eu-west-1").read()
    assert in_store["path"].to_pylist()[1:] == ["s3://bucket/videos/c.mp4?region=eu-west-1", "/abs/d.mp4"]


def test_groups_of_a_csv_stay_as_they_are_written(tmp_path):
    rows = "path,label,take,group\na.mp4,x,007,0010\nb.mp4,x,7,10\nc.mp4,x,,\n"
    path = write_text(tmp_path / "a.csv", rows)
    assert ManifestSource(path=path).read()["group"].to_pylist() == ["0010", "10", None]
    assert ManifestSource(path=path, group_column="take").read()["group"].to_pylist() == ["007", "7", None]
    assert ManifestSource(path=path, group_column="take", where={"take": [7]}).read()["path"].to_pylist() == [
        f"{tmp_path}/b.mp4"
    ]


def test_texts_of_a_csv_stay_as_they_are_written(tmp_path):
    text = "path,label,video_id\n007,2020-01-01,0012\n1e5,true,012\nNA,null,nan\n"
    read = ManifestSource(path=write_text(tmp_path / "m.csv", text), root=".").read()
    assert read["path"].to_pylist() == ["007", "1e5", "NA"]
    assert read["label"].to_pylist() == ["2020-01-01", "true", "null"]
    assert read["video_id"].to_pylist() == ["0012", "012", "nan"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["0", "12", "3"], [0, 12, 3]),
        (["-1", "0", "1"], [-1, 0, 1]),
        (["007", "1", "2"], ["007", "1", "2"]),
        (["1", "two", "3"], ["1", "two", "3"]),
        (["1", "", "3"], [1, None, 3]),
        (["walk", "", "run"], ["walk", None, "run"]),
        (["1.5", "2", "3"], ["1.5", "2", "3"]),
    ],
)
def test_labels_are_indices_where_all_are_whole_numbers(tmp_path, labels, expected):
    text = "path,label\n" + "".join(f"{number},{label}\n" for number, label in enumerate(labels))
    assert ManifestSource(path=write_text(tmp_path / "m.csv", text)).read()["label"].to_pylist() == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([2, 0], pa.uint8()), [2, 0]),
        (pa.array([2.0, None]), [2, None]),
        (pa.array(["b", "a"]).dictionary_encode(), ["b", "a"]),
        (pa.array(["b", "a"], pa.large_string()), ["b", "a"]),
    ],
)
def test_labels_of_other_types_in_parquet(tmp_path, labels, expected):
    parquet.write_table(pa.table({"path": ["x", "y"], "label": labels}), tmp_path / "m.parquet")
    assert ManifestSource(path=str(tmp_path / "m.parquet")).read()["label"].to_pylist() == expected


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ({"where": {"fold": [1, 3]}}, [1, 3]),
        ({"where": {"fold": ["1", 3]}}, [1, 3]),
        ({"where": {"fold": []}}, []),
        ({"where_not": {"fold": [1]}}, [2, 3]),
        ({"where": {"fold": [1, 2]}, "where_not": {"label": ['say "hi"']}}, [1]),
    ],
)
def test_conditions_pick_rows(tmp_path, conditions, kept):
    read = ManifestSource(path=write_table(tmp_path / "m.csv"), **conditions).read()
    assert read["path"].to_pylist() == [
        path if path.startswith("/") else f"{tmp_path}/{path}" for path in (ROWS[fold - 1]["path"] for fold in kept)
    ]


def test_a_number_finds_the_text_of_a_column(tmp_path):
    text = "path,label,split\na,x,1\nb,x,val\nc,x,\n"
    path = write_text(tmp_path / "m.csv", text)
    assert ManifestSource(path=path, where={"split": [1]}).read()["video_id"].to_pylist() == ["a"]
    assert ManifestSource(path=path, where_not={"split": [1]}).read()["video_id"].to_pylist() == ["b", "c"]


def test_ids_of_segments_keep_their_seconds(tmp_path):
    text = "path,label,start_seconds,end_seconds\na,x,12345.67,12350\na,x,12345.68,12350\na,x,12345.68,\nb,x,,\n"
    read = ManifestSource(path=write_text(tmp_path / "m.csv", text)).read()
    assert read["video_id"].to_pylist() == ["a@12345.67-12350", "a@12345.68-12350", "a@12345.68-", "b"]
    assert read["start_seconds"].to_pylist() == [12345.67, 12345.68, 12345.68, None]
    assert read["end_seconds"].to_pylist() == [12350.0, 12350.0, None, None]


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("", {}, "the file is empty; a manifest is a table"),
        ("path,label\n", {}, "the manifest is empty; it needs a header and a row per video"),
        ("file,label\na,x\n", {}, "has no column 'path'; its columns are file, label"),
        ("path,class\na,x\n", {}, "has no column 'label'; its columns are path, class"),
        ("path,label,path\na,x,b\n", {}, "has several columns 'path'; its columns are"),
        ("path,label\na,x\n", {"where": {"fold": [1]}}, "has no column 'fold'"),
        ("path,label,fold\na,x,1\n", {"where": {"fold": [1, "one"]}}, "'fold' is int64, so it cannot hold every one"),
        ("path,label\na,x\n,x\n", {}, "column 'path' is empty in 1 row(s)"),
        ("path,label\na,x\nb\n", {}, "cannot be read as csv: .*Expected 2 columns, got 1"),
        ("path,label,start_seconds\na,x,soon\n", {}, "cannot be read as csv: .*invalid value 'soon'"),
    ],
)
def test_an_unusable_csv_is_told_in_one_line(tmp_path, text, options, told):
    path = write_text(tmp_path / "m.csv", text)
    message = refusal(ManifestSource(path=path, **options))
    assert message.startswith(f"{path}: ")
    assert re.search(told if ".*" in told else re.escape(told), message)


def test_other_unusable_files(tmp_path):
    (tmp_path / "m.csv").write_bytes("path,label\nh\xe9,x\n".encode("latin-1"))
    assert "invalid UTF8" in refusal(ManifestSource(path=str(tmp_path / "m.csv")))
    assert "nowhere/m.csv: no such file (looked from " in refusal(ManifestSource(path="nowhere/m.csv"))
    assert "cannot be read as parquet" in refusal(ManifestSource(path=write_text(tmp_path / "m.parquet", "no")))
    assert "cannot be read as json" in refusal(ManifestSource(path=write_text(tmp_path / "m.json", "[1, 2]")))
    assert "got the ending '.txt'; it should be one of .csv" in refusal(ManifestSource(path="train.txt"))
    nested = tmp_path / "nested.parquet"
    parquet.write_table(pa.table({"path": [["a"]], "label": [0]}), nested)
    assert "column 'path', got list" in refusal(ManifestSource(path=str(nested)))


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of a store on this machine, and the options that reach it."""
    boto3 = pytest.importorskip("boto3")
    moto_server = pytest.importorskip("moto.server")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="clips")
    yield client, f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    client.close()
    server.stop()


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_manifest_in_a_store(bucket, tmp_path, ending):
    client, options = bucket
    write_table(tmp_path / f"m.{ending}")
    client.upload_file(str(tmp_path / f"m.{ending}"), "clips", f"my lists/m.{ending}")
    source = TypeAdapter(AnySource).validate_python(f"s3://clips/my lists/m.{ending}{options}")
    assert isinstance(source, ManifestSource)
    assert "row 3: a path, got '/abs/d.mp4', a file of this machine in a list from elsewhere" in refusal(source)
    relative = source.model_copy(update={"where_not": {"fold": (3,)}})
    assert relative.read()["path"].to_pylist() == [
        f"s3://clips/my lists/a b/ü.mp4{options}", f"s3://clips/my lists/c.mp4{options}",
    ]  # fmt: skip
    assert "no such file" in refusal(ManifestSource(path=f"s3://clips/none.{ending}{options}"))


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_folder_per_class(tmp_path):
    touch(
        tmp_path, "läuft schnell/ß 1.MP4", "läuft schnell/deep/er/2.webm", "sit/a.avi", "sit/._a.avi", "sit/notes.txt"
    )
    touch(tmp_path, "no_class.mp4")
    read = FolderSource(root=str(tmp_path)).read()
    assert read.to_pydict() == {
        "video_id": ["läuft schnell/deep/er/2.webm", "läuft schnell/ß 1.MP4", "sit/a.avi"],
        "path": [f"{tmp_path}/{id_}" for id_ in read["video_id"].to_pylist()],
        "label": ["läuft schnell", "läuft schnell", "sit"],
    }


def test_a_class_folder_may_be_a_link(tmp_path):
    touch(tmp_path / "elsewhere", "a.mp4")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "sit").symlink_to(tmp_path / "elsewhere")
    assert FolderSource(root=str(tmp_path / "root")).read()["video_id"].to_pylist() == ["sit/a.mp4"]


def test_unusable_folders(tmp_path):
    touch(tmp_path, "no_class.mp4", "sit/notes.txt")
    assert "holds no <class>/<video> files; endings looked for: .mp4" in refusal(FolderSource(root=str(tmp_path)))
    assert "no such folder; a 'folder' source needs" in refusal(FolderSource(root="nowhere"))
    assert "needs a local folder" in refusal(FolderSource(root="s3://bucket/videos"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("lists/train.CSV", ManifestSource(path="lists/train.CSV")),
        ("s3://b/m.parquet?region=x", ManifestSource(path="s3://b/m.parquet?region=x")),
        ("videos", FolderSource(root="videos")),
        ({"kind": "folder", "root": "videos.csv"}, FolderSource(root="videos.csv")),
    ],
)
def test_a_bare_path_is_a_source(written, meant):
    assert TypeAdapter(AnySource).validate_python(written) == meant


def test_a_source_needs_a_kind():
    with pytest.raises(ValidationError, match=r"one of audio_list, diving48, folder, .*, manifest, "):
        TypeAdapter(AnySource).validate_python({"path": "m.csv"})


def test_a_source_describes_its_conditions():
    source = ManifestSource(path="m.csv", where={"fold": [1, 2]}, where_not={"label": ["x"]})
    assert source.describe() == "m.csv (fold in [1, 2], label not in ['x'])"


def test_a_table_can_be_read_as_guessed(tmp_path):
    table = read_table(write_text(tmp_path / "m.csv", "a,b\n007,x\n"))
    assert table.to_pydict() == {"a": [7], "b": ["x"]}


def test_bytes_that_are_no_text_are_told_where_the_file_is_read(tmp_path):
    names = tmp_path / "names.csv"
    names.write_bytes(b"path,label,\xed\xa0\x80\na.mp4,0,1\n")
    values = tmp_path / "values.parquet"
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff"))
    parquet.write_table(pa.table({"path": broken, "label": [0]}), values)
    for path in (names, values):
        with pytest.raises(DataError, match=f"{path}: cannot be read as"):
            ManifestSource(path=str(path)).read()


def test_a_whole_machine_is_no_folder_of_classes():
    with pytest.raises(DataError, match="/: a 'folder' source, got all of this machine"):
        FolderSource(root="/").read()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("b.mp4,1,soon", "In column 3: line 3: CSV conversion error to double: invalid value 'soon'"),
        ("b.mp4,1", "CSV parse error: line 3: Expected 3 columns, got 2: b.mp4,1"),
    ],
)
def test_a_wrong_line_of_a_csv_is_named(tmp_path, row, told):
    path = tmp_path / "a.csv"
    path.write_text(f"path,label,start_seconds\na.mp4,0,0.5\n{row}\n")
    assert refusal(ManifestSource(path=str(path))) == f"{path}: cannot be read as csv: {told}"
