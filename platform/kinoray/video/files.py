"""Where the bytes of a video come from: local paths, object stores, web servers."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from pyarrow import ArrowException

from kinoray.config.secrets import without_passwords as without_passwords  # noqa: PLC0414 - others take it from here
from kinoray.errors import DecodeError
from kinoray.video.ranged import RangedFile
from kinoray.video.stores import is_denied, is_missing, is_refused, local_path, open_stored
from kinoray.video.web import open_web

# A file of which everything is read comes soonest in one request; larger ones are read in pieces to bound memory.
WHOLE_BYTES = 64 << 20
# Of which little is read: three or four requests and 2 MB (see ranged.py) cost as much as 3 to 6 MB in one request,
# at 30 ms and 20 to 60 MB/s, and at 5 ms and 200 MB/s.
RANGED_WHOLE_BYTES = 4 << 20

_WEB = ("http://", "https://")
_SCHEMES = "s3://, gs://, abfs://, hdfs://, http(s)://, file:// or a path"


def open_video_file(path: str, *, ranged: bool = False, max_seconds: float = 600.0) -> str | BinaryIO:
    """Make a path or URI ready for reading.

    A local path (or ``file://``) is checked and stays a path, so that FFmpeg reads only what it needs; an object in
    a store (``s3://bucket/key``, ``gs://...``, ``https://...``) is fetched whole, in one request, or if it is large
    read in pieces as they are needed. What follows a ``?`` are options of the file system, as pyarrow defines them.

    Args:
        path: or URI.
        ranged: whether little of the file will be read, as with a packet index: pieces pay from smaller files on.
        max_seconds: that a web server may take to send it, or a piece of it.

    Raises:
        DecodeError: reason ``missing``, ``denied``, ``empty``, ``unavailable``, ``slow`` or ``unreadable``; so may
            reading what was opened.
    """
    with named_failures(path):
        local = local_path(path)
        if local is not None:
            return _check_local(local)
        whole_bytes = RANGED_WHOLE_BYTES if ranged else WHOLE_BYTES
        if path.startswith(_WEB):
            stored = open_web(path, whole_bytes, without_passwords(path), max_seconds)
        else:
            stored = open_stored(path, whole_bytes)
    if stored.num_bytes == 0:
        raise _empty(path)
    if stored.content is not None:
        return BytesIO(stored.content)

    def read_at(num_bytes: int, offset: int) -> bytes:
        with named_failures(path):
            return stored.read_at(num_bytes, offset)

    return cast("BinaryIO", RangedFile(read_at, stored.num_bytes))


def read_whole(path: str) -> bytes:
    """The content of a small file, see ``open_video_file``."""
    source = open_video_file(path)
    with named_failures(path):
        return Path(source).read_bytes() if isinstance(source, str) else source.read()


@contextmanager
def named_failures(path: str) -> Iterator[None]:
    """Turn what file systems raise into a DecodeError that names the path, without any password in it."""
    shown = without_passwords(path)
    try:
        yield
    except FileNotFoundError as error:
        raise DecodeError(f"{shown}: no such file", "missing") from error
    except PermissionError as error:
        raise DecodeError(f"{shown}: no permission to read it", "denied") from error
    except (OSError, ArrowException, ValueError) as error:
        text = str(error)
        if "Unrecognized filesystem type" in text:
            message = f"{shown}: where it lies, got an unknown scheme; it should be {_SCHEMES}"
            raise DecodeError(message, "unreadable") from None
        # Of a URI with a password the text may quote any part.
        told = "the reason may hold the password" if "://***@" in shown else without_passwords(text)
        if is_denied(text):
            raise DecodeError(f"{shown}: no permission to read it ({told})", "denied") from None
        if is_missing(text):
            raise DecodeError(f"{shown}: no such file ({told})", "missing") from None
        may_pass = isinstance(error, OSError) and local_path(path) is None and not is_refused(text)
        reason = "unavailable" if may_pass else "unreadable"
        raise DecodeError(f"{shown}: cannot be fetched ({told})", reason) from None


def _check_local(path: str) -> str:
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise DecodeError(f"{path}: not a regular file", "unreadable")
    with Path(path).open("rb") as file:
        if not file.read(1):
            raise _empty(path)
    return path


def _empty(path: str) -> DecodeError:
    return DecodeError(f"{without_passwords(path)}: the file is empty", "empty")
