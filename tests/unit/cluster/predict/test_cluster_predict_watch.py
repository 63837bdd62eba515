"""Whatever a file brings about is the row of that file; what hangs ends with its process, whoever hears of it."""

import dataclasses
import json
import pickle
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from kinoray.cluster.predict import watch
from kinoray.cluster.predict.watch import GRACE_SECONDS, WatchedReader
from kinoray.data.reading import ClipReader
from kinoray.data.views import EvalView
from kinoray.errors import DecodeError, ResourceError
from kinoray.predict import away

VIEW = EvalView(sampling={"clip_len": 2}, crop=8)


class Desk:
    """Answers at once; counts how often it is asked."""

    def __init__(self, verdicts=()):
        self.num_asked = 0
        self.known = dict(verdicts)
        self.verdicts = SimpleNamespace(remote=self._verdicts)

    def _verdicts(self, shard):
        self.num_asked += 1
        return self.known

    def __reduce__(self):
        return Desk, (self.known,)


def reader_of(desk, seconds=60.0):
    return WatchedReader(ClipReader(VIEW, with_facts=True), 0, desk, False, seconds)


@pytest.fixture(autouse=True)
def without_ray(monkeypatch):
    monkeypatch.setattr(watch, "ray", SimpleNamespace(get=lambda answer, **_: answer))


@pytest.mark.parametrize(
    ("error", "reason"), [(MemoryError(), "memory"), (IndexError("7"), "damaged"), (DecodeError("x", "slow"), "slow")]
)
def test_what_a_file_brings_about_is_a_decode_error(error, reason):
    with pytest.raises(DecodeError) as caught, reader_of(Desk()).guard("odd.mp4"):
        raise error
    assert caught.value.reason == reason


def test_what_the_machine_lacks_is_no_property_of_a_file():
    with pytest.raises(ResourceError), reader_of(Desk()).guard("a.mp4"):
        raise ResourceError("no such backend")


def test_every_process_asks_once_what_is_not_to_be_read():
    reader = reader_of(Desk())
    for _ in range(2):
        with reader.guard("a.mp4"):
            pass
    assert reader.desk.num_asked == 1
    reader.desk.known = {"a.mp4": "slow"}
    repeated = pickle.loads(pickle.dumps(reader))
    row = {"video_id": "a.mp4", "path": "a.mp4", "position": 0, "clip_seed": 0, "label": -1}
    read = repeated.read_into(row, np.ones(VIEW.clip_shape(), np.uint8))
    assert "not read within its time" in read["error"]
    assert '"slow"' in read["facts"]


@pytest.mark.parametrize(
    ("lost", "others", "reason"),
    [
        ({"a"}, "bcd", "missing"),
        ({"a", "b"}, "bcd", "missing"),
        ({"a", "b", "c"}, "bcd", "unavailable"),
        ({"a"}, "", "unavailable"),
    ],
)
def test_a_video_that_a_store_never_gives_is_missing_where_it_gives_others(monkeypatch, lost, others, reason):
    tried = []

    def fetch(uri, **_):
        tried.append(uri)
        if uri[-1] in lost:
            raise DecodeError(f"{uri}: cannot be fetched", "unavailable")
        raise DecodeError(f"{uri}: not for you", "denied")  # this, too, is an answer

    monkeypatch.setattr(watch, "wait", lambda _: None)
    monkeypatch.setattr(watch, "open_video", fetch)
    monkeypatch.setattr(away, "open_video_file", fetch)
    monkeypatch.setattr("kinoray.data.reading.open_video", fetch)
    uris = (*(f"s3://videos/{name}" for name in others), "s3://others/x", "s3://videos/a")
    reader = dataclasses.replace(reader_of(Desk()), others=uris)
    row = {"video_id": "a", "path": "s3://videos/a", "position": 0, "clip_seed": 0, "label": -1}
    row |= {"start_seconds": None, "end_seconds": None}
    assert json.loads(reader.read_into(row, np.ones(VIEW.clip_shape(), np.uint8))["facts"])["reason"] == reason
    assert set(tried) == {"s3://videos/a", *uris[: len(others)]}
    assert tried[-1] == "s3://videos/a"  # after the others, for which the store may have come back
    tried.clear()
    with pytest.raises(DecodeError) as caught:
        reader.open({"video_id": "a", "uri": "s3://videos/a"})
    assert caught.value.reason == reason
    assert bool(tried) == (reason == "missing")  # else the job is over


def test_two_seconds_after_its_time_no_reader_hangs_any_more(monkeypatch):
    """Whatever the machine is busy with: this is the timer's own figure."""
    started, told = [], []

    class Timer(SimpleNamespace):
        def __init__(self, seconds, call, arguments):
            super().__init__(seconds=seconds, call=call, arguments=arguments, start=lambda: started.append(self))

        def cancel(self):
            started.remove(self)

    monkeypatch.setattr(watch.threading, "Timer", Timer)
    monkeypatch.setattr(watch.os, "_exit", told.append)
    desk = Desk()
    desk.convict = SimpleNamespace(remote=lambda *verdict: told.append(verdict))
    with reader_of(desk, seconds=5.0).guard("hung.mp4"):
        (timer,) = started
        assert 5 < timer.seconds < 5 + 2
        timer.call(*timer.arguments)
    assert told == [(0, "hung.mp4", "slow"), 1]
    assert not started


def test_web_servers_end_no_job(monkeypatch):
    tried = []

    def fetch(uri, **_):
        tried.append(uri)
        raise DecodeError(f"{uri}: cannot be fetched", "unavailable")

    monkeypatch.setattr(watch, "wait", lambda _: None)
    monkeypatch.setattr(watch, "open_video", fetch)
    monkeypatch.setattr(away, "open_video_file", fetch)
    reader = dataclasses.replace(reader_of(Desk()), others=("http://dead/b", "http://alive/c"))
    for name in ("dead/a", "alive/c"):
        tried.clear()
        with pytest.raises(DecodeError, match="cannot be fetched"):
            reader.open({"video_id": name, "uri": f"http://{name}"})
        assert tried == [f"http://{name}"] * (1 + len(watch.WAITS_SECONDS))


HANGS = """
import sys, time
from types import SimpleNamespace
from kinoray.cluster.predict import watch
def gone(*_, **__): raise RuntimeError("there is no desk any more")
watch.ray = SimpleNamespace(get=lambda answer, **_: answer() if callable(answer) else answer)
desk = SimpleNamespace(verdicts=SimpleNamespace(remote=lambda _: {}), convict=SimpleNamespace(remote=lambda *_: gone))
reader = watch.WatchedReader(None, 0, desk, False, 0.2)
assert "torch" not in sys.modules
print(time.time(), flush=True)
with reader.guard("hung.mp4"):
    time.sleep(60)
"""


def test_a_process_that_hangs_ends_though_its_desk_is_gone():
    done = subprocess.run(
        [sys.executable, "-c", HANGS],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 1, done.stderr
    assert time.time() - float(done.stdout) < 0.2 + GRACE_SECONDS + 2
