"""A manifest: the videos of a split with checked labels, and the class names that belong to them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from kinoray.data.rows import MANIFEST_SCHEMA
from kinoray.data.sources import SourceConfig
from kinoray.errors import DataError

NUM_FILES_LOOKED_AT = 500


@dataclass(frozen=True)
class Manifest:
    """The videos of one split.

    Attributes:
        table: rows of ``MANIFEST_SCHEMA``; every label is in 0..K-1.
        classes: K names; index = label.
        where: what it was read from, for messages.
    """

    table: pa.Table
    classes: tuple[str, ...]
    where: str

    @property
    def num_videos(self) -> int:
        return int(self.table.num_rows)

    def digest(self) -> str:
        """12 hex digits of what is listed (ids, paths, labels, segments) in this order."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, MANIFEST_SCHEMA) as writer:
            writer.write_table(self.table.combine_chunks())
        return hashlib.sha256(sink.getvalue()).hexdigest()[:12]

    def path_of(self, video_id: str) -> str:
        """The path behind an id."""
        found = self.table.filter(pc.equal(self.table["video_id"], video_id))["path"]
        return str(found[0].as_py())


def load_manifest(source: SourceConfig, classes: Sequence[str] | None, *, split: str) -> Manifest:
    """Read a source and check it.

    Args:
        source: where the videos are listed.
        classes: the K class names; None derives them: sorted names, or indices up to the largest.
        split: name of the split, for messages.

    Raises:
        DataError: nothing is listed, an id is listed twice, or a label is no class.
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
    _refuse_duplicates(table["video_id"], where)
    return Manifest(table, names, where)


def read_classes(path: str) -> tuple[str, ...]:
    """Class names from a text file, one a line; line number = label.

    Raises:
        DataError: it is missing, empty, or names a class twice.
    """
    try:
        names = tuple(line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip())
    except OSError as error:
        raise DataError(f"data.classes: {path} cannot be read: {error.strerror}") from None
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or repeated:
        raise DataError(f"data.classes: {path} {'names ' + repeated[0] + ' twice' if repeated else 'names no class'}")
    return names


def check_files(manifest: Manifest, max_missing_fraction: float) -> None:
    """Look whether the local files exist, at up to 500 of them spread over the manifest.

    A few missing files are the business of reading, which reports them one by one; this catches a wrong root before
    anything starts.

    Raises:
        DataError: more than the fraction are missing.
    """
    paths = [path for path in manifest.table["path"].to_pylist() if "://" not in path]
    looked_at = paths[:: max(1, len(paths) // NUM_FILES_LOOKED_AT)]
    missing = [path for path in looked_at if not Path(path).exists()]
    if looked_at and len(missing) / len(looked_at) > max_missing_fraction:
        raise DataError(
            f"{manifest.where}: {len(missing)} of the {len(looked_at)} video files looked at do not exist, "
            f"the first is {missing[0]}; check the source's root, or raise data.max_bad_fraction "
            f"({max_missing_fraction:g})"
        )


def _derived_classes(labels: pa.ChunkedArray, where: str) -> tuple[str, ...]:
    if pa.types.is_integer(labels.type):
        largest = pc.max(labels).as_py()
        if largest is None:
            raise DataError(f"{where}: no row has a label")
        return tuple(str(index) for index in range(largest + 1))
    return tuple(sorted({str(name) for name in labels.to_pylist() if name is not None}))


def _label_indices(listing: pa.Table, classes: tuple[str, ...], where: str) -> pa.ChunkedArray:
    labels = listing["label"]
    if pa.types.is_integer(labels.type):
        indices = labels.cast(pa.int64())
        bad = pc.or_kleene(pc.is_null(indices), pc.or_(pc.less(indices, 0), pc.greater_equal(indices, len(classes))))
        expected = f"labels are 0..{len(classes) - 1}"
    else:
        indices = pc.index_in(labels.cast(pa.string()), value_set=pa.array(classes, pa.string())).cast(pa.int64())
        bad = pc.is_null(indices)
        shown = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
        expected = f"the {len(classes)} classes are {shown}"
    num_bad = pc.sum(pc.fill_null(bad, fill_value=True)).as_py()
    if num_bad:
        first = pc.index(pc.fill_null(bad, fill_value=True), value=True).as_py()
        raise DataError(
            f"{where}: row {first + 1} ({listing['video_id'][first].as_py()}) has label "
            f"{labels[first].as_py()!r}, {num_bad} such row(s) in all; {expected}"
        )
    return indices


def _refuse_duplicates(ids: pa.ChunkedArray, where: str) -> None:
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise DataError(
            f"{where}: video_id '{repeated[0]['values'].as_py()}' is listed {repeated[0]['counts'].as_py()} times "
            f"({len(repeated)} ids are repeated); give each row its own video_id"
        )
