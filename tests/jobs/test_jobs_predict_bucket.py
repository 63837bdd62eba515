"""Labels for a bucket of a real store: readers, models and the driver are killed, and the store itself fails."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import boto3
import pandas as pd
import psutil
import pytest
from flaky_store import FlakyStore

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT.parent / "shared" / "assets"
NUM_COPIES, NUM_BROKEN = 9, 40
"""Of the 40 videos of the demo set; and files that are no whole videos."""
SHARD = 8
SAME = ["video_id", "uri", "etag", "bytes", "status", "codec", "num_frames", "num_clips", "top_labels", "scores"]
_READER, _MODEL, _DRIVER = "Map", "Predictor", "driver"
_KILLED = [_READER, _MODEL, _MODEL, _DRIVER, _DRIVER]
_SEED = "KINORAY_CHAOS_SEED"
"""Names the variable that decides who is killed when; a failure tells its value."""
_START_SECONDS = 120
"""In which a job that was started, or whose worker was killed, is at work again."""


class Kill(NamedTuple):
    """Whom to kill, and when: so many seconds after so many shards are written."""

    whom: str
    num_shards: int
    seconds: float


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def store(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyStore]:
    proxy = FlakyStore(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    yield proxy
    proxy.stop()


@pytest.fixture
def videos(store: FlakyStore, motion8: Path) -> dict[str, bytes]:
    """What lies in the bucket below ``in/``, by name."""
    paths = sorted((motion8 / "videos").rglob("*.mp4"))
    whole = {f"{path.parent.name}-{path.name}": path.read_bytes() for path in paths}
    files = {f"{copy}/{name}": content for copy in range(NUM_COPIES) for name, content in whole.items()}
    files |= {f"broken/{index:02d}.mp4": _broken(index, list(whole.values())) for index in range(NUM_BROKEN)}
    if ASSETS.is_dir():
        files |= {f"real/{path.name}": path.read_bytes() for path in (ASSETS / "decoder_derived").glob("[!.]*")}
        files |= {f"real/{path.name}": path.read_bytes() for path in (ASSETS / "decoder").glob("ucf101*")}
    client = boto3.client("s3")
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda item: client.put_object(Bucket="videos", Key=f"in/{item[0]}", Body=item[1]), files.items())
        )
    store.requests.clear()
    return files


def _broken(index: int, whole: list[bytes]) -> bytes:
    """Of each kind several: empty, cut, another file, noise, changed bits, a playlist that names a file of the host."""
    content, dice = whole[index % len(whole)], random.Random(index)
    flipped = bytearray(content)
    for _ in range(200):
        flipped[dice.randrange(len(flipped))] ^= 1 << dice.randrange(8)
    kinds = [
        b"",
        content[: len(content) // 2],
        b"<html><body>503 Service Unavailable</body></html>",
        dice.randbytes(len(content)),
        bytes(flipped),
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        content[:-200],
        content[:64],
    ]
    return kinds[index % len(kinds)]


def _words(checkpoint: Path, out: str) -> list[str]:
    return [
        *("--model", str(checkpoint), "--videos", "s3://videos/in", "--out", f"s3://videos/{out}"),
        *(
            "--videos-per-shard",
            str(SHARD),
            "--scores",
            "all",
            "--set",
            "site.local_cpus=3",
            "--set",
            "site.decode_threads=0",
        ),
    ]


def _parts(out: str) -> dict[str, float]:
    """Shards that are written -> when."""
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket="videos", Prefix=f"{out}/part-")
    return {item["Key"]: item["LastModified"].timestamp() for page in pages for item in page.get("Contents", ())}


def _rows(out: str) -> pd.DataFrame:
    return pd.read_parquet(f"s3://videos/{out}/").sort_values("video_id", ignore_index=True)


def _kills(seed: int, num_shards: int) -> list[Kill]:
    """All within the first half of the shards: the job must be at work when it is struck."""
    dice = random.Random(seed)
    killed = dice.sample(_KILLED, len(_KILLED))
    moments = sorted(dice.sample(range(1, num_shards // 2), len(killed)))
    return [Kill(whom, moment, dice.random()) for whom, moment in zip(killed, moments, strict=True)]


def _kill(job: subprocess.Popen[bytes], whom: str) -> None:
    """SIGKILL for the driver, or for one process of its Ray whose name says that it is at such work."""
    if whom == _DRIVER:
        family = psutil.Process(job.pid).children(recursive=True)
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
        psutil.wait_procs(family, timeout=30)
        return
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and job.poll() is None:
        for process in psutil.Process(job.pid).children(recursive=True):
            try:
                if re.match(rf"ray::\w*{whom}", " ".join(process.cmdline())):
                    process.kill()
                    return
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.01)
    raise AssertionError(f"no process is at work as {whom}")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """``start(*words)``: the job, which does not outlive the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(ROOT / "jobs/predict.py"), *words]
        with (tmp_path / "killed.log").open("ab") as log:
            started.append(subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log))
        return started[-1]

    yield begin
    for job in started:
        if job.poll() is None:
            _kill(job, _DRIVER)


def test_kills_lose_and_repeat_nothing(checkpoint, videos, store, run_job, start, tmp_path):
    done = run_job("predict.py", *_words(checkpoint, "whole"))
    assert done.returncode == 0, done.stdout + done.stderr
    store.requests.clear()
    seed = int(os.environ.get(_SEED, "6"))
    kills = _kills(seed, len(_parts("whole")))
    print(f"{_SEED}={seed}: {kills} of {len(_parts('whole'))} shards")
    job = None
    for whom, num_shards, seconds in kills:
        job = job or start(*_words(checkpoint, "killed"))
        goal = max(num_shards, len(_parts("killed")) + 1)  # one at least since the last kill
        while len(_parts("killed")) < goal:
            assert job.poll() is None, (tmp_path / "killed.log").read_text()
            time.sleep(0.05)
        time.sleep(seconds)
        _kill(job, whom)
        job = None if whom == _DRIVER else job
    before = _parts("killed")
    assert len(before) < len(_parts("whole"))
    assert job is None or job.wait(240) == 0, (tmp_path / "killed.log").read_text()
    done = run_job("predict.py", *_words(checkpoint, "killed"))
    assert done.returncode == 0, done.stdout + done.stderr

    rows, whole = _rows("killed"), _rows("whole")
    assert len(rows) == len(videos) == rows["video_id"].nunique()
    assert set(rows["video_id"]) == set(videos)
    assert rows[SAME].to_json() == whole[SAME].to_json()
    after = _parts("killed")
    assert {name: after[name] for name in before} == before
    written = _when_written(store)
    assert len(written) == len(after)
    listed = sorted(videos)
    late = [
        each.path
        for each in store.requests
        if (name := each.path.removeprefix("/videos/in/")) != each.path
        and each.method == "GET"
        and each.passed
        and each.came > written[listed.index(name) // SHARD]
    ]
    assert late == []


def _when_written(store: FlakyStore) -> dict[int, float]:
    """Shard -> when it was there for the first time: whole, or in parts of which the store was told the last."""
    found: dict[int, float] = {}
    for each in store.requests:
        match = re.search(r"/killed/part-(\d+)\.parquet", each.path)
        is_whole = "partNumber=" not in each.query if each.method == "PUT" else "uploadId=" in each.query
        if match and each.method in ("PUT", "POST") and each.passed and is_whole:
            found.setdefault(int(match[1]), each.done)
    return found


def test_a_store_that_fails_now_and_then_loses_nothing(checkpoint, videos, store, run_job):
    store.busy, store.reset = 0.05, 0.01
    done = run_job("predict.py", *_words(checkpoint, "flaky"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(not each.passed for each in store.requests) > 10
    store.busy = store.reset = 0.0
    rows = _rows("flaky")
    assert set(rows["video_id"]) == set(videos)
    assert len(rows) == len(videos)
    assert set(rows["status"]) <= {"ok", "partial", "corrupt", "unsupported"}
    assert (rows["status"] == "ok").sum() >= NUM_COPIES * 40


def test_one_object_that_never_comes_is_a_row_and_a_store_that_is_away_ends_the_job(checkpoint, videos, store, run_job):
    words = [word.replace("s3://videos/in", "s3://videos/in/0") for word in _words(checkpoint, "away")]
    listed = sorted(name.removeprefix("0/") for name in videos if name.startswith("0/"))
    store.away = "/videos/in/0/"
    done = run_job("predict.py", *words, timeout_seconds=400)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "run the same command again when the store answers" in done.stderr
    assert not _parts("away")
    store.away = f"/videos/in/0/{listed[SHARD]}"
    done = run_job("predict.py", *words, timeout_seconds=400)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = _rows("away").set_index("video_id")
    assert sorted(rows.index) == listed
    assert rows.loc[rows["status"] != "ok", "status"].to_dict() == {listed[SHARD]: "missing"}
    assert "HTTP status 503" in rows.loc[listed[SHARD], "error"]


def test_a_prefix_that_is_denied_is_told_at_once(checkpoint, store, run_job):
    store.denied = "/videos"
    started = time.monotonic()
    done = run_job("predict.py", "--model", str(checkpoint), "--videos", "s3://videos/in", "--out", "out")
    assert time.monotonic() - started < 10  # of which less than one on an idle machine
    assert done.returncode == 2
    assert done.stderr.startswith("predict.py: s3://videos/in")
    assert "403" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(store.requests) == 1
