"""Where annotated videos are listed: manifests in CSV, Parquet or JSON lines, a folder per class, the demo set.

A source reads only the list, never a video. Every annotation format is a source of its own; its ``read`` returns one
row per video (or per segment of one) and leaves labels as they are written: names or indices.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
from pyarrow import csv, json, parquet
from pydantic import BeforeValidator, Field

from kinoray.config.kinds import KindConfig, KindTable
from kinoray.errors import DataError

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp")
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json")
OPTIONAL_COLUMNS = {"video_id": pa.string(), "start_seconds": pa.float64(), "end_seconds": pa.float64()}

Scalar = str | int | float | bool


class SourceConfig(KindConfig):
    """A list of annotated videos."""

    def read(self) -> pa.Table:
        """Columns ``video_id path label start_seconds end_seconds``; ``label`` holds names (string) or indices.

        Raises:
            DataError: the list is missing, unreadable, empty, or lacks a column.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it is read")

    def describe(self) -> str:
        """Where the list comes from, in a few words."""
        raise NotImplementedError(f"{type(self).__name__} does not describe itself")


class ManifestSource(SourceConfig):
    """A table with a row per video: CSV, TSV, Parquet or JSON lines, told apart by the file's ending."""

    kind: str = "manifest"
    path: str
    """Local path or URI (s3://, gs://)."""
    root: str | None = None
    """Folder or URI that relative video paths start from; default: the manifest's own folder."""
    path_column: str = "path"
    label_column: str = "label"
    where: Mapping[str, tuple[Scalar, ...]] = {}
    """Keep only rows whose column holds one of the values, e.g. ``{fold: [1, 2]}``."""
    where_not: Mapping[str, tuple[Scalar, ...]] = {}
    """Drop rows whose column holds one of the values."""

    def describe(self) -> str:
        conditions = [f"{column} in {list(values)}" for column, values in self.where.items()]
        conditions += [f"{column} not in {list(values)}" for column, values in self.where_not.items()]
        return f"{self.path} ({', '.join(conditions)})" if conditions else self.path

    def read(self) -> pa.Table:
        table = read_table(self.path)
        for column, values in self.where.items():
            table = table.filter(_is_in(table, column, values, self.path))
        for column, values in self.where_not.items():
            table = table.filter(pc.invert(_is_in(table, column, values, self.path)))
        paths = _column(table, self.path_column, self.path).cast(pa.string())
        columns: dict[str, pa.ChunkedArray] = {
            "path": pa.chunked_array(
                [pa.array(_rooted(paths.to_pylist(), self.root or _parent(self.path)), pa.string())]
            ),
            "label": _column(table, self.label_column, self.path),
        }
        for name, kind in OPTIONAL_COLUMNS.items():
            if name in table.column_names:
                columns[name] = table[name].cast(kind)
        if "video_id" not in columns:
            columns["video_id"] = paths if "start_seconds" not in columns else _segment_ids(paths, columns)
        return pa.table(columns)


class FolderSource(SourceConfig):
    """A folder per class, videos inside (at any depth): the class of ``root/<class>/a/b.mp4`` is ``<class>``."""

    kind: str = "folder"
    root: str

    def describe(self) -> str:
        return self.root

    def read(self) -> pa.Table:
        root = Path(self.root)
        if not root.is_dir():
            raise DataError(f"{self.root}: no such folder; a 'folder' source needs one folder per class in it")
        files = sorted(
            p for p in root.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and len(p.relative_to(root).parts) > 1
        )
        if not files:
            raise DataError(
                f"{self.root}: holds no <class>/<video> files; endings looked for: {' '.join(VIDEO_SUFFIXES)}"
            )
        relative = [path.relative_to(root) for path in files]
        return pa.table(
            {
                "video_id": [path.as_posix() for path in relative],
                "path": [str(path) for path in files],
                "label": [path.parts[0] for path in relative],
            }
        )


class Motion8Source(SourceConfig):
    """The generated demo set (see datasets/motion8); rendered when it is first read."""

    kind: str = "motion8"
    root: str = "data/motion8"
    split: str = Field("train", pattern="^(train|val)$")
    num_train: int = Field(960, gt=0)
    num_val: int = Field(240, gt=0)
    seed: int = 0

    def describe(self) -> str:
        return f"{self.root} {self.split} (generated)"

    def read(self) -> pa.Table:
        from kinoray.data.motion8 import generate

        generate(Path(self.root), num_train=self.num_train, num_val=self.num_val, seed=self.seed)
        return ManifestSource(path=str(Path(self.root) / f"{self.split}.csv")).read()


def read_table(path: str) -> pa.Table:
    """Read a CSV, TSV, Parquet or JSON-lines file, local or behind a URI.

    Raises:
        DataError: it is missing, unreadable or of another format.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"{path}: a manifest ends in one of {' '.join(TABLE_SUFFIXES)}")
    try:
        with _open(path) as file:
            if suffix in {".csv", ".tsv"}:
                delimiter = "\t" if suffix == ".tsv" else ","
                table = csv.read_csv(file, parse_options=csv.ParseOptions(delimiter=delimiter))
            elif suffix == ".parquet":
                table = parquet.read_table(file)
            else:
                table = json.read_json(file)
    except FileNotFoundError:
        raise DataError(f"{path}: no such manifest (looked from {Path.cwd()})") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as {suffix[1:]}: {error}") from error
    if table.num_rows == 0:
        raise DataError(f"{path}: the manifest is empty; it needs a header and a row per video")
    return table


def _open(path: str) -> pa.NativeFile:
    if "://" in path:
        filesystem, inner = pa.fs.FileSystem.from_uri(path)
        return filesystem.open_input_file(inner)
    return pa.OSFile(path, "rb")


def _column(table: pa.Table, name: str, where: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise DataError(f"{where}: has no column '{name}'; its columns are {', '.join(table.column_names)}")
    return table[name]


def _is_in(table: pa.Table, name: str, values: tuple[Scalar, ...], where: str) -> pa.ChunkedArray:
    column = _column(table, name, where)
    try:
        wanted = pa.array(values).cast(column.type)
    except pa.ArrowException:
        raise DataError(f"{where}: column '{name}' is {column.type}, so it never holds any of {list(values)}") from None
    return pc.is_in(column, value_set=wanted)


def _parent(path: str) -> str:
    return path.rpartition("/")[0] if "://" in path else str(Path(path).parent)


def _rooted(paths: list[str], root: str) -> list[str]:
    """Relative paths start from ``root``; absolute ones and URIs stay."""
    prefix = "" if root in {"", "."} else root.rstrip("/") + "/"
    return [path if "://" in path or path.startswith("/") else prefix + path for path in paths]


def _segment_ids(paths: pa.ChunkedArray, columns: Mapping[str, pa.ChunkedArray]) -> pa.ChunkedArray:
    starts = columns["start_seconds"].to_pylist()
    named = [
        path if start is None else f"{path}@{start:g}" for path, start in zip(paths.to_pylist(), starts, strict=True)
    ]
    return pa.chunked_array([pa.array(named, pa.string())])


def _from_path(value: object) -> object:
    """A bare path stands for the source that fits it: a manifest by its ending, else a folder per class."""
    if not isinstance(value, str):
        return value
    if Path(value).suffix.lower() in TABLE_SUFFIXES:
        return {"kind": "manifest", "path": value}
    return {"kind": "folder", "root": value}


SOURCES = KindTable(
    what="source",
    base=SourceConfig,
    kinds={
        "manifest": "kinoray.data.sources:ManifestSource",
        "folder": "kinoray.data.sources:FolderSource",
        "motion8": "kinoray.data.sources:Motion8Source",
    },
)
AnySource = Annotated[SourceConfig, SOURCES, BeforeValidator(_from_path)]
