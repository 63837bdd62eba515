"""Shards: many videos in one file of a store, each of them one ranged request away.

A shard is a Parquet file with the columns ``name`` and ``video``, which any tool can read from end to end. Its pages
are neither compressed nor encoded, so the bytes of a video lie in it in one piece, and a path can say where; see
``video.shards``.
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa
from pyarrow import parquet

from kinoray.video.shards import place_in_shard

MAX_VIDEO_BYTES = 1 << 30
"""A larger video stays a file of its own."""
ROW_GROUP_BYTES = 4 << 20
"""What a reader of the file as a table holds at a time."""

_SCHEMA = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("video", pa.binary(), nullable=False)])
_LENGTH_BYTES = 4


def write_shard(file: BinaryIO, videos: Iterable[tuple[str, bytes]]) -> list[str]:
    """Write videos into a new shard.

    Args:
        file: of the shard, at its start.
        videos: names and contents.

    Returns:
        Of every video, what follows the shard's name in its path.
    """
    copy = _Copy(file)
    places: list[str] = []
    with parquet.ParquetWriter(
        pa.PythonFile(copy, "w"), _SCHEMA, compression="none", use_dictionary=False, write_statistics=False
    ) as writer:
        for group in _row_groups(videos):
            start = copy.start_anew()
            names, contents = zip(*group, strict=True)
            writer.write_table(pa.table([names, contents], schema=_SCHEMA))
            end = 0
            for content in contents:
                # The writer does not tell where it puts a value: its length in four bytes, and then itself.
                head = len(content).to_bytes(_LENGTH_BYTES, "little") + content[:64]
                first = copy.recent.index(head, end) + _LENGTH_BYTES
                end = first + len(content)
                assert copy.recent[first:end] == content
                places.append(place_in_shard(start + first, len(content)))
    return places


def _row_groups(videos: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    group: list[tuple[str, bytes]] = []
    num_bytes = 0
    for video in videos:
        group.append(video)
        num_bytes += len(video[1])
        if num_bytes >= ROW_GROUP_BYTES:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group


class _Copy:
    """A file that passes on what is written to it, and keeps the latest."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._num_written = 0
        self.recent = bytearray()

    def start_anew(self) -> int:
        """Forget what was kept; where in the file the next byte comes."""
        self.recent.clear()
        return self._num_written

    def write(self, content: bytes) -> int:
        self._file.write(content)
        self.recent += content
        self._num_written += len(content)
        return len(content)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Whoever opened the file closes it."""
