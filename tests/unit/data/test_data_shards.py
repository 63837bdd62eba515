"""Videos in one file: each read by itself, and the file by any tool."""

import io
import random

import pytest
from pyarrow import parquet

from kinoray.data import shards
from kinoray.data.shards import write_shard
from kinoray.errors import DecodeError
from kinoray.video.shards import is_shard_path, read_shard_video, shard_of


@pytest.fixture
def contents():
    """Of all sizes, some alike: one byte, or so many that one fills a row group."""
    draw = random.Random(0)
    sizes = [1, 70, 70, 5_000, 300_000, 5_000_000] * 4
    return [draw.randbytes(size) for size in sizes] + [bytes(100), bytes(100)]


@pytest.fixture
def written(contents, tmp_path):
    """A shard, and the paths of the videos in it."""
    path = tmp_path / "shard #1.parquet"
    with path.open("wb") as file:
        places = write_shard(file, ((f"{number}.mp4", content) for number, content in enumerate(contents)))
    return path, [f"{path}{place}" for place in places]


def test_each_video_is_read_by_itself(written, contents):
    _, paths = written
    assert all(is_shard_path(path) for path in paths)
    assert [read_shard_video(path) for path in paths] == contents


def test_any_tool_reads_the_file(written, contents):
    table = parquet.read_table(written[0])
    assert table["name"].to_pylist() == [f"{number}.mp4" for number in range(len(contents))]
    assert table["video"].to_pylist() == contents
    groups = parquet.ParquetFile(written[0]).metadata
    sizes = [groups.row_group(number).total_byte_size for number in range(groups.num_row_groups)]
    assert max(sizes) < shards.ROW_GROUP_BYTES + max(map(len, contents)) + 10_000


def test_a_shard_of_nothing():
    assert write_shard(io.BytesIO(), []) == []


@pytest.mark.parametrize(
    ("path", "shard"),
    [
        ("a/b.parquet#bytes=4-9", "a/b.parquet"),
        ("s3://bucket/b.parquet#bytes=4-9?region=x", "s3://bucket/b.parquet?region=x"),
        ("a/b.mp4", None),
        ("a/b.parquet", None),
        ("a/b.mp4#bytes=4-9", None),
        ("a/b.parquet#bytes=4-", None),
    ],
)
def test_paths(path, shard):
    assert is_shard_path(path) == (shard is not None)
    assert shard_of(path) == (shard or path)


def test_a_lost_shard_is_missing(written):
    path, paths = written
    path.unlink()
    with pytest.raises(DecodeError, match="no such file") as told:
        read_shard_video(paths[0])
    assert told.value.reason == "missing"


def test_a_cut_shard_says_what_to_do(written):
    path, paths = written
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DecodeError, match=r"run jobs/prepare.py again") as told:
        read_shard_video(paths[-1])
    assert told.value.reason == "index"
