"""``jobs/prepare.py`` as a user runs it, and a recipe that trains on what it made."""

import csv
from pathlib import Path

import boto3
import pytest
from pyarrow import parquet

TWO_CPUS = ("--set", "site.local_cpus=2")


def write_rows(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def videos(motion8, tmp_path):
    """A manifest with a video that is none."""
    rows = list(csv.DictReader((motion8 / "train.csv").read_text().splitlines()))
    (tmp_path / "bad.mp4").write_text("<html>")
    rows = [row | {"path": str(motion8 / row["path"])} for row in rows]
    rows.append(rows[0] | {"video_id": "bad", "path": "bad.mp4"})
    listed = tmp_path / "list.csv"
    write_rows(listed, rows)
    return listed


@pytest.mark.ray
@pytest.mark.slow
def test_prepare_twice_and_train(run_job, videos, recipe_file, tmp_path):
    words = ("prepare.py", str(videos), "out", "--transcode", "--short-side", "48", "--shards", *TWO_CPUS)
    done = run_job(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "25 rows of" in done.stdout
    assert "prepared 24 of 25 videos; 1 bad (1 unreadable), listed in bad_videos.csv" in done.stdout
    assert f"data.train.source={tmp_path}/out/manifest.parquet" in done.stdout
    assert "bad.mp4" in (tmp_path / "out" / "bad_videos.csv").read_text()
    table = parquet.read_table(tmp_path / "out" / "manifest.parquet")
    assert set(table["codec"].to_pylist()) == {"mpeg4", None}

    done = run_job(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 of them by an earlier run" in done.stdout

    settings = ("data.train.source=out/manifest.parquet", "data.max_bad_fraction=0.1", "training.epochs=1")
    done = run_job("train.py", str(recipe_file), *TWO_CPUS, *(word for text in settings for word in ("--set", text)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unreadable" in done.stdout
    assert "run jobs/prepare.py again" not in done.stdout


@pytest.mark.ray
def test_split_and_compare_with_what_was_split(run_job, motion8, tmp_path):
    splits = ("--split", "train=0.75,val=0.25", "--group-by", r"/(\d+)_")
    done = run_job("prepare.py", str(motion8 / "train.csv"), "out", *splits, *TWO_CPUS)
    assert done.returncode == 2, "no path has it"
    assert "--group-by, got" in done.stderr
    done = run_job("prepare.py", str(motion8 / "train.csv"), "out", *splits[:2], *TWO_CPUS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train: 18 rows of 8 classes" in done.stdout
    assert f"data.val.source={tmp_path}/out/val.parquet" in done.stdout
    assert parquet.read_table(tmp_path / "out" / "val.parquet").num_rows == 6
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"summary.json", "summary.png", "duplicates.csv", "fingerprints.parquet"} < there
    assert ".work" not in there

    seen = parquet.read_table(tmp_path / "out" / "val.parquet")["source_path"][0].as_py()
    rows = list(csv.DictReader((motion8 / "val.csv").read_text().splitlines()))
    rows = [row | {"path": str(motion8 / row["path"])} for row in rows]
    write_rows(tmp_path / "test.csv", [*rows, rows[0] | {"video_id": "again", "path": seen}])
    done = run_job("prepare.py", "test.csv", "second", "--against", "out/val.parquet", *TWO_CPUS)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 17 rows show what other lists show, see duplicates.csv" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_writes_nothing(call_job, videos, tmp_path):
    done = call_job("prepare.py", str(videos), "out", "--transcode", "--codec", "h264", "--dry-run", *TWO_CPUS)
    assert done.returncode == 0, done.stderr
    assert "25 rows" in done.stdout
    assert "h264 of short side 256" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere.csv", "out"), "nowhere.csv: no such file"),
        (("list.csv", "out", "--transcode", "--short-side", "2"), "short side, got 2 pixels"),
        (("list.csv", "out", "--set", "optimizer.lr=1"), "optimizer: no such field"),
        (("list.csv", "list.csv/out"), "cannot be written"),
        (("list.csv", "out", "--split", "train=0.8"), "it should be names with shares of sum 1"),
        (("list.csv", "out", "--against", "."), "--against .: got what holds no fingerprints"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(call_job, videos, words, told):
    done = call_job("prepare.py", *words, *TWO_CPUS)
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.ray
@pytest.mark.slow
def test_from_a_bucket_into_shards_in_it_and_train(bucket, motion8, run_job, recipe_file):
    client = boto3.client("s3")
    for path in [motion8 / "train.csv", *motion8.glob("videos/*/*.mp4")]:
        client.upload_file(str(path), bucket, f"set/{path.relative_to(motion8)}")
    words = ("prepare.py", f"s3://{bucket}/set/train.csv", f"s3://{bucket}/out", "--transcode", "--shards", *TWO_CPUS)
    for expected in ("prepared 24 of 24 videos; ", "prepared 24 of 24 videos, 24 of them by an earlier run; "):
        done = run_job(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert expected in done.stdout
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=bucket, Prefix="out/")["Contents"]]
    endings = sorted(Path(key).suffix for key in keys if not key.endswith("/"))
    assert endings == [".csv", ".csv", ".json", ".parquet", ".parquet", ".parquet", ".png"]
    settings = (f"data.train.source=s3://{bucket}/out/manifest.parquet", "training.epochs=1")
    done = run_job("train.py", str(recipe_file), *TWO_CPUS, *(word for text in settings for word in ("--set", text)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unreadable" not in done.stdout
