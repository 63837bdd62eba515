"""A manifest: the videos of a split with checked labels, and the class names that belong to them."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from kinoray.data.rows import MANIFEST_SCHEMA, with_reading_columns
from kinoray.data.sources import SourceConfig
from kinoray.errors import DataError
from kinoray.video.shards import shard_of

NUM_FILES_LOOKED_AT = 500


@dataclass(frozen=True)
class Manifest:
    """The videos of one split.

    Attributes:
        table: rows of ``MANIFEST_SCHEMA``; every label is in 0..K-1. Those of ``READING_COLUMNS`` that the source has
            follow.
        classes: K names; index = label.
        split: ``train``, ``val`` or ``test``.
        source: what it was read from, in words.
    """

    table: pa.Table
    classes: tuple[str, ...]
    split: str
    source: str

    @property
    def where(self) -> str:
        """Split and source, for messages."""
        return f"{self.split} data {self.source}"

    @property
    def num_videos(self) -> int:
        return int(self.table.num_rows)

    def digest(self) -> str:
        """12 hex digits of what is listed (ids, paths, labels, segments) in this order."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, MANIFEST_SCHEMA) as writer:
            writer.write_table(self.table.select(MANIFEST_SCHEMA.names).combine_chunks())
        return hashlib.sha256(sink.getvalue()).hexdigest()[:12]

    def absolute(self) -> "Manifest":
        """The same with absolute paths: readers on other nodes, or in other folders, find the same files."""
        index = self.table.schema.get_field_index("path")
        return replace(self, table=self.table.set_column(index, "path", absolute(self.table["path"])))

    def path_of(self, video_id: str) -> str:
        """The path behind an id."""
        found = self.table.filter(pc.equal(self.table["video_id"], video_id))["path"]
        return str(found[0].as_py())


def absolute(paths: pa.ChunkedArray) -> pa.Array:
    """Local paths as they are from any folder; URIs stay."""
    return pa.array([path if "://" in path else str(Path(path).absolute()) for path in paths.to_pylist()], pa.string())


def load_manifest(source: SourceConfig, classes: Sequence[str] | None, *, split: str) -> Manifest:
    """Read a source and check it.

    Args:
        source: where the videos are listed.
        classes: the K class names; None derives them: sorted names, or indices up to the largest.
        split: name of the split, for messages.

    Raises:
        DataError: nothing is listed, an id is missing or listed twice, a label is no class, or a segment has no length.
    """
    listing = source.read()
    where = f"{split} data {source.describe()}"
    if listing.num_rows == 0:
        raise DataError(f"{where}: lists no video; check its path and its where/where_not conditions")
    names = tuple(classes) if classes is not None else _derived_classes(listing["label"], where)
    columns = {
        "video_id": listing["video_id"].cast(pa.string()),
        "path": listing["path"],
        "label": _label_indices(listing, names, where),
    }
    for name in ("start_seconds", "end_seconds"):
        present = name in listing.column_names
        columns[name] = listing[name] if present else pa.nulls(listing.num_rows, pa.float64())
    table = pa.table(columns, schema=MANIFEST_SCHEMA)
    table = with_reading_columns(table, listing)
    _check_ids(table["video_id"], where)
    _check_segments(table, where)
    return Manifest(table, names, split, source.describe())


def read_classes(path: str) -> tuple[str, ...]:
    """Class names from a text file, one a line; line number = label.

    Raises:
        DataError: it is missing, empty, or names a class twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"data.classes: {path} cannot be read: {why}; it should hold a class name a line") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise DataError(f"data.classes: {path} names no class; it should hold a class name a line")
    if repeated := repeated_name(names):
        raise DataError(f"data.classes: {path} names '{repeated}' twice; each class has a line of its own")
    return names


def repeated_name(names: Sequence[str]) -> str | None:
    """The first name that is there more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def check_files(manifest: Manifest, max_missing_fraction: float) -> None:
    """Look whether the local files exist, at up to 500 of them spread over the manifest.

    A few missing files are the business of reading, which reports them one by one; this catches a wrong root before
    anything starts.

    Raises:
        DataError: more than the fraction are missing.
    """
    paths = [shard_of(path) for path in manifest.table["path"].to_pylist() if "://" not in path]
    looked_at = paths[:: -(-len(paths) // NUM_FILES_LOOKED_AT) or 1]
    missing = [path for path in looked_at if not Path(path).exists()]
    if looked_at and len(missing) / len(looked_at) > max_missing_fraction:
        raise DataError(
            f"{manifest.where}: {len(missing)} of the {len(looked_at)} video files looked at do not exist, "
            f"the first is {missing[0]}; check the source's root, or raise data.max_bad_fraction "
            f"({max_missing_fraction:g})"
        )


def _derived_classes(labels: pa.ChunkedArray, where: str) -> tuple[str, ...]:
    if labels.null_count == len(labels):
        raise DataError(f"{where}: no row has a label; each row needs a class name or index")
    if pa.types.is_integer(labels.type):
        return tuple(str(index) for index in range(pc.max(labels).as_py() + 1))
    return tuple(sorted({str(name) for name in labels.to_pylist() if name is not None}))


def _label_indices(listing: pa.Table, classes: tuple[str, ...], where: str) -> pa.ChunkedArray:
    labels = listing["label"]
    is_integer = pa.types.is_integer(labels.type)
    if not (is_integer or pa.types.is_string(labels.type) or pa.types.is_null(labels.type)):
        raise DataError(f"{where}: labels, got {labels.type}; they are class names or whole numbers")
    # Where classes are called "7" or "12", numbers are names: digits alone do not tell which is meant.
    are_named = any(name.isdecimal() and name != str(index) for index, name in enumerate(classes))
    if is_integer and not are_named:
        indices = labels.cast(pa.int64())
        within = pc.and_(pc.greater_equal(indices, 0), pc.less(indices, len(classes)))
        expected = f"labels are 0..{len(classes) - 1}"
    else:
        indices = pc.index_in(labels.cast(pa.string()), value_set=pa.array(classes, pa.string())).cast(pa.int64())
        within = pc.is_valid(indices)
        shown = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
        expected = f"the {len(classes)} classes are {shown}"
    bad = pc.invert(pc.fill_null(within, fill_value=False))
    if num_bad := pc.sum(bad).as_py():
        first = pc.index(bad, value=True).as_py()
        got = labels[first].as_py()
        raise DataError(
            f"{where}: {_row(listing, first)} has {'no label' if got is None else f'label {got!r}'}, "
            f"{num_bad} such row(s) in all; {expected}"
        )
    return indices


def _check_ids(ids: pa.ChunkedArray, where: str) -> None:
    if ids.null_count:
        raise DataError(
            f"{where}: {ids.null_count} row(s) have no video_id; give each row its own, or leave the column out"
        )
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise DataError(
            f"{where}: video_id '{repeated[0]['values'].as_py()}' is listed {repeated[0]['counts'].as_py()} times "
            f"({len(repeated)} ids are repeated); give each row its own video_id"
        )


def _check_segments(table: pa.Table, where: str) -> None:
    """Comparison with NaN is false, so that it is refused as well."""
    start, end = table["start_seconds"], table["end_seconds"]
    begins = pc.fill_null(pc.and_(pc.is_finite(start), pc.greater_equal(start, 0.0)), fill_value=True)
    ends = pc.fill_null(pc.greater(end, pc.fill_null(start, 0.0)), fill_value=True)
    first = pc.index(pc.and_(begins, ends), value=False).as_py()
    if first >= 0:
        raise DataError(
            f"{where}: {_row(table, first)} lasts from {start[first].as_py()} to {end[first].as_py()} seconds; "
            "it should end after it starts, at 0 or later"
        )


def _row(table: pa.Table, number: int) -> str:
    return f"row {number + 1} ({table['video_id'][number].as_py()})"
