"""What is known of the videos of an output folder: kept while a run goes on, and written as its manifest at the end."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from kinoray.data.duplicates import (
    FINGERPRINTS,
    Duplicates,
    Footage,
    find_duplicates,
    fingerprint_file,
    list_name,
    read_fingerprints,
)
from kinoray.data.output import WORK, OutputFolder
from kinoray.data.prepare import FACTS_SCHEMA, Facts, Preparation, output_name
from kinoray.data.splits import Division, classes_of
from kinoray.data.summary import Summary, read_splits, summarize
from kinoray.errors import DataError
from kinoray.video.files import without_passwords
from kinoray.video.shards import is_shard_path, num_bytes_in_shard, shard_of
from kinoray.video.stores import file_system

MANIFEST = "manifest.parquet"
BAD_VIDEOS, DUPLICATES, SUMMARY = "bad_videos.csv", "duplicates.csv", "summary.json"
LEAK = "leak"
"""A column of the manifest where another list was compared with: the id of its video that shows the same, or ""."""
_NUM_LOOKING = 32
_WIDE_SCHEMA = pa.schema(
    [field.with_type(pa.large_binary()) if pa.types.is_binary(field.type) else field for field in FACTS_SCHEMA]
)
"""Rows of one file repeat its packet index: together they may be more than the 2 GB that a binary column can hold."""
ALWAYS_KNOWN = {"path", "num_bytes", "source_path", "source_num_bytes", "prepared"}
"""What also manifests of older programs have; those of other makers lack some."""


@dataclass(frozen=True)
class Prepared:
    """What an output folder holds after a run.

    Attributes:
        output: the folder.
        manifests: where its manifest is, or those of its splits.
        num_videos: files that are listed, each counted once.
        num_kept: of them, done by an earlier run.
        errors: of those that cannot be read.
        source_bytes: of the others, before.
        summary: of all of them.
    """

    output: OutputFolder
    manifests: tuple[str, ...]
    num_videos: int
    num_kept: int
    errors: tuple[str, ...]
    source_bytes: int
    summary: Summary


class Record:
    """The facts of all listed videos so far, begun with what earlier runs found out, finished or not.

    Args:
        preparation: what is done to the videos.
        listing: rows of a source, with absolute paths.
        division: cuts the list into splits.
        others: lists that are to share no footage with this one.

    Attributes:
        preparation: what is done to the videos.
        facts: of videos, by their ``source_path``.
        missing: videos that this run has to look into and to encode: new, changed, gone, bad before.

    Raises:
        DataError: the output folder holds what was made of other videos.
        ResourceError: it cannot be written.
    """

    def __init__(
        self,
        preparation: Preparation,
        listing: pa.Table,
        *,
        division: Division | None = None,
        others: Sequence[Footage] = (),
    ) -> None:
        self.facts: dict[str, Facts] = {}
        self._division, self._others = division, others
        self.preparation, self._output, self._listing = preparation, preparation.output, listing
        if division is not None:
            division.groups(listing)  # better told now than after hours
        self._paths: list[str] = list(dict.fromkeys(listing["path"].to_pylist()))
        self._unsaved: list[Facts] = []
        self._output.write(f"{WORK}/begun", b"")  # likewise
        saved = sorted(name for name in self._output.sizes(WORK) if name.endswith(".parquet"))
        self._num_saved = len(saved)
        fingerprints = read_fingerprints(self._output.read(FINGERPRINTS))
        for row in self._read(MANIFEST):
            self.facts[row["source_path"]] = row | {"fingerprint": fingerprints.get(row["source_path"])}
        for name in saved:
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
        """Write the manifest and the reports, and remove what nobody needs any more.

        Raises:
            DataError: not one video can be read, or the list cannot be cut into the splits that are wanted.
        """
        facts = pa.Table.from_pylist([self.facts[path] for path in self._paths], schema=FACTS_SCHEMA)
        is_bad = pc.not_equal(facts["error"], "")
        bad, good = facts.filter(is_bad), facts.filter(pc.invert(is_bad))
        self._write_csv(BAD_VIDEOS, bad.select(["source_path", "error_reason", "error"]))
        errors = tuple(bad["error"].to_pylist())
        if not good.num_rows:
            raise DataError(f"not one of the {len(errors)} videos can be read, the first: {errors[0]}")
        rows = self._listed(facts)
        own = Footage.of(rows, list_name(self._output.root))
        duplicates = find_duplicates(own, self._others)
        kin = duplicates.kin[: duplicates.num_own]
        splits = None if self._division is None else self._division.split(self._listing, kin)
        summary = summarize(facts, classes_of(rows), duplicates, splits)
        self._output.write(FINGERPRINTS, fingerprint_file(facts))
        self._write_csv(DUPLICATES, duplicates.table(splits))
        manifests = self._write_manifests(rows, duplicates, splits)
        for name in read_splits(self._output.read(SUMMARY)) - set(manifests):
            self._output.delete(name)
        self._output.write(SUMMARY, summary.to_json())
        self._clear()
        return Prepared(
            output=self._output,
            manifests=tuple(self._output.path(name) for name in manifests),
            num_videos=facts.num_rows,
            num_kept=len(self._paths) - len(self.missing),
            errors=errors,
            source_bytes=pc.sum(good["source_num_bytes"]).as_py(),
            summary=summary,
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

    def _listed(self, facts: pa.Table) -> pa.Table:
        """The rows of the list with what is known of their files."""
        place = {path: number for number, path in enumerate(self._paths)}
        known = facts.cast(_WIDE_SCHEMA).take(pa.array([place[path] for path in self._listing["path"].to_pylist()]))
        columns = {name: self._listing[name] for name in self._listing.column_names if name != "path"}
        return pa.table(columns | {name: known[name] for name in FACTS_SCHEMA.names})

    def _write_manifests(self, rows: pa.Table, duplicates: Duplicates, splits: list[str] | None) -> list[str]:
        """Write the manifest of all rows and those of the splits; names of what training reads."""
        # Training reads the whole manifest; fingerprints would be most of it, so they are a file of their own.
        table = rows.drop_columns("fingerprint")
        if self._others:
            table = table.append_column(LEAK, pa.array(duplicates.leaks(), pa.string()))
        self._write(MANIFEST, table)
        if splits is None or self._division is None:
            return [MANIFEST]
        files = {name: f"{name}.parquet" for name in self._division.shares}
        for name, file in files.items():
            self._write(file, table.filter(pc.equal(pa.array(splits), name)))
        return list(files.values())

    def _clear(self) -> None:
        """Remove files whose videos lie in shards by now, and what only an unfinished run needs."""
        files = self._output.sizes("videos")
        for row in self.facts.values():
            if is_shard_path(row["path"]) and (name := output_name(row["source_path"])) in files:
                self._output.delete(name)
        self._output.clear_work()

    def _read(self, name: str) -> list[Facts]:
        """What an earlier run wrote; what it did not know, as it was an older program, is None."""
        content = self._output.read(name)
        if content is None:
            return []
        try:
            table = parquet.read_table(BytesIO(content))
            names = [name for name in FACTS_SCHEMA.names if name in table.column_names or name in ALWAYS_KNOWN]
            rows: list[Facts] = table.select(names).to_pylist()
        except (pa.ArrowException, KeyError) as error:
            raise DataError(
                f"{without_passwords(self._output.path(name))}: got a file that is not of prepared videos; give the "
                "output a folder of its own"
            ) from error
        return [dict.fromkeys(FACTS_SCHEMA.names) | row for row in rows]

    def _write_csv(self, name: str, table: pa.Table) -> None:
        content = BytesIO()
        csv.write_csv(table, content)
        self._output.write(name, content.getvalue())

    def _write(self, name: str, table: pa.Table) -> None:
        content = BytesIO()
        # Without Arrow's own schema, so that wide columns are read as what they were.
        parquet.write_table(table, content, compression="zstd", store_schema=False)
        self._output.write(name, content.getvalue())


def _file_size(path: str) -> int | None:
    """Bytes of a video file, None where it cannot be told."""
    try:
        if is_shard_path(path):
            return None if _file_size(shard_of(path)) is None else num_bytes_in_shard(path)
        if "://" not in path:
            return Path(path).stat().st_size
        filesystem, inner = file_system(path)
        size: int | None = filesystem.get_file_info(inner).size
    except (OSError, ValueError, pa.ArrowException):
        return None
    return size
