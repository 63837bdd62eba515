"""What is known of the videos of an output folder: kept while a run goes on, and written as its manifest at the end."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from kinoray.data.output import WORK
from kinoray.data.prepare import FACTS_SCHEMA, Facts, Preparation, output_name
from kinoray.errors import DataError
from kinoray.video.files import without_passwords
from kinoray.video.shards import is_shard_path
from kinoray.video.stores import file_system

MANIFEST = "manifest.parquet"
BAD_VIDEOS = "bad_videos.csv"
_NUM_LOOKING = 32


@dataclass(frozen=True)
class Prepared:
    """What an output folder holds after a run.

    Attributes:
        manifest: where its manifest is.
        bad_videos: where the list of videos that cannot be read is.
        num_videos: files that are listed, each counted once.
        num_kept: of them, done by an earlier run.
        errors: of those that cannot be read.
        num_frames: of the others.
        source_bytes: of the others, before.
        num_bytes: of the others, now.
    """

    manifest: str
    bad_videos: str
    num_videos: int
    num_kept: int
    errors: tuple[str, ...]
    num_frames: int
    source_bytes: int
    num_bytes: int


class Record:
    """The facts of all listed videos so far, begun with what earlier runs found out, finished or not.

    Args:
        preparation: what is done to the videos.
        listing: rows of a source, with absolute paths.

    Attributes:
        preparation: what is done to the videos.
        facts: of videos, by their ``source_path``.
        missing: videos that this run has to look into and to encode: new, changed, gone, bad before.

    Raises:
        DataError: the output folder holds what was made of other videos.
        ResourceError: it cannot be written.
    """

    def __init__(self, preparation: Preparation, listing: pa.Table) -> None:
        self.facts: dict[str, Facts] = {}
        self.preparation, self._output, self._listing = preparation, preparation.output, listing
        self._paths: list[str] = list(dict.fromkeys(listing["path"].to_pylist()))
        self._unsaved: list[Facts] = []
        self._output.write(f"{WORK}/begun", b"")  # better told now than after hours
        saved = sorted(name for name in self._output.sizes(WORK) if name.endswith(".parquet"))
        self._num_saved = len(saved)
        for name in [MANIFEST, *saved]:
            self.facts |= {row["source_path"]: row for row in self._read(name)}
        if self.facts and not any(path in self.facts for path in self._paths):
            raise DataError(
                f"{self._output.root}: holds what was made of other videos such as {next(iter(self.facts))}, got "
                f"{self._paths[0]}; give every list of videos a folder of its own"
            )
        self.missing = self._find_missing()

    def to_pack(self) -> list[Facts]:
        """Videos that are files and are to go into shards."""
        known = (self.facts[path] for path in self._paths)
        return [facts for facts in known if self.preparation.is_to_pack(facts)]

    def add(self, rows: Iterable[Facts]) -> None:
        """Take note of videos."""
        for row in rows:
            self.facts[row["source_path"]] = row
            self._unsaved.append(row)

    def save(self) -> None:
        """Keep what was added since, for a run that takes over."""
        if self._unsaved:
            table = pa.Table.from_pylist(self._unsaved, schema=FACTS_SCHEMA)
            self._write(f"{WORK}/facts-{self._num_saved:06d}.parquet", table)
            self._num_saved += 1
            self._unsaved.clear()

    def finish(self) -> Prepared:
        """Write the manifest and the list of bad videos, and remove what nobody needs any more.

        Raises:
            DataError: not one video can be read.
        """
        facts = pa.Table.from_pylist([self.facts[path] for path in self._paths], schema=FACTS_SCHEMA)
        is_bad = pc.not_equal(facts["error"], "")
        bad, good = facts.filter(is_bad), facts.filter(pc.invert(is_bad))
        report = BytesIO()
        csv.write_csv(bad.select(["source_path", "error"]), report)
        self._output.write(BAD_VIDEOS, report.getvalue())
        errors = tuple(bad["error"].to_pylist())
        if not good.num_rows:
            raise DataError(f"not one of the {len(errors)} videos can be read, the first: {errors[0]}")
        self._write_manifest(facts)
        self._clear()
        return Prepared(
            manifest=self._output.path(MANIFEST),
            bad_videos=self._output.path(BAD_VIDEOS),
            num_videos=facts.num_rows,
            num_kept=len(self._paths) - len(self.missing),
            errors=errors,
            num_frames=pc.sum(good["num_frames"]).as_py(),
            source_bytes=pc.sum(good["source_num_bytes"]).as_py(),
            num_bytes=pc.sum(good["num_bytes"]).as_py(),
        )

    def _find_missing(self) -> list[str]:
        present = self._output.sizes("")
        known = [path for path in self._paths if path in self.facts]
        stands = [path for path in known if self.preparation.stands(self.facts[path], present)]
        with ThreadPoolExecutor(_NUM_LOOKING) as pool:
            sizes = list(pool.map(_file_size, stands))
        before = [self.facts[path]["source_num_bytes"] for path in stands]
        done = {path for path, size, had in zip(stands, sizes, before, strict=True) if size == had}
        return [path for path in self._paths if path not in done]

    def _write_manifest(self, facts: pa.Table) -> None:
        place = {path: number for number, path in enumerate(self._paths)}
        listed = facts.take(pa.array([place[path] for path in self._listing["path"].to_pylist()]))
        columns = {name: self._listing[name] for name in self._listing.column_names if name != "path"}
        self._write(MANIFEST, pa.table(columns | {name: listed[name] for name in FACTS_SCHEMA.names}))

    def _clear(self) -> None:
        """Remove files whose videos lie in shards by now, and what only an unfinished run needs."""
        files = self._output.sizes("videos")
        for row in self.facts.values():
            if is_shard_path(row["path"]) and (name := output_name(row["source_path"])) in files:
                self._output.delete(name)
        self._output.clear_work()

    def _read(self, name: str) -> list[Facts]:
        content = self._output.read(name)
        if content is None:
            return []
        try:
            rows: list[Facts] = parquet.read_table(BytesIO(content), columns=FACTS_SCHEMA.names).to_pylist()
        except pa.ArrowException as error:
            raise DataError(
                f"{without_passwords(self._output.path(name))}: got a file that is not of prepared videos; give the "
                "output a folder of its own"
            ) from error
        return rows

    def _write(self, name: str, table: pa.Table) -> None:
        content = BytesIO()
        parquet.write_table(table, content, compression="zstd")
        self._output.write(name, content.getvalue())


def _file_size(path: str) -> int | None:
    """Bytes of a video file, None where it cannot be told."""
    try:
        if "://" not in path:
            return Path(path).stat().st_size
        filesystem, inner = file_system(path)
        size: int | None = filesystem.get_file_info(inner).size
    except (OSError, ValueError, pa.ArrowException):
        return None
    return size
