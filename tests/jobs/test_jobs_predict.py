"""Labels for a bucket: a row for every video, once, however often it is interrupted."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

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


@pytest.fixture
def hanging() -> Iterator[tuple[str, list[float]]]:
    """A web server that sends its header a byte now and then, without end; and how long each client stood that."""
    stood: list[float] = []

    def answer(connection: socket.socket) -> None:
        started = time.monotonic()
        with connection, suppress(OSError):
            while True:
                connection.sendall(b"H")
                time.sleep(0.05)
        stood.append(time.monotonic() - started)

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=accept, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", stood


@pytest.mark.slow
@pytest.mark.parametrize("site", [(), ("--set", "site.local_cpus=3", "--set", "site.decode_threads=0")])
def test_what_hangs_ends_in_time_wherever_it_is_decoded(checkpoint, videos, hanging, run_job, tmp_path, site):
    server, stood = hanging
    listed = [f"{server}/{number}.mp4" for number in range(2)] + sorted(map(str, videos.rglob("*.mp4")))[:6]
    (tmp_path / "list.csv").write_text("\n".join(["path", *listed]))
    limit = ("--timeout-seconds", "2")
    done = run_job("predict.py", *words(checkpoint, "list.csv", "out"), *limit, *site)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(tmp_path / "out").set_index("video_id")
    assert sorted(rows.index) == sorted(listed)
    assert rows.loc[listed[:2], "status"].tolist() == ["timeout"] * 2
    assert (rows.loc[listed[2:], "status"] == "ok").sum() >= 4
    assert stood
    assert max(stood) < 2 + 2


def test_a_place_that_was_wrong_claims_nothing(checkpoint, call_job, tmp_path):
    done = call_job("predict.py", *words(checkpoint, tmp_path / "nowhere", "out"))
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert not (tmp_path / "out" / "_job.json").exists()


def test_another_model_is_not_mixed_in(checkpoint, videos, call_job, tmp_path):
    (tmp_path / "out").mkdir()
    known = {"videos": str(videos), "model_id": "another", "top": 5, "scores": "all", "embeddings": False}
    (tmp_path / "out" / "_job.json").write_text(json.dumps(known))
    done = call_job("predict.py", *words(checkpoint, videos, "out"))
    assert done.returncode == 2
    assert "holds predictions of something else" in done.stderr
    assert "model_id another" in done.stderr
