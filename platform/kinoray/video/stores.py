"""Object stores, through pyarrow: S3, Google, Azure, HDFS; folders of them and of this machine."""

import os
import re
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

from kinoray.video.ranged import StoredFile

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Where file systems find addresses and credentials that their URI does not give.
_SETTINGS = ("AWS_", "GOOGLE_", "CLOUDSDK_", "AZURE_", "STORAGE_EMULATOR_HOST", "HADOOP_", "ARROW_")
# Connecting costs 8 ms of CPU time, ten times as much as fetching a small object over an open connection.
_NUM_CONNECTIONS = 16
# Google's client would try again for a quarter of an hour. That of S3 does for six seconds.
_RETRY_SECONDS = 60


class Folder:
    """A folder of files, local or in a store.

    Args:
        path: or URI.

    Attributes:
        is_remote: whether each file costs requests.
    """

    def __init__(self, path: str) -> None:
        local = local_path(path)
        self.is_remote = local is None
        self._filesystem, self._path = file_system(path) if local is None else (LocalFileSystem(), local)
        self._path = self._path.rstrip("/")

    def sizes(self) -> dict[str, int]:
        """Bytes of each file that lies directly in it, by name.

        Raises:
            OSError: there is no such folder, or it cannot be listed.
        """
        entries: list[FileInfo] = self._filesystem.get_file_info(FileSelector(self._path))
        return {entry.base_name: entry.size for entry in entries if entry.type == FileType.File}

    def read(self, name: str) -> bytes:
        with self._filesystem.open_input_file(f"{self._path}/{name}") as file:
            content: bytes = file.read()
        return content


def local_path(path: str) -> str | None:
    """The path on this machine that a path or a ``file://`` URI means, None for other URIs."""
    if path.startswith("file://"):
        return unquote(urlsplit(path).path)
    return None if _URI.match(path) else path


def open_stored(uri: str, whole_bytes: int) -> StoredFile:
    """Open an object and fetch it in one request if it has at most ``whole_bytes``.

    Connections, and clients that try again where a store is busy or out of reach, are the file system's.

    Raises:
        OSError: of the file system.
        ArrowException: the URI cannot be understood.
    """
    filesystem, path = file_system(uri)
    file = filesystem.open_input_file(path)
    num_bytes: int = file.size()
    return StoredFile(num_bytes, file.read() if num_bytes <= whole_bytes else None, file.read_at)


def file_system(uri: str) -> tuple[FileSystem, str]:
    """The file system of a URI, connected, and the path in it."""
    location, _, options = uri.partition("?")
    scheme, _, rest = location.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme in {"gs", "gcs"} and "retry_limit_seconds=" not in options:
        options = f"{options}{'&' if options else ''}retry_limit_seconds={_RETRY_SECONDS}"
    settings = tuple((name, value) for name, value in os.environ.items() if name.startswith(_SETTINGS))
    # Only the bucket is parsed as a URI: keys hold blanks, '#' and '%' that are meant as they stand.
    filesystem, root = _connect(f"{scheme}://{bucket}{'?' + options if options else ''}", settings, os.getpid())
    return filesystem, f"{root.rstrip('/')}/{key}"


@lru_cache(_NUM_CONNECTIONS)
def _connect(uri: str, settings: tuple[tuple[str, str], ...], process: int) -> tuple[FileSystem, str]:
    """A file system for every user of this process that means the same by a URI; threads may share it."""
    del settings, process
    connected: tuple[FileSystem, str] = FileSystem.from_uri(uri)
    return connected


def is_denied(text: str) -> bool:
    """Whether a store says so; most failures are a plain OSError whose text alone tells what happened."""
    return bool(re.search(r"ACCESS_DENIED|AccessDenied|Forbidden|HTTP status 40[13]", text, re.IGNORECASE))


def is_missing(text: str) -> bool:
    """Whether a store says so, see ``is_denied``."""
    return bool(re.search(r"NO_SUCH|NoSuch|NotFound|does not exist|HTTP status 404", text, re.IGNORECASE))


def is_refused(text: str) -> bool:
    """Whether a store or web server says that asking again is of no use, see ``is_denied``."""
    return bool(re.search(r"(?:HTTP status|answers) 4(?!08|25|29)\d\d", text, re.IGNORECASE))
