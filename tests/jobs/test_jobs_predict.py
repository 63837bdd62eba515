"""Labels for a bucket: a row for every video, once, however often it is interrupted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARDS = ("--videos-per-shard", "8", "--scores", "all", "--set", "site.local_cpus=2")


@pytest.fixture
def videos(motion8, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(motion8 / "videos", folder)
    (folder / "broken.mp4").write_bytes(b"no video at all")
    (folder / "empty.mp4").touch()
    return folder


def rows_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder).sort_values("video_id", ignore_index=True)


def words(checkpoint, videos, out):
    return ("--model", str(checkpoint), "--videos", str(videos), "--out", out, *SHARDS)


def test_every_video_has_a_row(checkpoint, videos, run_job, tmp_path):
    done = run_job("predict.py", *words(checkpoint, videos, "out"), "--embeddings")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(tmp_path / "out")
    listed = sorted(str(path.relative_to(videos)) for path in videos.rglob("*.mp4"))
    assert rows["video_id"].tolist() == listed
    assert rows["status"].value_counts().to_dict() == {"ok": len(listed) - 2, "corrupt": 2}
    assert rows.set_index("video_id").loc[["broken.mp4", "empty.mp4"], "error"].str.contains("mp4").all()
    assert len(set(rows.loc[rows["status"] == "ok", "embedding"].map(len))) == 1
    success = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    assert success["num_videos"] == success["num_rows"] == sum(success["counts"].values()) == len(listed)


@pytest.mark.slow
def test_it_goes_on_after_a_kill(checkpoint, videos, run_job, tmp_path):
    done = run_job("predict.py", *words(checkpoint, videos, "whole"))
    assert done.returncode == 0, done.stdout + done.stderr
    command = [sys.executable, str(ROOT / "jobs/predict.py"), *words(checkpoint, videos, "killed")]
    job = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True)
    while not list((tmp_path / "killed").glob("part-*.parquet")):
        assert job.poll() is None
        time.sleep(0.02)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("part-*.parquet")}
    assert not (tmp_path / "killed" / "_SUCCESS").exists()
    done = run_job("predict.py", *words(checkpoint, videos, "killed"))
    assert done.returncode == 0, done.stdout + done.stderr
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("part-*.parquet")}
    assert all(after[name] == written for name, written in before.items())
    same = ["video_id", "status", "scores", "top_labels", "num_frames"]
    assert rows_of(tmp_path / "killed")[same].to_json() == rows_of(tmp_path / "whole")[same].to_json()


def test_another_model_is_not_mixed_in(checkpoint, videos, call_job, tmp_path):
    (tmp_path / "out").mkdir()
    known = {"videos": str(videos), "model_id": "another", "top": 5, "scores": "all", "embeddings": False}
    (tmp_path / "out" / "_job.json").write_text(json.dumps(known))
    done = call_job("predict.py", *words(checkpoint, videos, "out"))
    assert done.returncode == 2
    assert "holds predictions of something else" in done.stderr
    assert "model_id another" in done.stderr
