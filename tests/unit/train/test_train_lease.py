"""One process at a time trains a run: others are refused, and who was killed is in nobody's way."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kinoray.errors import ResourceError
from kinoray.train import lease as module
from kinoray.train.lease import FILE, leased

OWNER = """
import sys, time
sys.path.insert(0, {platform!r})
from kinoray.train import lease
lease.BEAT_SECONDS = 0.2
with lease.leased({folder!r}):
    print("owned", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(module, "STALE_SECONDS", 2.0)
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.1)


@pytest.fixture
def owner(tmp_path: Path) -> subprocess.Popen[str]:
    code = OWNER.format(platform=str(Path(__file__).parents[3] / "platform"), folder=str(tmp_path / "run"))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        yield process
        process.kill()


def take(folder: Path) -> None:
    with leased(str(folder)):
        assert (folder / FILE).is_file()


def test_it_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        take(tmp_path / "run")
        assert not (tmp_path / "run" / FILE).exists()


def test_a_second_one_is_refused(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=rf"run: this run is being trained by process {owner.pid} on .*; wait for"):
        take(tmp_path / "run")
    assert json.loads((tmp_path / "run" / FILE).read_text())["pid"] == owner.pid


def test_who_was_killed_is_in_nobodys_way(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    owner.kill()
    owner.wait()
    started = time.monotonic()
    take(tmp_path / "run")
    assert time.monotonic() - started < module.STALE_SECONDS, "a process of this machine need not be waited for"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_file_that_was_cut_off_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    take(tmp_path)


def test_another_machine_is_given_the_time_to_say_that_it_lives(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"host": "elsewhere", "pid": 1, "id": "x", "beat": 7}))
    started = time.monotonic()
    take(tmp_path)
    assert time.monotonic() - started >= module.STALE_SECONDS


def test_of_two_who_come_at_once_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_writes(seconds: float) -> None:
        (tmp_path / FILE).write_text(json.dumps({"host": "elsewhere", "pid": 1, "id": "x", "beat": 0}))

    monkeypatch.setattr(module.time, "sleep", other_writes)
    with pytest.raises(ResourceError, match="by process 1 on elsewhere"):
        take(tmp_path)
