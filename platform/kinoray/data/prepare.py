"""Videos made ready for training: looked into once, encoded anew if wanted, packed into shards if wanted.

What is found out about a video are its ``FACTS_SCHEMA``. They are kept in the output folder, so that a second run does
only what is missing.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from kinoray.config.base import Config
from kinoray.config.layers import Layered, override
from kinoray.config.problems import validate
from kinoray.data.fingerprints import content_digest, fingerprint
from kinoray.data.manifest import absolute, check_ids
from kinoray.data.output import OutputFolder
from kinoray.data.rows import GROUP
from kinoray.data.shards import MAX_VIDEO_BYTES, write_shard
from kinoray.data.sources import AnySource, ManifestSource
from kinoray.errors import ConfigError, DataError, DecodeError, ResourceError
from kinoray.video.decode import VideoReader
from kinoray.video.files import named_failures, open_video_file, without_passwords
from kinoray.video.shards import is_shard_path, read_shard_video, shard_of
from kinoray.video.transcode import Encoding, transcode

SHARD_BYTES = 256 << 20

FACTS_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("num_frames", pa.int64()),
        ("fps", pa.float64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("codec", pa.string()),
        ("num_bytes", pa.int64()),
        ("packet_index", pa.binary()),
        ("source_path", pa.string()),
        ("source_num_bytes", pa.int64()),
        ("content_digest", pa.string()),
        ("fingerprint", pa.binary()),
        ("prepared", pa.string()),
        ("error_reason", pa.string()),
        ("error", pa.string()),
    ]
)
"""``path`` is relative to the output folder, or that of the source. ``content_digest`` is of the source's bytes;
``fingerprint`` is that of ``data.fingerprints``; both are null where they were not wanted. ``prepared`` says what was
done, in words. Where ``error`` is not empty, nothing else is known but a word for it, ``error_reason``."""

Facts = dict[str, Any]
"""A row of ``FACTS_SCHEMA``."""


@dataclass(frozen=True)
class Preparation:
    """What is done to every video.

    Attributes:
        output: where results go.
        encoding: None leaves the videos as they are.
        in_shards: pack them.
        with_fingerprints: find out what tells whether two videos show the same.
    """

    output: OutputFolder
    encoding: Encoding | None = None
    in_shards: bool = False
    with_fingerprints: bool = True

    def describe(self) -> str:
        """What will be done, in words."""
        kept = self.encoding or "videos stay as they are"
        return f"{kept}{', in shards' if self.in_shards else ''}; output {without_passwords(self.output.root)}"

    def each(self, rows: Sequence[Facts]) -> list[Facts]:
        """``one`` of every ``source_path``."""
        return [self.one(row["source_path"]) for row in rows]

    def one(self, source_path: str) -> Facts:
        """Look into a video and encode it anew. Never raises for a bad video: its facts are the error.

        Raises:
            ResourceError: the output folder cannot be written.
        """
        try:
            source = _found(source_path)
            digest = content_digest(source) if self.with_fingerprints else None
            with VideoReader(source, name=without_passwords(source_path)) as video:
                of_source = {
                    "source_path": source_path,
                    "source_num_bytes": video.num_bytes,
                    "content_digest": digest,
                }
                if self.encoding is None:
                    return of_source | self._facts(source_path, video)
                content = transcode(video, self.encoding)
            name = output_name(source_path)
            self.output.write(name, content)
            with VideoReader(content, name=name) as result:
                return of_source | self._facts(name, result)
        except ResourceError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one video is a row, not the job's end
            return failed(source_path, error)

    def shard(self, rows: Sequence[Facts]) -> list[Facts]:
        """Pack videos, which are files so far, into one shard. A video that cannot be read is left out."""
        packed, broken = [], []

        def contents() -> Iterator[tuple[str, bytes]]:
            for facts in rows:
                try:
                    content = self._content(facts)
                except DataError as error:
                    broken.append(failed(facts["source_path"], error))
                    continue
                packed.append(facts)
                yield facts["path"], content

        name = f"shards/{_digest(*(facts['source_path'] for facts in rows))}.parquet"
        with self.output.writing(name) as file:
            places = write_shard(file, contents())
        return broken + [
            {**facts, "path": f"{name}{place}", "prepared": self.in_words(packed=True)}
            for facts, place in zip(packed, places, strict=True)
        ]

    def in_words(self, *, packed: bool) -> str:
        """What was done to a video, packed or not yet."""
        return f"{self.encoding or 'as it was'}{', in shards' if packed else ''}"

    def stands(self, facts: Facts, present: Mapping[str, int]) -> bool:
        """Whether an earlier run did what is wanted, or at least all but the packing, and it is still there.

        Args:
            facts: of the video.
            present: name -> bytes of all files in the output folder.
        """
        path, is_packed = facts["path"], facts["prepared"] == self.in_words(packed=True)
        if self.with_fingerprints and (facts["fingerprint"] is None or facts["content_digest"] is None):
            return False
        if path == facts["source_path"]:
            is_there = True
        elif is_shard_path(path):
            return self.in_shards and is_packed and shard_of(path) in present
        else:
            is_there = present.get(path) == facts["num_bytes"]
        return is_there and bool(facts["prepared"] == self.in_words(packed=False))

    def is_to_pack(self, facts: Facts) -> bool:
        """Whether a video is a file that is to go into a shard."""
        if facts["error"] or is_shard_path(facts["path"]):
            return False
        return bool(facts["num_bytes"] <= MAX_VIDEO_BYTES)

    def _content(self, facts: Facts) -> bytes:
        is_source = facts["path"] == facts["source_path"]
        source = _found(facts["path"] if is_source else self.output.path(facts["path"]))
        if isinstance(source, bytes):
            return source
        with named_failures(facts["path"]):
            return Path(source).read_bytes() if isinstance(source, str) else source.read()

    def _facts(self, path: str, video: VideoReader) -> Facts:
        """All that is not about the source."""
        return {
            "path": path,
            "num_frames": video.num_frames,
            "fps": video.fps,
            "width": video.width,
            "height": video.height,
            "codec": video.codec,
            "num_bytes": video.num_bytes,
            "packet_index": video.packet_index().to_bytes(),
            "fingerprint": fingerprint(video) if self.with_fingerprints else None,
            "prepared": self.in_words(packed=False),
            "error_reason": "",
            "error": "",
        }


class _Listed(Config):
    source: AnySource


def read_listing(source: str, overrides: Sequence[str] = (), *, group_column: str | None = None) -> pa.Table:
    """What a source lists, with absolute paths and labels as they are written.

    Args:
        source: as ``data.train.source`` of a recipe takes it.
        overrides: ``source.field=value``.
        group_column: of a manifest; becomes the column ``group``.

    Raises:
        ConfigError: it is no source, or it has no columns to choose from.
        DataError: the list cannot be used.
    """
    layered = override(Layered({}, {}), [f"source={source}", *overrides])
    lister = validate(_Listed, layered, f"SOURCE {source}").source
    if isinstance(lister, ManifestSource) and group_column is not None:
        lister = lister.model_copy(update={"group_column": group_column})
    listing = lister.read()
    if group_column is not None and GROUP.name not in listing.column_names:
        raise ConfigError(
            f"--group-by {group_column}: a column of a manifest, got {lister.describe()}, which has none; give a "
            "regular expression of the paths, such as '_g[0-9]+_'"
        )
    check_ids(listing["video_id"], lister.describe())
    index = listing.schema.get_field_index("path")
    return listing.set_column(index, "path", absolute(listing["path"]))


def failed(source_path: str, error: BaseException | str) -> Facts:
    """The facts of a video that cannot be read; the error is a text where its process died."""
    if isinstance(error, DecodeError):
        reason = error.reason
    else:
        reason = "crashed" if isinstance(error, str) else type(error).__name__
    shown = without_passwords(source_path)
    told = " ".join(str(error).split()) or type(error).__name__
    message = told if told.startswith(shown) else f"{shown}: {told}"
    known = {"path": source_path, "source_path": source_path, "prepared": "", "error_reason": reason, "error": message}
    return dict.fromkeys(FACTS_SCHEMA.names) | known


def output_name(source_path: str) -> str:
    """Where the video made of a source goes: named after it and its folder, and unlike that of any other source."""
    # Of a store, options of its file system follow; of a web server, what may tell one video from another.
    is_stored = "://" in source_path and not source_path.startswith("http")
    location = source_path.partition("?")[0] if is_stored else source_path
    shown = without_passwords(location)
    *_, folder, file = ["", *(shown.partition("?")[0] if "://" in shown else shown).split("/")]
    words = [re.sub(r"[^\w.+-]", "_", text)[:100] for text in (folder, file.rpartition(".")[0] or file)]
    return f"videos/{words[0] or '_'}/{words[1]}-{_digest(location)}.mp4"


def shard_groups(rows: Sequence[Facts], shard_bytes: int = SHARD_BYTES) -> list[list[Facts]]:
    """What goes into one shard each: videos of all kinds together, so that a shard read from end to end is mixed."""
    groups: list[list[Facts]] = []
    room = 0
    for facts in sorted(rows, key=lambda facts: _digest(facts["source_path"])):
        if room < facts["num_bytes"]:
            groups.append([])
            room = shard_bytes
        groups[-1].append(facts)
        room -= facts["num_bytes"]
    return groups


def _found(path: str) -> str | bytes | BinaryIO:
    """What a reader takes for a path."""
    return read_shard_video(path) if is_shard_path(path) else open_video_file(path)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
