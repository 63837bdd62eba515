"""What is done to a video, what is kept of it, and what a second run does."""

import csv
import json
import shutil
from pathlib import Path
from urllib.error import URLError

import pyarrow as pa
import pytest
from pyarrow import parquet

from kinoray.data.duplicates import Footage
from kinoray.data.manifest import check_files, load_manifest
from kinoray.data.output import WORK, OutputFolder
from kinoray.data.plan import epoch_plan
from kinoray.data.prepare import FACTS_SCHEMA, Preparation, failed, output_name, read_listing, shard_groups
from kinoray.data.prepared import Record
from kinoray.data.sources import ManifestSource
from kinoray.data.splits import Division
from kinoray.errors import DataError, DecodeError, ResourceError
from kinoray.video.decode import VideoReader
from kinoray.video.packets import PacketIndex
from kinoray.video.shards import is_shard_path, read_shard_video
from kinoray.video.transcode import Encoding


@pytest.fixture
def output(tmp_path):
    return OutputFolder(str(tmp_path / "out"))


@pytest.fixture
def videos(write_video, tmp_path):
    """A folder per class, two videos each of 20 and more frames, and one that is none."""
    for number, name in enumerate(("a/one.mp4", "a/two.mp4", "b/one.mp4", "b/two.mp4")):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, 20 + number)
    (tmp_path / "set" / "b" / "bad.mp4").write_text("<html>")
    return tmp_path / "set"


def run(videos, preparation, **wanted):
    """As the cluster does it: the paths it found to do, and the outcome."""
    record = Record(preparation, read_listing(str(videos)), **wanted)
    missing = record.missing
    record.add(map(preparation.one, missing))
    record.save()
    if preparation.in_shards:
        for group in shard_groups(record.to_pack(), shard_bytes=4000):
            record.add(preparation.shard(group))
    return [Path(path).name for path in missing], record.finish()


def manifest_of(output):
    return parquet.read_table(Path(output.root) / "manifest.parquet")


def test_facts_of_videos_as_they_are(videos, output):
    _, done = run(videos, Preparation(output))
    table = manifest_of(output)
    assert table["video_id"].to_pylist() == ["a/one.mp4", "a/two.mp4", "b/bad.mp4", "b/one.mp4", "b/two.mp4"]
    assert table["label"].to_pylist() == ["a", "a", "b", "b", "b"]
    assert table["path"].to_pylist() == table["source_path"].to_pylist()
    assert table["num_frames"].to_pylist() == [20, 21, None, 22, 23]
    assert table["fps"].to_pylist() == [25, 25, None, 25, 25]
    row = table.to_pylist()[0]
    assert (row["width"], row["height"], row["codec"]) == (64, 48, "h264")
    assert row["num_bytes"] == row["source_num_bytes"] == (videos / "a/one.mp4").stat().st_size
    index = PacketIndex.from_bytes(row["packet_index"])
    with VideoReader(row["path"], index=index) as video:
        assert video.num_frames == 20
    assert (done.num_videos, done.num_kept, done.summary.num_frames) == (5, 0, 86)
    assert done.source_bytes == done.summary.num_bytes


def test_a_bad_video_is_a_row_and_a_line_in_the_report(videos, output):
    _, done = run(videos, Preparation(output, Encoding()))
    bad = manifest_of(output).to_pylist()[2]
    assert bad["path"] == str(videos / "b/bad.mp4")
    assert bad["error"].startswith(str(videos / "b/bad.mp4"))
    assert done.errors == (bad["error"],)
    good = ManifestSource(path=done.manifests[0], where={"error": ("",)}).read()
    assert good.num_rows == 4, "as docs/prepare.md says"
    report = (Path(output.root) / "bad_videos.csv").read_text()
    assert f'"{videos}/b/bad.mp4","unreadable","{videos}/b/bad.mp4: ' in report
    assert "one.mp4" not in report


def test_encoded_videos_read_as_their_source(videos, output):
    run(videos, Preparation(output, Encoding()))
    for row in manifest_of(output).to_pylist():
        if row["error"]:
            continue
        path = Path(output.root) / row["path"]
        assert path.stat().st_size == row["num_bytes"]
        with VideoReader(str(path), index=PacketIndex.from_bytes(row["packet_index"])) as after:
            assert after.codec == row["codec"] == "mpeg4"
            assert after.num_frames == row["num_frames"]
    assert not (Path(output.root) / WORK).exists()


def test_videos_in_shards(videos, output):
    _, done = run(videos, Preparation(output, Encoding(), in_shards=True))
    root = Path(output.root)
    rows = [row for row in manifest_of(output).to_pylist() if not row["error"]]
    assert len({row["path"].partition("#")[0] for row in rows}) > 1, "more than one shard"
    for row in rows:
        assert is_shard_path(row["path"])
        content = read_shard_video(f"{root}/{row['path']}")
        with VideoReader(content, index=PacketIndex.from_bytes(row["packet_index"])) as video:
            assert video.num_frames == row["num_frames"]
    assert not list(root.rglob("*.mp4")), "the files that went into shards are gone"
    check_files(load_manifest(ManifestSource(path=done.manifests[0]), None, split="train"), 0.2)


@pytest.mark.parametrize("encoding", [None, Encoding()])
@pytest.mark.parametrize("in_shards", [False, True])
def test_a_second_run_does_what_is_missing(videos, output, write_video, encoding, in_shards):
    preparation = Preparation(output, encoding, in_shards)
    assert len(run(videos, preparation)[0]) == 5
    first = manifest_of(output)
    assert run(videos, preparation)[0] == ["bad.mp4"], "it may be whole by now"
    assert manifest_of(output).equals(first)
    write_video(videos / "b/bad.mp4", 9)
    write_video(videos / "b/new.mp4", 8)
    write_video(videos / "a/two.mp4", 12)
    assert sorted(run(videos, preparation)[0]) == ["bad.mp4", "new.mp4", "two.mp4"]
    assert manifest_of(output)["num_frames"].to_pylist() == [20, 12, 9, 8, 22, 23]


def test_what_is_gone_or_wanted_otherwise_is_done_again(videos, output):
    (videos / "b/bad.mp4").unlink()
    run(videos, Preparation(output, Encoding()))
    (Path(output.root) / output_name(str(videos / "a/one.mp4"))).unlink()
    assert run(videos, Preparation(output, Encoding()))[0] == ["one.mp4"]
    assert len(run(videos, Preparation(output, Encoding("h264")))[0]) == 4
    assert run(videos, Preparation(output, Encoding("h264"), in_shards=True))[0] == [], "only packed"
    assert len(run(videos, Preparation(output))[0]) == 4


def test_an_unfinished_run_goes_on(videos, output):
    preparation = Preparation(output, Encoding())
    listing = read_listing(str(videos))
    record = Record(preparation, listing)
    paths = record.missing
    for path in paths[:2]:
        record.add([preparation.one(path)])
        record.save()
    record.add([preparation.one(paths[3])])  # lost: not saved
    assert Record(preparation, listing).missing == paths[2:]


def test_a_folder_of_other_videos_is_refused(videos, output):
    run(videos, Preparation(output))
    (videos / "b").rename(videos / "d")
    shutil.rmtree(videos / "a")
    with pytest.raises(DataError, match="give every list of videos a folder of its own"):
        run(videos, Preparation(output))


def columns_gone(path, *names):
    parquet.write_table(parquet.read_table(path).drop_columns(list(names)), path)


@pytest.mark.parametrize("damage", ["no digests", "no reasons", "no fingerprints", "fingerprints that are no table"])
def test_what_an_older_program_did_not_know_is_found_out(videos, output, damage):
    run(videos, Preparation(output))
    first = manifest_of(output)
    fingerprints = Path(output.root) / "fingerprints.parquet"
    known = fingerprints.read_bytes()
    match damage:
        case "no digests":
            columns_gone(Path(output.root) / "manifest.parquet", "content_digest")
        case "no reasons":
            columns_gone(Path(output.root) / "manifest.parquet", "content_digest", "error_reason")
        case "no fingerprints":
            fingerprints.unlink()
        case _:
            fingerprints.write_bytes(b"PAR1")
    assert len(run(videos, Preparation(output))[0]) == 5
    assert manifest_of(output).equals(first)
    assert fingerprints.read_bytes() == known


def test_fingerprints_are_kept_and_need_not_be_taken(videos, output):
    run(videos, Preparation(output, with_fingerprints=False))
    assert manifest_of(output)["content_digest"].null_count == 5
    assert "fingerprint" not in manifest_of(output).column_names, "training reads all of the manifest"
    assert run(videos, Preparation(output, with_fingerprints=False))[0] == ["bad.mp4"]
    assert len(run(videos, Preparation(output))[0]) == 5, "now they are wanted"
    assert run(videos, Preparation(output, with_fingerprints=False))[0] == ["bad.mp4"]
    assert run(videos, Preparation(output))[0] == ["bad.mp4"], "what is known stays known"


def test_copies_are_told_in_the_list_and_to_other_lists(videos, output, tmp_path):
    shutil.copy(videos / "a/one.mp4", videos / "b/copy.mp4")
    _, done = run(videos, Preparation(output, Encoding()))
    assert (done.summary.num_exact, done.summary.num_leaks) == (2, 0)
    report = (Path(output.root) / "duplicates.csv").read_text()
    assert report.count('"exact"') == 2
    other = tmp_path / "other"
    (other / "a").mkdir(parents=True)
    shutil.copy(videos / "a/one.mp4", other / "a" / "new.mp4")
    second = OutputFolder(str(tmp_path / "second"))
    _, done = run(other, Preparation(second), others=[Footage.read(output.root)])
    assert (done.summary.num_exact, done.summary.num_leaks) == (1, 1)
    leaks = parquet.read_table(f"{second.root}/manifest.parquet")["leak"].to_pylist()
    assert leaks == ["a/one.mp4"]
    _, done = run(other, Preparation(second), others=[Footage.read(f"{output.root}/manifest.parquet")])
    assert done.summary.num_leaks == 1


def test_splits_are_manifests_of_their_own(motion8, output, tmp_path):
    """24 videos of 8 classes, and copies of three of them that are of another class."""
    rows = read_listing(str(motion8 / "train.csv")).to_pylist()
    for number in range(3):
        shutil.copy(rows[number]["path"], tmp_path / f"{number}.mp4")
        rows.append({**rows[number], "video_id": f"copy{number}", "path": f"{tmp_path}/{number}.mp4", "label": "x"})
    listed = tmp_path / "list.jsonl"
    listed.write_text("\n".join(json.dumps(row) for row in rows))
    halves = Division.parse("one=0.5,two=0.5", None, seed=0)
    _, done = run(listed, Preparation(output), division=halves)
    assert [Path(path).name for path in done.manifests] == ["one.parquet", "two.parquet"]
    tables = [parquet.read_table(path) for path in done.manifests]
    ids = [set(table["video_id"].to_pylist()) for table in tables]
    assert {len(ids[0]), len(ids[1])} == {13, 14}
    assert ids[0] | ids[1] == {row["video_id"] for row in rows}
    for number in range(3):
        pair = {rows[number]["video_id"], f"copy{number}"}
        assert pair <= ids[0] or pair <= ids[1]
    assert all(table["packet_index"].null_count == 0 for table in tables)
    with (Path(output.root) / "duplicates.csv").open() as file:
        duplicates = list(csv.DictReader(file))
    assert [row["kind"] for row in duplicates] == ["exact"] * 6
    assert all((row["split"] == "one") == (row["video_id"] in ids[0]) for row in duplicates)

    thirds = Division.parse("one=0.5,three=0.5", None, seed=0)
    run(listed, Preparation(output), division=thirds)
    there = {path.name for path in Path(output.root).glob("*.parquet")}
    assert there == {"manifest.parquet", "fingerprints.parquet", "one.parquet", "three.parquet"}, "no split is stale"


@pytest.mark.parametrize("in_shards", [False, True])
def test_groups_are_looked_for_in_the_paths_of_the_source(videos, output, in_shards):
    halves = Division.parse("x=0.5,y=0.5", r"set/(\w)/", seed=0)
    preparation = Preparation(output, Encoding(), in_shards, with_fingerprints=False)  # all show the same
    _, done = run(videos, preparation, division=halves)
    assert sorted(done.summary.splits.values(), key=str) == [{"a": 2}, {"b": 3}]


def test_a_split_that_someone_removed(videos, output):
    _, done = run(videos, Preparation(output), division=Division.parse("x=0.5,y=0.5", None, seed=0))
    Path(done.manifests[0]).unlink()
    run(videos, Preparation(output))
    assert {path.name for path in Path(output.root).glob("*.parquet")} == {"manifest.parquet", "fingerprints.parquet"}


def test_a_division_that_cannot_be_is_told_before_anything_is_done(videos, output):
    with pytest.raises(DataError, match="--group-by"):
        run(videos, Preparation(output), division=Division.parse("a=0.5,b=0.5", "nowhere", seed=0))
    assert not Path(output.root).exists()


def test_nothing_but_bad_videos_is_an_error(output, tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "x.mp4").write_text("x")
    with pytest.raises(DataError, match=r"not one of the 1 videos can be read, the first: .*x\.mp4"):
        run(tmp_path / "set", Preparation(output))
    assert "x.mp4" in (Path(output.root) / "bad_videos.csv").read_text()


def test_segments_labels_and_ids_stay(videos, output, tmp_path):
    listed = tmp_path / "list.csv"
    rows = ["video_id,path,label,start_seconds,end_seconds", "x,set/a/one.mp4,3,,"]
    rows += ["y,set/a/two.mp4,0,0.1,0.4", "z,set/a/two.mp4,1,0.4,0.8"]
    listed.write_text("\n".join(rows))
    missing, _ = run(listed, Preparation(output, Encoding(), in_shards=True))
    assert missing == ["one.mp4", "two.mp4"], "a file is worked on once"
    manifest = load_manifest(ManifestSource(path=f"{output.root}/manifest.parquet"), None, split="train")
    rows = manifest.table.to_pylist()
    assert [row["video_id"] for row in rows] == ["x", "y", "z"]
    assert [row["label"] for row in rows] == [3, 0, 1]
    assert [row["start_seconds"] for row in rows] == [None, 0.1, 0.4]
    assert rows[1]["path"] == rows[2]["path"] != rows[0]["path"]
    plan = epoch_plan(manifest.table, seed=0, epoch=0)
    packet_indices = {row["video_id"]: row["packet_index"] for row in rows}
    assert {row["video_id"]: row["packet_index"] for row in plan.to_pylist()} == packet_indices
    assert plan["packet_index"].type == pa.large_binary()  # of a million videos they are more than 2 GB
    assert all(packet_indices.values())


def test_the_index_is_no_part_of_what_is_listed(videos, output):
    (videos / "b/bad.mp4").unlink()
    run(videos, Preparation(output))
    manifest = load_manifest(ManifestSource(path=f"{output.root}/manifest.parquet"), None, split="train")
    plain = load_manifest(ManifestSource(path=f"{output.root}/manifest.parquet"), None, split="train")
    plain = type(plain)(plain.table.drop_columns("packet_index"), plain.classes, plain.split, plain.source)
    assert manifest.digest() == plain.digest()


def test_a_list_of_videos_in_shards_is_gone_through_once(videos, output, tmp_path):
    (videos / "b/bad.mp4").unlink()
    _, done = run(videos, Preparation(output, in_shards=True))
    second = Preparation(OutputFolder(str(tmp_path / "second")))
    assert len(run(done.manifests[0], second)[0]) == 4
    assert run(done.manifests[0], second)[0] == []
    shard = Path(manifest_of(output)["path"][0].as_py().partition("#")[0])
    (Path(output.root) / shard).rename(tmp_path / "moved.parquet")
    assert run_missing(done.manifests[0], second), "it is gone"


def run_missing(listed, preparation):
    return Record(preparation, read_listing(str(listed))).missing


def test_segments_may_repeat_more_than_a_binary_column_holds(videos, output):
    """Of offsets of 32 bits, for which a test would take 2 GB; on disk it is the type that readers expect."""
    listing = read_listing(str(videos))
    preparation = Preparation(output)
    record = Record(preparation, listing)
    record.add(map(preparation.one, record.missing))
    rows = record._listed(pa.Table.from_pylist(list(record.facts.values()), schema=FACTS_SCHEMA))
    assert rows["packet_index"].type == rows["fingerprint"].type == pa.large_binary()
    record.finish()
    assert manifest_of(output)["packet_index"].type == pa.binary()


def test_an_output_that_cannot_be_written_is_no_bad_video(videos, tmp_path):
    (tmp_path / "file").write_text("")
    preparation = Preparation(OutputFolder(str(tmp_path / "file" / "out")), Encoding())
    with pytest.raises(ResourceError, match="cannot be written"):
        preparation.one(str(videos / "a/one.mp4"))


def test_a_video_that_cannot_be_read_any_more_is_not_packed(videos, output, monkeypatch):
    preparation = Preparation(output, in_shards=True)
    facts = [preparation.one(str(videos / name)) for name in ("a/one.mp4", "a/two.mp4")]
    read = Path.read_bytes

    def broken(path):
        if path.name == "one.mp4":
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", broken)
    bad, good = preparation.shard(facts)
    assert (bad["error_reason"], bad["source_path"]) == ("unreadable", str(videos / "a/one.mp4"))
    assert is_shard_path(good["path"])


def test_names_keep_the_class_and_never_meet():
    paths = ["/x/jump/a.avi", "/x/jump/a.mp4", "/y/jump/a.avi", "s3://b/jump/a.avi", "/x/a b/ü#?.mkv", "/a"]
    names = [output_name(path) for path in paths]
    assert len(set(names)) == len(paths)
    assert all(name.startswith("videos/jump/a-") for name in names[:4])
    assert not any(set(name) & set("#? ") for name in names)
    assert output_name("s3://b/jump/a.avi?secret_key=1") == names[3]
    assert output_name("https://h/get?id=1") != output_name("https://h/get?id=2")
    secrets = ("https://me:pw@h/a.mp4?x=1", "s3://KEY:s/pw@bucket/a.mp4", "https://h/a/b.mp4?token=pw")
    assert not any("pw" in output_name(path) for path in secrets)
    assert len(output_name(f"/{'x' * 300}/{'y' * 300}.mp4").split("/")[-1]) < 255


def test_shards_are_of_one_size_and_do_not_depend_on_the_order():
    rows = [{"source_path": f"/v/{number}", "num_bytes": 30} for number in range(20)]
    groups = shard_groups(rows, shard_bytes=100)
    assert [len(group) for group in groups] == [3] * 6 + [2]
    assert shard_groups(rows[::-1], shard_bytes=100) == groups
    assert [len(group) for group in shard_groups([{"source_path": "/v", "num_bytes": 500}], shard_bytes=100)] == [1]


def test_errors_name_the_video_and_no_password():
    told = failed("s3://bucket/a.mp4?secret_key=xyz", ValueError())["error"]
    assert told == "s3://bucket/a.mp4?secret_key=***: ValueError"
    assert set(failed("a.mp4", "broken")) == set(FACTS_SCHEMA.names)


def test_reasons_are_words_that_we_chose():
    """Other errors have a ``reason`` too, a sentence or an exception."""
    assert failed("a.mp4", DecodeError("a.mp4: gone", "missing"))["error_reason"] == "missing"
    assert failed("a.mp4", URLError(OSError("no route")))["error_reason"] == "URLError"
    assert failed("a.mp4", "broken")["error_reason"] == "crashed"


@pytest.mark.parametrize("columns", [{"path": ["a.mp4"], "label": ["jump"]}, None], ids=["manifest", "no table"])
def test_a_manifest_of_something_else_is_not_written_over(videos, output, columns):
    """Such as the source itself."""
    manifest = Path(output.root) / "manifest.parquet"
    manifest.parent.mkdir()
    parquet.write_table(pa.table(columns), manifest) if columns else manifest.write_bytes(b"PAR1")
    before = manifest.read_bytes()
    with pytest.raises(DataError, match=r"out/manifest\.parquet: got a file that is not of prepared videos"):
        Record(Preparation(output), read_listing(str(videos)))
    assert manifest.read_bytes() == before


def test_lists_without_an_index_have_no_such_column(motion8):
    manifest = load_manifest(ManifestSource(path=str(motion8 / "val.csv")), None, split="val")
    assert "packet_index" not in epoch_plan(manifest.table, seed=0, epoch=0).column_names
    assert isinstance(manifest.table, pa.Table)
