import io
import random
from pathlib import Path

import pytest

from kinoray.errors import DecodeError
from kinoray.video.decode import VideoReader
from kinoray.video.ranged import RangedFile

CONTENT = random.Random(0).randbytes(10_000)


class Remote:
    """Bytes that are asked for in pieces; remembers (offset, num_bytes) of each."""

    def __init__(self, content=CONTENT):
        self.content = content
        self.requests = []

    def read_at(self, num_bytes, offset):
        self.requests.append((offset, num_bytes))
        return self.content[offset : offset + num_bytes]

    def open(self, block_bytes=100, max_request_bytes=800, kept_bytes=2000):
        return RangedFile(
            self.read_at,
            len(self.content),
            block_bytes=block_bytes,
            max_request_bytes=max_request_bytes,
            kept_bytes=kept_bytes,
        )


def test_reads_what_a_plain_file_reads():
    file, plain = Remote().open(), io.BytesIO(CONTENT)
    draw = random.Random(1)
    for _ in range(500):
        if draw.random() < 0.4:
            where = draw.choice([(draw.randrange(11_000), 0), (-draw.randrange(9_000), 2), (draw.randrange(300), 1)])
            assert file.seek(*where) == plain.seek(*where)
        size = draw.choice([1, 7, 100, 250, 3000])
        assert file.read(size) == plain.read(size)
        assert file.tell() == plain.tell()
    file.seek(9_000)
    assert file.read() == CONTENT[9_000:]
    file.seek(0)
    assert file.readall() == CONTENT
    part = bytearray(150)
    file.seek(9_900)
    assert file.readinto(part) == 100
    assert part[:100] == CONTENT[9_900:]
    assert file.readable()
    assert file.seekable()


def test_asks_for_more_while_read_in_order():
    remote = Remote()
    file = remote.open()
    while file.read(30):
        pass
    assert remote.requests[:5] == [(0, 100), (100, 200), (300, 400), (700, 800), (1500, 800)]
    assert sum(num_bytes for _, num_bytes in remote.requests) == len(CONTENT)


def test_asks_for_little_after_a_jump():
    remote = Remote()
    file = remote.open()
    for start in (0, 5_000, 9_950, 2_000):
        file.seek(start)
        file.read(10)
    assert remote.requests == [(0, 100), (5_000, 100), (9_900, 100), (2_000, 100)]


def test_never_asks_for_what_it_has():
    remote = Remote()
    file = remote.open()
    for start, size in ((500, 10), (100, 50), (200, 550), (100, 650)):
        file.seek(start)
        file.read(size)
    assert remote.requests == [(500, 100), (100, 100), (200, 200), (400, 100), (600, 100), (700, 200)]


def test_keeps_no_more_than_allowed():
    remote = Remote()
    file = remote.open(kept_bytes=800)
    file.read()
    remote.requests.clear()
    file.seek(9_300)
    file.read()
    assert remote.requests == []
    file.seek(0)
    file.read(10)
    assert remote.requests == [(0, 100)]


def test_a_file_that_was_replaced():
    remote = Remote()
    file = remote.open()
    remote.content = CONTENT[:50]
    with pytest.raises(OSError, match=r"50 of 100 bytes came from 0 on"):
        file.read(10)


def test_videos_can_be_read(movie, indices_of):
    remote = Remote(Path(movie).read_bytes())
    with VideoReader(remote.open(1024, 8192, 65536), name="far.mp4") as video:
        assert indices_of(video.read([50, 3, 17])) == [50, 3, 17]


def test_failures_reach_the_reader_of_a_video(movie):
    content = Path(movie).read_bytes()

    def read_at(num_bytes, offset):
        if offset > 0:
            raise DecodeError("far.mp4: the line was cut", "unreadable")
        return content[offset : offset + num_bytes]

    with pytest.raises(DecodeError, match=r"^far\.mp4: the line was cut$"):
        VideoReader(RangedFile(read_at, len(content), block_bytes=1024), name="far.mp4")
