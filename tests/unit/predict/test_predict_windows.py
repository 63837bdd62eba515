"""Long videos are cut to their very end, whatever the container says of their length, and no further."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from kinoray.data.views import EvalView
from kinoray.errors import DecodeError
from kinoray.predict.listing import LISTING_SCHEMA
from kinoray.predict.scoring import Scored
from kinoray.predict.tally import Tally
from kinoray.predict.windows import VideoAccess, Window, window_outcomes
from kinoray.video.array_video import ArrayVideo

VIEW = EvalView(sampling={"clip_len": 2}, crop=8)


def video_of(seconds, *, stated_fps=10.0):
    """Ten frames a second."""
    num_frames = round(seconds * 10)
    video = ArrayVideo(np.zeros((num_frames, 8, 8, 3), np.uint8), fps=stated_fps)
    video.pts_seconds = np.arange(num_frames) / 10
    return video


def scored(videos, window, guard=nullcontext, batch_size=4):
    """Rows, and what all of them took."""
    table = pa.table(
        [list(videos), [f"{name}.mp4" for name in videos], [""] * len(videos), [1] * len(videos)],
        schema=LISTING_SCHEMA,
    )

    def score(clips):
        return Scored(np.zeros((len(clips), 3), np.float32), None, 0.0)

    score.device = torch.device("cpu")
    access = VideoAccess(lambda row: videos[row["video_id"]], lambda _: guard())
    rows, total = [], Tally()
    for some, tally in window_outcomes(
        table, VIEW, window, access, score, batch_size=batch_size, num_clips=1, num_threads=2
    ):
        rows += some
        total += tally
    return rows, total


@pytest.mark.parametrize("stated_fps", [9.9, 10.0, 10.1])
def test_windows_reach_the_end(stated_fps):
    rows, total = scored({"long": video_of(100, stated_fps=stated_fps)}, Window(1.0, 1.0))
    assert [(row.start_seconds, row.status) for row in rows[:-1]] == [
        (float(index), "ok") for index in range(len(rows) - 1)
    ]
    assert rows[-1].end_seconds == pytest.approx(100, abs=0.01)
    assert {row.status for row in rows} == {"ok"}
    assert total.num_videos == 1


def test_windows_that_overlap_do_not_make_a_video_longer():
    rows, total = scored({"a": video_of(10), "b": video_of(0.5)}, Window(4.0, 1.0))
    assert [row.video_id for row in rows] == ["a"] * 10 + ["b"]
    assert rows[9].end_seconds == pytest.approx(10)
    assert (total.num_videos, total.video_seconds) == (2, pytest.approx(10.5))


def test_times_that_cannot_be_are_one_row():
    video = video_of(1)
    video.pts_seconds = np.array([*video.pts_seconds[:-1], 1e15])
    rows, _ = scored({"odd": video, "good": video_of(1)}, Window(1.0, 1.0))
    assert [(row.video_id, row.status) for row in rows] == [("odd", "corrupt"), ("good", "ok")]


def test_after_a_window_that_takes_too_long_none_is_read():
    calls = SimpleNamespace(number=0)

    def guard():
        calls.number += 1
        if calls.number == 2:
            raise DecodeError("hung.mp4: not read within 1 seconds", "slow")
        return nullcontext()

    rows, _ = scored({"hung": video_of(10)}, Window(1.0, 1.0), guard)
    assert [row.status for row in rows] == ["ok"] + ["timeout"] * 9
    assert calls.number == 2
