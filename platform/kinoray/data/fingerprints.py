"""What tells whether two videos show the same footage: a digest of their bytes, and small pictures at relative times.

The pictures survive what changes the bytes: another codec, size or frame rate, a small crop, ends that are cut off.
"""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from kinoray.errors import DecodeError
from kinoray.video.frames import Shot
from kinoray.video.video import Video

NUM_TIMES, SIDE = 24, 8
NUM_BYTES = NUM_TIMES * SIDE * SIDE
DIGEST_CHARS = 32


def content_digest(source: str | bytes | BinaryIO) -> str:
    """A name for the bytes of a video: equal where they are.

    Args:
        source: a local path, the content, or an open file, which is at its beginning again afterwards.
    """
    if isinstance(source, str):
        with Path(source).open("rb") as opened:
            return _digest(opened)
    if isinstance(source, bytes):
        return _digest(BytesIO(source))
    digest = _digest(source)
    source.seek(0)
    return digest


def fingerprint(video: Video) -> bytes:
    """Luma of 24 pictures of 8 x 8 pixels, each from the middle of a 24th of the video.

    Empty where too many of the pictures are damaged: such a video is like no other.
    """
    times = video.pts_seconds[0] + (np.arange(NUM_TIMES) + 0.5) / NUM_TIMES * video.duration_seconds
    try:
        (planes,) = video.read_planes([Shot(video.frames_at(times), size=(SIDE, SIDE))])
    except DecodeError:
        return b""
    return planes.data[:, : SIDE * SIDE].tobytes()


def pictures(fingerprints: list[bytes]) -> NDArray[np.uint8]:
    """``(N, 24, 64)``: N fingerprints, none of them empty, row by row."""
    return np.frombuffer(b"".join(fingerprints), np.uint8).reshape(-1, NUM_TIMES, SIDE * SIDE)


def _digest(file: BinaryIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_CHARS]  # type: ignore[arg-type]
