"""Preparing on a cluster: in parallel, with a crash costing one video, and not one result lost."""

import os
from pathlib import Path

import pytest
from pyarrow import parquet

from kinoray.cluster import prepare as module
from kinoray.cluster.prepare import prepare
from kinoray.data.output import OutputFolder
from kinoray.data.prepare import FACTS_SCHEMA, Preparation, read_listing
from kinoray.data.prepared import Record
from kinoray.errors import DataError, ResourceError
from kinoray.video.transcode import Encoding

pytestmark = pytest.mark.ray


def facts_of(number):
    return {**dict.fromkeys(FACTS_SCHEMA.names), "source_path": f"/v/{number}.mp4"}


def test_a_crash_costs_the_video_that_caused_it():
    def work(rows):
        if any(row["source_path"] == "/v/5.mp4" for row in rows):
            os._exit(1)
        return [{**row, "error": ""} for row in rows]

    tasks = [[facts_of(number) for number in range(start, start + 4)] for start in range(0, 12, 4)]
    done = [row for rows in module._done(tasks, work, num_cpus=2) for row in rows]
    errors = {row["source_path"]: row["error"] for row in done}
    assert sorted(errors) == sorted(f"/v/{number}.mp4" for number in range(12))
    assert [path for path, error in errors.items() if error] == ["/v/5.mp4"]
    assert errors["/v/5.mp4"] == f"/v/5.mp4: {module.CRASHED}"


def test_our_errors_arrive_as_they_were_raised():
    def work(rows):
        raise ResourceError("s3://bucket/x: cannot be written: full")

    with pytest.raises(ResourceError, match=r"cannot be written: full$") as told:
        list(module._done([[facts_of(0)]], work, num_cpus=1))
    assert type(told.value) is ResourceError


def test_all_videos_of_a_set(motion8, tmp_path):
    listing = read_listing(str(motion8 / "train.csv"))
    preparation = Preparation(OutputFolder(str(tmp_path / "out")), Encoding(), in_shards=True)
    stages = []
    done = prepare(Record(preparation, listing), num_cpus=2, listener=stages.append)
    assert (done.num_videos, done.num_kept, done.errors) == (24, 0, ())
    assert {stage.name for stage in stages} == {"encoding", "packing"}
    assert len([stage for stage in stages if stage.name == "encoding"]) > 1, "progress is told on the way"
    assert [(stage.num_done, stage.num_videos) for stage in stages][-1] == (24, 24)
    table = parquet.read_table(done.manifests[0])
    assert table["video_id"].to_pylist() == listing["video_id"].to_pylist()
    assert table["label"].to_pylist() == listing["label"].to_pylist()
    stages.clear()
    again = prepare(Record(preparation, listing), num_cpus=2, listener=stages.append)
    assert again.num_kept == 24
    assert stages == []
    assert parquet.read_table(done.manifests[0]).equals(table)


def test_what_was_done_before_an_error_is_kept(motion8, tmp_path):
    listing = read_listing(str(motion8 / "train.csv"))
    preparation = Preparation(OutputFolder(str(tmp_path / "out")))
    told = []

    def interrupt(stage):
        told.append(stage)
        if stage.num_done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(Record(preparation, listing), num_cpus=2, listener=interrupt)
    assert not Path(tmp_path / "out" / "manifest.parquet").exists()
    assert len(Record(preparation, listing).missing) == 24 - told[-1].num_done
    assert prepare(Record(preparation, listing), num_cpus=2, listener=told.append).num_kept >= 6


def test_where_no_video_is_good_the_work_failed_not_the_input(tmp_path):
    (tmp_path / "set" / "jump").mkdir(parents=True)
    (tmp_path / "set" / "jump" / "a.mp4").write_bytes(b"no video")
    record = Record(Preparation(OutputFolder(str(tmp_path / "out"))), read_listing(str(tmp_path / "set")))
    with pytest.raises(DataError, match="not one of the 1 videos can be read") as told:
        prepare(record, num_cpus=1, listener=lambda stage: None)
    assert told.value.at_work
