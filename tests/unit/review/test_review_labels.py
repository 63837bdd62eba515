import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from kinoray.errors import DataError
from kinoray.review.labels import UNKNOWN, Labels, location

NO_TIME = np.array([np.nan])


def names_of(labels: Labels, uri: str, video_id: str, middle: float = np.nan) -> str | None:
    (number,) = labels.of([uri], [video_id], np.array([middle]))
    return None if number == UNKNOWN else labels.names[number]


def test_a_video_is_found_by_its_place_then_by_its_id(tmp_path):
    manifest = tmp_path / "labels.csv"
    manifest.write_text("video_id,path,label\na,videos/1.mp4,run\nb,s3://bucket/2.mp4,sit\nc,3.mp4,\n")
    labels = Labels.read(str(manifest), None)
    assert names_of(labels, f"{tmp_path}/videos/1.mp4", "other") == "run"
    assert names_of(labels, "s3://bucket/2.mp4?endpoint_override=localhost", "other") == "sit"
    assert names_of(labels, "elsewhere", "a") == "run"
    assert names_of(labels, f"{tmp_path}/videos/1.mp4", "b") == "run"  # what is there counts, ids may be anything
    assert names_of(labels, "elsewhere", "c") is None
    assert names_of(labels, "elsewhere", "z") is None


def test_windows_have_the_label_of_the_segment_around_their_middle(tmp_path):
    manifest = tmp_path / "labels.parquet"
    rows = {
        "path": ["/v.mp4", "/v.mp4", "/w.mp4"],
        "label": ["run", "sit", "jump"],
        "start_seconds": [0.0, 10.0, None],
        "end_seconds": [10.0, 20.0, None],
    }
    parquet.write_table(pa.table(rows), manifest)
    labels = Labels.read(str(manifest), None)
    assert [names_of(labels, "/v.mp4", "", middle) for middle in (2, 10, 25)] == ["run", "sit", None]
    assert names_of(labels, "/v.mp4", "") is None  # the whole video is of both
    assert names_of(labels, "/w.mp4", "", 3.0) == names_of(labels, "/w.mp4", "") == "jump"


def test_numbers_need_names(tmp_path):
    manifest = tmp_path / "labels.csv"
    manifest.write_text("path,label\n/1.mp4,2\n")
    assert names_of(Labels.read(str(manifest), ("jump", "run", "sit")), "/1.mp4", "") == "sit"
    with pytest.raises(DataError, match="--classes"):
        Labels.read(str(manifest), None)
    with pytest.raises(DataError, match="labels"):
        Labels.read(str(manifest), ("jump", "run"))


def test_options_and_secrets_are_no_part_of_a_place():
    assert location("s3://me:secret@bucket/a?b.mp4") == "s3://***@bucket/a"
    assert location("/a?b.mp4") == "/a?b.mp4"
