"""Videos that lie in a larger file, a shard, in one piece: ``shards/3f2a.parquet#bytes=4120-529873`` names one.

The numbers are those of its first and its last byte. ``data.shards`` writes shards.
"""

import os
import re
from functools import lru_cache
from pathlib import Path

from pyarrow import NativeFile

from kinoray.errors import DecodeError
from kinoray.video.files import named_failures, without_passwords
from kinoray.video.stores import file_system

_NUM_OPEN_SHARDS = 256
_PLACE = re.compile(r"(?P<file>.+\.parquet)#bytes=(?P<first>\d{1,15})-(?P<last>\d{1,15})(?P<options>\?.*)?")


def place_in_shard(first: int, num_bytes: int) -> str:
    """What follows a shard's name in the path of a video in it."""
    return f"#bytes={first}-{first + num_bytes - 1}"


def is_shard_path(path: str) -> bool:
    """Whether a path names a video in a shard."""
    return _PLACE.fullmatch(path) is not None


def shard_of(path: str) -> str:
    """The shard that a video lies in; the path itself where it is a file of its own."""
    place = _PLACE.fullmatch(path)
    return path if place is None else place["file"] + (place["options"] or "")


def num_bytes_in_shard(path: str) -> int:
    """How large the video is that a path in a shard names."""
    place = _PLACE.fullmatch(path)
    assert place is not None
    return int(place["last"]) - int(place["first"]) + 1


def read_shard_video(path: str) -> bytes:
    """The content of a video in a shard: one request, of no more than its bytes.

    Raises:
        DecodeError: as ``open_video_file``; reason ``index`` where the shard is another than the path is of.
    """
    place = _PLACE.fullmatch(path)
    assert place is not None
    first, num_bytes = int(place["first"]), num_bytes_in_shard(path)
    with named_failures(path):
        if "://" in path:
            content: bytes = _opened(shard_of(path), os.getpid()).read_at(num_bytes, first)
        else:
            with Path(place["file"]).open("rb") as shard:
                shard.seek(first)
                content = shard.read(num_bytes)
    if len(content) < num_bytes:
        raise DecodeError(f"{without_passwords(path)}: the shard ends before; run jobs/prepare.py again", "index")
    return content


@lru_cache(_NUM_OPEN_SHARDS)
def _opened(uri: str, process: int) -> NativeFile:
    """A shard in a store. Opening one asks for its size; done once in a process, this halves the requests."""
    del process  # a forked process needs connections of its own
    filesystem, path = file_system(uri)
    return filesystem.open_input_file(path)
