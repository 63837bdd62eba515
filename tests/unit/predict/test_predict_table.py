"""A row for everything that can become of a video."""

from io import BytesIO

import numpy as np
import pytest
from pyarrow import parquet

from kinoray.data.rows import VideoFacts
from kinoray.predict.table import STATUSES, Outcome, Written, counts_of, status_of


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("missing", "missing"),
        ("denied", "denied"),
        ("slow", "timeout"),
        ("no_video", "unsupported"),
        ("empty", "corrupt"),
        ("damaged", "corrupt"),
    ],
)
def test_reasons_become_statuses(reason, status):
    assert status_of(VideoFacts(reason=reason), "it failed") == status
    assert status in STATUSES


def test_filled_frames_make_it_partial():
    assert status_of(VideoFacts(num_filled=1), "") == "partial"
    assert status_of(VideoFacts(num_filled=0), "") == "ok"


@pytest.mark.parametrize("with_times", [False, True])
def test_rows_of_good_and_bad_videos_are_of_one_table(with_times):
    written = Written(("left", "right", "up"), 2, True, True, with_times, "model", "views", "run")
    facts = VideoFacts(codec="h264", width=64, height=48, fps=25.0, duration_seconds=2.0, num_frames=50)
    scores, features = np.array([0.1, 0.7, 0.2], np.float32), np.ones(4, np.float32)
    good = Outcome("a", "a.mp4", "e", 10, "ok", "", facts, scores, features, num_clips=3)
    bad = Outcome("b", "b.mp4", "", None, "corrupt", "b.mp4: broken", VideoFacts(num_bytes=7))
    table = written.table([good, bad])
    with BytesIO() as file:
        parquet.write_table(table, file)
        table = parquet.read_table(BytesIO(file.getvalue()))
    assert ("start_seconds" in table.column_names) == with_times
    first, second = table.to_pylist()
    assert first["top_labels"] == ["right", "up"]
    assert first["top_scores"] == pytest.approx([0.7, 0.2])
    assert first["scores"] == pytest.approx([0.1, 0.7, 0.2])
    assert (second["top_labels"], second["scores"], second["embedding"], second["bytes"]) == ([], None, None, 7)
    assert counts_of(table.schema) == {"ok": 1, "corrupt": 1}
