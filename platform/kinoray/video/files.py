"""Where the bytes of a video come from: local paths, and whatever file systems pyarrow speaks."""

import re
import stat
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from pyarrow import ArrowException
from pyarrow.fs import FileSystem

from kinoray.errors import DecodeError

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def open_video_file(path: str) -> str | BinaryIO:
    """Make a path or URI ready for reading.

    A local path (or ``file://``) is checked and stays a path, so that FFmpeg reads only what it needs; an object in
    a store (``s3://bucket/key``, ``gs://...``) is fetched whole, in one request. What follows a ``?`` are options of
    the file system, as pyarrow defines them.

    Raises:
        DecodeError: reason ``missing``, ``denied``, ``empty`` or ``unreadable``.
    """
    try:
        if not _URI.match(path):
            return _check_local(path)
        if path.startswith("file://"):
            return _check_local(unquote(urlsplit(path).path))
        return _fetch(path)
    except FileNotFoundError as error:
        raise DecodeError(f"{path}: no such file", "missing") from error
    except PermissionError as error:
        raise DecodeError(f"{path}: no permission to read it", "denied") from error
    except (OSError, ArrowException, ValueError) as error:
        raise _store_error(path, error) from error


def _check_local(path: str) -> str:
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise DecodeError(f"{path}: not a regular file", "unreadable")
    with Path(path).open("rb") as file:
        if not file.read(1):
            raise DecodeError(f"{path}: the file is empty", "empty")
    return path


def _fetch(uri: str) -> BytesIO:
    location, _, options = uri.partition("?")
    scheme, _, rest = location.partition("://")
    bucket, _, key = rest.partition("/")
    # Only the bucket is parsed as a URI: keys hold blanks, '#' and '%' that are meant as they stand.
    filesystem, root = FileSystem.from_uri(f"{scheme}://{bucket}{'?' + options if options else ''}")
    with filesystem.open_input_file(f"{root.rstrip('/')}/{key}") as file:
        content = file.read()
    if not content:
        raise DecodeError(f"{uri}: the file is empty", "empty")
    return BytesIO(content)


def _store_error(path: str, error: Exception) -> DecodeError:
    """Stores report most failures as a plain OSError whose text alone tells what happened."""
    text = str(error)
    if re.search(r"ACCESS_DENIED|AccessDenied|Forbidden|HTTP status 40[13]", text, re.IGNORECASE):
        return DecodeError(f"{path}: no permission to read it ({text})", "denied")
    if re.search(r"NO_SUCH|NoSuch|NotFound|does not exist|HTTP status 404", text, re.IGNORECASE):
        return DecodeError(f"{path}: no such file ({text})", "missing")
    return DecodeError(f"{path}: cannot be fetched ({text})", "unreadable")
