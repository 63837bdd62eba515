"""What is told of a preparation, where there is no terminal."""

import io

import pytest
from rich.console import Console

from kinoray.cli import preparing
from kinoray.cli.preparing import PreparingConsole
from kinoray.cluster.prepare import Stage
from kinoray.data.prepared import Prepared


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still until it is set."""
    clock = {"seconds": 100.0}
    monkeypatch.setattr(preparing.time, "monotonic", lambda: clock["seconds"])
    return clock


def test_progress_with_rate_and_time_left(now):
    text = io.StringIO()
    with PreparingConsole(Console(file=text, width=200)) as view:
        told = [("encoding", 100, 0), ("encoding", 140, 80), ("encoding", 150, 90)]
        told += [("packing", 200, 0), ("packing", 210, 500)]
        for stage, seconds, num_done in told:
            now["seconds"] = seconds
            view(Stage(stage, num_videos=1000, num_done=num_done, num_bad=int(stage == "encoding")))
    assert text.getvalue().splitlines() == [
        "encoding 80/1,000 videos, 2.0 videos/s, 1 bad, 0:07:40 left",
        "packing 500/1,000 videos, 50.0 videos/s, 0:00:10 left",
    ]


def test_the_end(now):
    text = io.StringIO()
    with PreparingConsole(Console(file=text, width=300)) as view:
        now["seconds"] += 65
        view.close(
            Prepared(
                manifest="out/[x]/manifest.parquet",
                bad_videos="out/[x]/bad_videos.csv",
                num_videos=20,
                num_kept=4,
                errors=tuple(f"[a]{number}.mp4: broken" for number in range(7)),
                num_frames=1300,
                source_bytes=10_000_000,
                num_bytes=15_000_000,
            )
        )
    lines = text.getvalue().splitlines()
    assert [line.strip() for line in lines[:6]] == [
        *(f"bad [a]{number}.mp4: broken" for number in range(5)),
        "... and 2 more",
    ]
    assert lines[6] == (
        "prepared 13 of 20 videos, 4 of them by an earlier run; 7 bad, listed in bad_videos.csv; "
        "1,300 frames, 10.0 MB became 15.0 MB (x1.50) in 0:01:05"
    )
    assert lines[7] == "data.train.source=out/[x]/manifest.parquet"
