"""The videos of a place, listed once: page by page into files, so that a bucket of any size has a fixed denominator."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs
from uuid import uuid4

import pyarrow as pa
from pyarrow import parquet
from pyarrow.fs import FileSelector, FileType

from kinoray.data.manifest import absolute, check_ids, shown
from kinoray.data.output import WORK, OutputFolder
from kinoray.data.paths import parent_folder, rooted
from kinoray.data.sources import TABLE_SUFFIXES, VIDEO_SUFFIXES, read_table
from kinoray.errors import ConfigError, DataError
from kinoray.video.files import named_failures, without_passwords
from kinoray.video.stores import file_system, local_path

LISTING_SCHEMA = pa.schema(
    [("video_id", pa.string()), ("uri", pa.string()), ("etag", pa.string()), ("bytes", pa.int64())]
)
"""``video_id`` is unique: the place below the root that was listed, or a manifest's own. ``etag`` changes with the
content, where a store gives one; ``bytes`` is null where it is not known."""

JOB = "_job.json"
FOLDER = "_listing"
SUCCESS = f"{FOLDER}/_SUCCESS"
SHARDS_PER_PART = 64
ROWS_AT_A_TIME = 65_536
"""Of a manifest, as Python's objects."""
_WILD = re.compile(r"[*\[]")
_OWN = (f"{FOLDER}/", f"{WORK}/", JOB)


class Listed(NamedTuple):
    """One video of a place, a row of ``LISTING_SCHEMA``."""

    video_id: str
    uri: str
    etag: str
    num_bytes: int | None


@dataclass(frozen=True)
class Listing:
    """A frozen list in an output folder.

    Attributes:
        num_videos: of all.
        num_bytes: of those whose size is known.
        shard_rows: videos of one shard; the last has what is left.
        digest: of all rows.
        folder: of its parts, below the output folder; its own, so that two who list at the same time do not mix.
    """

    num_videos: int
    num_bytes: int
    shard_rows: int
    digest: str
    folder: str

    @property
    def num_shards(self) -> int:
        return -(-self.num_videos // self.shard_rows)

    def shard(self, output: OutputFolder, number: int) -> pa.Table:
        """The rows of one shard.

        Raises:
            DataError: they are not there.
            DecodeError: their store does not give them now.
            ResourceError: likewise.
        """
        part, group = divmod(number, SHARDS_PER_PART)
        name = _part_name(self.folder, part)
        file = output.open(name)
        if file is None:
            raise DataError(f"{output.path(name)}: missing; the list of videos is damaged, use another --out")
        with named_failures(output.path(name)), file:
            return parquet.ParquetFile(file).read_row_group(group)


def frozen_listing(place: str, output: OutputFolder, *, shard_rows: int) -> Listing:
    """The list that an earlier run froze, else a new one.

    Raises:
        DataError: the place cannot be listed, or there is no video in it.
        ConfigError: the place holds a secret, or is of no known kind.
    """
    known = output.read(SUCCESS)
    if known is not None:
        return Listing(**json.loads(known))
    digest, num_videos, num_bytes = hashlib.sha256(), 0, 0
    folder = f"{FOLDER}/{uuid4().hex}"
    own = tuple(output.path(name).partition("?")[0] for name in _OWN)
    videos = (video for video in list_videos(place) if not video.uri.startswith(own))
    for part in count():
        rows = list(islice(videos, shard_rows * SHARDS_PER_PART))
        if not rows:
            break
        columns = [
            pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), LISTING_SCHEMA.types, strict=True)
        ]
        with output.writing(_part_name(folder, part)) as file:
            parquet.write_table(
                pa.table(columns, schema=LISTING_SCHEMA), file, row_group_size=shard_rows, compression="zstd"
            )
        for row in rows:
            digest.update(f"{row.uri}\0{row.etag}\n".encode())
        num_videos += len(rows)
        num_bytes += sum(row.num_bytes or 0 for row in rows)
    if not num_videos:
        raise DataError(
            f"{without_passwords(place)}: no videos; looked for names that end with {', '.join(VIDEO_SUFFIXES)}, "
            "a pattern such as 'folder/**/*' takes others"
        )
    known = output.read(SUCCESS)  # another driver may have been faster
    if known is not None:
        return Listing(**json.loads(known))
    listing = Listing(num_videos, num_bytes, shard_rows, digest.hexdigest(), folder)
    output.write(SUCCESS, json.dumps(asdict(listing)).encode())
    return listing


def list_videos(place: str) -> Iterator[Listed]:
    """The videos of a folder, a prefix or a pattern in name order, or of a manifest in its own.

    Args:
        place: ``folder``, ``s3://bucket/prefix``, ``folder/**/*.mp4``, ``list.csv`` (a column ``path``), one video.

    Raises:
        DataError: it cannot be listed.
        ConfigError: it holds a secret, or is of no known kind.
    """
    check_place(place)
    if _is_manifest(place):
        return _of_manifest(place)
    found, pattern = _found(place)
    return (video for video in found if _is_wanted(video.video_id, pattern))


def check_listable(place: str, output: OutputFolder) -> None:
    """Ask for the first name of a place, if no earlier run has listed it: whoever may not list it hears so at once.

    A manifest is left alone, as it is read as a whole.

    Raises:
        DataError: it cannot be listed.
        ConfigError: it holds a secret, or is of no known kind.
    """
    check_place(place)
    if not _is_manifest(place) and output.read(SUCCESS) is None:
        next(_found(place)[0], None)


def _found(place: str) -> tuple[Iterator[Listed], re.Pattern[str] | None]:
    """What lies there, and which of it is wanted; None is all videos."""
    location, options = _parted(place)
    root, wanted = _root_and_pattern(location)
    pattern = None if wanted is None else _as_expression(wanted)
    if location.startswith("s3://"):
        return _of_bucket(root, options), pattern
    if local_path(location) is None:
        return _of_store(root, options), pattern
    return _of_folder(local_path(root) or "."), pattern


def _parted(place: str) -> tuple[str, str]:
    """Location, and the options of its store with their ``?``."""
    location, mark, options = place.partition("?") if "://" in place else (place, "", "")
    return location, mark + options


def _is_manifest(place: str) -> bool:
    return _parted(place)[0].lower().endswith(TABLE_SUFFIXES)


def check_place(place: str) -> None:
    """Raise a ConfigError where a place to list holds a secret."""
    if without_passwords(place) != place:
        raise ConfigError(
            f"--videos: holds a secret, got {without_passwords(place)}; every row would repeat it: give credentials by "
            "the environment (AWS_ACCESS_KEY_ID, ...)"
        )


def _of_manifest(place: str) -> Iterator[Listed]:
    table = read_table(place, {"video_id": pa.string(), "path": pa.string()})
    if "path" not in table.column_names:
        raise DataError(f"{place}: no column 'path'; it has {', '.join(table.column_names)}")
    paths = table["path"].cast(pa.string())
    if paths.null_count:
        raise DataError(f"{place}: column 'path' is empty in {paths.null_count} row(s)")
    ids = shown(table["video_id"].cast(pa.string()) if "video_id" in table.column_names else paths)
    check_ids(ids, place)
    uris = rooted(parent_folder(place), paths, place, lambda number: f"row {number + 1}")
    found = pa.table({"video_id": ids, "path": uris})
    for rows in found.to_batches(ROWS_AT_A_TIME):
        for video_id, uri in zip(rows["video_id"].to_pylist(), absolute(rows["path"]).to_pylist(), strict=True):
            yield Listed(video_id, uri, "", None)


def _of_folder(root: str) -> Iterator[Listed]:
    top = Path(root).resolve()
    with named_failures(root):
        if top.is_file():
            yield _local(top, top.name)
        else:
            yield from _below(top, "", (top,))


def _below(folder: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[Listed]:
    """Of a folder; ``above`` are the folders that it lies in and itself, to which a link may lead back."""
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names alone, of perhaps a million
        path = folder / name
        if path.is_dir():
            target = path.resolve() if path.is_symlink() else path
            if target not in above:
                yield from _below(path, f"{prefix}{name}/", (*above, target))
        elif path.is_file():
            yield _local(path, prefix + name)


def _local(path: Path, video_id: str) -> Listed:
    state = path.stat()
    return Listed(video_id, str(path), f"{state.st_mtime_ns:x}-{state.st_size:x}", state.st_size)


def _of_bucket(root: str, options: str) -> Iterator[Listed]:
    """Objects of S3, a thousand at a time; pyarrow would hold all of a prefix in memory, and gives no ETags."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    given = {name: values[0] for name, values in parse_qs(options.removeprefix("?")).items()}
    override = given.get("endpoint_override")
    endpoint = f"{given.get('scheme', 'https')}://{override}" if override and "://" not in override else override
    with _listing_failures(root, ClientError, BotoCoreError):
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=given.get("region"),
            config=Config(retries={"mode": "standard", "max_attempts": 6}, connect_timeout=5, read_timeout=30),
        )
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for item in page.get("Contents", ()):
                key, size = item["Key"], item["Size"]
                # One object is a prefix too, of others whose names go on.
                if not key.endswith("/") and (key == prefix or not prefix or prefix.endswith("/")):
                    name = key.removeprefix(prefix) or PurePosixPath(key).name
                    yield Listed(name, f"s3://{bucket}/{key}{options}", item["ETag"].strip('"'), size)


def _of_store(root: str, options: str) -> Iterator[Listed]:
    """Objects of other stores, folder by folder."""
    with named_failures(root):
        filesystem, base = file_system(root + options)
    scheme = root.partition("://")[0]
    folders = [base.rstrip("/")]
    while folders:
        with named_failures(root):
            entries: list[Any] = filesystem.get_file_info(FileSelector(folders.pop()))
        entries.sort(key=lambda entry: entry.path)
        folders += [entry.path for entry in reversed(entries) if entry.type == FileType.Directory]
        for entry in entries:
            if entry.type == FileType.File:
                name = entry.path[len(base) :].lstrip("/")
                yield Listed(
                    name, f"{scheme}://{entry.path}{options}", f"{entry.mtime_ns or 0:x}-{entry.size:x}", entry.size
                )


@contextmanager
def _listing_failures(root: str, *kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        why = " ".join(str(error).split())
        raise DataError(f"{root}: cannot be listed ({why}); check its name and the right to list it") from error


def _root_and_pattern(location: str) -> tuple[str, str | None]:
    """What to list, and which of its names; None is all videos."""
    wild = _WILD.search(location)
    if wild is None or os.path.lexists(location):  # a folder may be called [2020]
        is_whole = "://" not in location or location.lower().endswith(VIDEO_SUFFIXES)
        return location if is_whole else f"{location.rstrip('/')}/", None
    start = location.rfind("/", 0, wild.start()) + 1
    return location[:start], location[start:]


def _is_wanted(name: str, pattern: re.Pattern[str] | None) -> bool:
    return name.lower().endswith(VIDEO_SUFFIXES) if pattern is None else pattern.fullmatch(name) is not None


def _as_expression(pattern: str) -> re.Pattern[str]:
    """``**/`` stands for any folders, ``*`` and ``?`` for what is within a name, ``[abc]`` for one of some letters.

    Raises:
        ConfigError: it makes no sense.
    """
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^\]]+\])", pattern)
    text = "".join(known.get(part) or (_letters(part) if part.startswith("[") else re.escape(part)) for part in parts)
    try:
        return re.compile(text, re.DOTALL)
    except re.error as error:
        raise ConfigError(f"--videos: pattern, got '{pattern}' ({error}); letters read like [abc] or [a-z]") from error


def _letters(part: str) -> str:
    """``[abc]``, ``[a-z]``, ``[!abc]``; a bracket that none closes stands for itself."""
    if not part.endswith("]"):
        return re.escape(part)
    inner = part[1:-1]
    is_other = inner.startswith("!")
    letters = re.sub(r"[\\^\[&~|]", r"\\\g<0>", inner.removeprefix("!"))
    return f"(?!/)[{'^' * is_other}{letters}]"


def _part_name(folder: str, number: int) -> str:
    return f"{folder}/part-{number:06d}.parquet"
