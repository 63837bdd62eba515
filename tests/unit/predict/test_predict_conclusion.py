"""The end of a prediction: counts that add up, the videos without scores, and the file that says that it is all."""

import io
import json

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from kinoray.data.output import OutputFolder
from kinoray.errors import ResourceError
from kinoray.predict.conclusion import (
    MANIFEST,
    NUM_BAD_SHOWN,
    QUARANTINE,
    SUCCESS,
    conclude,
    shard_name,
    written_shards,
)
from kinoray.predict.listing import Listing
from kinoray.predict.table import COUNTS_KEY

STATUSES = ["ok", "corrupt", "partial", "ok", "missing", "ok", "ok"]
"""Of seven videos in shards of three."""


@pytest.fixture
def output(tmp_path):
    return OutputFolder(str(tmp_path))


def write(output, statuses=STATUSES, *, shard_rows=3):
    for number in range(-(-len(statuses) // shard_rows)):
        part = statuses[number * shard_rows : (number + 1) * shard_rows]
        first = number * shard_rows
        errors = ["" if status in ("ok", "partial") else f'{status}, "so to say"' for status in part]
        ids = [f"v{first + place}" for place in range(len(part))]
        table = pa.table(
            {"video_id": ids, "uri": ids, "status": part, "error": errors, "top_scores": [0.5] * len(part)}
        )
        counts = {status: part.count(status) for status in part}
        table = table.replace_schema_metadata({COUNTS_KEY: json.dumps(counts)})
        sink = io.BytesIO()
        parquet.write_table(table, sink)
        output.write(shard_name(number), sink.getvalue())


def listing(num_videos=7, shard_rows=3):
    return Listing(num_videos=num_videos, num_bytes=1, shard_rows=shard_rows, digest="d", folder="_listing")


def test_what_is_written_is_counted_and_what_has_no_scores_is_listed(output, tmp_path):
    write(output)
    assert written_shards(output) == [0, 1, 2]
    written = conclude(output, listing(), of_windows=False)
    assert written.counts | {"ok": 4, "partial": 1, "corrupt": 1, "missing": 1} == written.counts
    assert written.num_rows == 7
    assert [(bad.video_id, bad.status) for bad in written.bad] == [("v1", "corrupt"), ("v4", "missing")]
    quarantine = pd.read_csv(tmp_path / QUARANTINE)
    assert quarantine.to_dict("list") == {
        "video_id": ["v1", "v4"],
        "uri": ["v1", "v4"],
        "status": ["corrupt", "missing"],
        "error": ['corrupt, "so to say"', 'missing, "so to say"'],
    }
    assert parquet.read_table(tmp_path / MANIFEST)["num_rows"].to_pylist() == [3, 3, 1]
    assert json.loads((tmp_path / SUCCESS).read_text())["num_rows"] == 7
    assert len(pd.read_parquet(tmp_path)) == 7, "what is no row of a video is passed over"


def test_where_all_have_scores_the_list_is_empty(output, tmp_path):
    write(output, ["ok"] * 4)
    assert conclude(output, listing(4), of_windows=False).bad == ()
    assert pd.read_csv(tmp_path / QUARANTINE).columns.tolist() == ["video_id", "uri", "status", "error"]


def test_only_the_first_are_shown(output, tmp_path):
    write(output, ["corrupt"] * 30)
    assert len(conclude(output, listing(30), of_windows=False).bad) == NUM_BAD_SHOWN
    assert len(pd.read_csv(tmp_path / QUARANTINE)) == 30


@pytest.mark.parametrize("num_videos", [8, 9])
def test_rows_that_do_not_add_up_are_named(output, num_videos, tmp_path):
    write(output)
    due = num_videos - 6
    with pytest.raises(ResourceError, match=rf"part-000000002\.parquet: rows, got 1; the list of videos has {due}"):
        conclude(output, listing(num_videos), of_windows=False)
    assert not (tmp_path / SUCCESS).exists()
