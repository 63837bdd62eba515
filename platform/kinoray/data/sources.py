"""Where annotated videos are listed: manifests in CSV, Parquet or JSON lines, a folder per class, the demo set.

A source reads only the list, never a video. Every annotation format is a source of its own; its ``read`` returns one
row per video (or per segment of one) and leaves labels as they are written: names or indices.
"""

import os
import re
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, json, parquet
from pydantic import BeforeValidator, Field

from kinoray.config.kinds import KindConfig, KindTable
from kinoray.data.paths import parent_folder, rooted, split_uri
from kinoray.data.rows import GROUP, READING_COLUMNS
from kinoray.errors import DataError, DecodeError
from kinoray.video.files import open_video_file

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp")
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json")
SEGMENT_COLUMNS = ("start_seconds", "end_seconds")
Scalar = str | int | float | bool


class SourceConfig(KindConfig):
    """A list of annotated videos."""

    @abstractmethod
    def read(self) -> pa.Table:
        """Columns ``video_id path label start_seconds end_seconds``.

        ``label`` holds names (string) or indices, or lists of them where videos have several labels. Any of
        ``READING_COLUMNS`` and ``GROUP`` may follow.

        Raises:
            DataError: the list is missing, unreadable, empty, or lacks a column.
        """

    def class_names(self) -> tuple[str, ...] | None:
        """Class names in the order of the data set's own indices; None where its files state none.

        Raises:
            DataError: the file that states them is missing or unreadable.
        """
        return None

    @abstractmethod
    def describe(self) -> str:
        """Where the list comes from, in a few words."""


class ManifestSource(SourceConfig):
    """A table with a row per video: CSV, TSV, Parquet or JSON lines, told apart by the file's ending."""

    kind: str = "manifest"
    path: str
    """Local path or URI (s3://, gs://)."""
    root: str | None = None
    """Folder or URI that relative video paths start from; default: the manifest's own folder."""
    path_column: str = "path"
    label_column: str = "label"
    """Names or indices. With ``data.multi_label``, several with ``;`` between them, or lists (Parquet, JSON lines)."""
    group_column: str = GROUP.name
    """What a video was cut from, as names or numbers; may be missing."""
    where: Mapping[str, tuple[Scalar, ...]] = {}
    """Keep only rows whose column holds one of the values, e.g. ``{fold: [1, 2]}``."""
    where_not: Mapping[str, tuple[Scalar, ...]] = {}
    """Drop rows whose column holds one of the values."""

    def describe(self) -> str:
        conditions = [f"{column} in {list(values)}" for column, values in self.where.items()]
        conditions += [f"{column} not in {list(values)}" for column, values in self.where_not.items()]
        return f"{self.path} ({', '.join(conditions)})" if conditions else self.path

    def read(self) -> pa.Table:
        texts = dict.fromkeys(("video_id", self.path_column, self.label_column, self.group_column), pa.string())
        table = read_table(self.path, texts | dict.fromkeys(SEGMENT_COLUMNS, pa.float64()))
        is_wanted = self._is_wanted(table)
        rows = np.flatnonzero(is_wanted)
        table = table.filter(pa.array(is_wanted))
        paths = _column(table, self.path_column, self.path, pa.string())
        if paths.null_count:
            raise DataError(f"{self.path}: column '{self.path_column}' is empty in {paths.null_count} row(s)")
        columns = {
            "path": rooted(
                self.root or parent_folder(self.path), paths, self.path, lambda number: f"row {rows[number] + 1}"
            ),
            "label": indices_or_names(_column(table, self.label_column, self.path)),
        }
        for name in SEGMENT_COLUMNS:
            if name in table.column_names:
                columns[name] = _column(table, name, self.path, pa.float64())
        for field in READING_COLUMNS:
            if field.name in table.column_names:
                columns[field.name] = _column(table, field.name, self.path, field.type)
        if self.group_column in table.column_names or self.group_column != GROUP.name:
            columns[GROUP.name] = _column(table, self.group_column, self.path, GROUP.type)
        if "video_id" in table.column_names:
            columns["video_id"] = _column(table, "video_id", self.path, pa.string())
        else:
            columns["video_id"] = pa.array(_segment_ids(paths.to_pylist(), columns), pa.string())
        return pa.table(columns)

    def _is_wanted(self, table: pa.Table) -> NDArray[np.bool_]:
        """``(L,)``: which rows meet the conditions."""
        is_wanted = np.ones(table.num_rows, np.bool_)
        for column, values in self.where.items():
            is_wanted &= _is_in(table, column, values, self.path).to_numpy()
        for column, values in self.where_not.items():
            is_wanted &= ~_is_in(table, column, values, self.path).to_numpy()
        return is_wanted


class FolderSource(SourceConfig):
    """A folder per class, videos inside (at any depth): the class of ``root/<class>/a/b.mp4`` is ``<class>``."""

    kind: str = "folder"
    root: str

    def describe(self) -> str:
        return self.root

    def read(self) -> pa.Table:
        root = Path(self.root)
        if "://" in self.root:
            raise DataError(
                f"{self.root}: a 'folder' source needs a local folder; list objects of a store in a manifest"
            )
        if not os.path.isdir(root):  # noqa: PTH112 - Path's raises for a name that is too long
            raise DataError(f"{self.root}: no such folder; a 'folder' source needs one folder per class in it")
        if root.resolve() == Path(root.resolve().anchor):
            raise DataError(f"{self.root}: a 'folder' source, got all of this machine; it needs one folder per class")
        files = sorted(
            file
            for folder in root.iterdir()
            if folder.is_dir()
            for file in folder.rglob("*")
            if file.suffix.lower() in VIDEO_SUFFIXES and not file.name.startswith(".")
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
    num_train: int = Field(768, gt=0, le=100_000)
    num_val: int = Field(320, gt=0, le=100_000)
    seed: int = Field(0, ge=0)

    def describe(self) -> str:
        return f"{self.root} {self.split} (generated)"

    def read(self) -> pa.Table:
        from kinoray.data.motion8 import generate

        generate(Path(self.root), num_train=self.num_train, num_val=self.num_val, seed=self.seed)
        return ManifestSource(path=str(Path(self.root) / f"{self.split}.csv")).read()


def read_table(path: str, types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    """Read a CSV, TSV, Parquet or JSON-lines file, local or behind a URI.

    Args:
        path: what follows a ``?`` in a URI are options of the file system.
        types: of columns of a CSV or TSV, which would be guessed otherwise ("007" read as 7). An empty field is null.

    Raises:
        DataError: it is missing, unreadable or of another format.
    """
    suffix = Path(split_uri(path)[0]).suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DataError(
            f"{path}: a manifest, got the ending '{suffix}'; it should be one of {' '.join(TABLE_SUFFIXES)}"
        )
    try:
        file = open_video_file(path)
        if suffix in {".csv", ".tsv"}:
            table = _read_csv(path, file, types, delimiter="\t" if suffix == ".tsv" else ",")
        elif suffix == ".parquet":
            table = parquet.read_table(file)
        else:
            table = json.read_json(file)
        table.validate(full=True)  # else bytes that are no UTF-8 raise where they are first looked at
        table.schema.to_string()  # the same of names
    except DecodeError as error:
        if error.reason == "missing":
            raise DataError(
                f"{path}: no such file (looked from {Path.cwd()}); a manifest is a table with a row per video"
            ) from error
        raise DataError(f"{' '.join(str(error).split())}; a manifest is a table with a row per video") from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        told = " ".join(str(error).split()).replace("Row #", "line ")  # it counts the header
        told = re.sub(r"CSV column #(\d+)", lambda found: f"column {int(found[1]) + 1}", told)  # and columns from 0 on
        raise DataError(f"{path}: cannot be read as {suffix[1:]}: {told}") from error
    if table.num_rows == 0:
        raise DataError(f"{path}: the manifest is empty; it needs a header and a row per video")
    return table


def _read_csv(path: str, file: str | BinaryIO, types: Mapping[str, pa.DataType] | None, *, delimiter: str) -> pa.Table:
    convert = csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    parse = csv.ParseOptions(delimiter=delimiter)
    try:
        return csv.read_csv(file, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid:  # a single thread knows which row it is at
        one = csv.ReadOptions(use_threads=False)
        return csv.read_csv(open_video_file(path), read_options=one, parse_options=parse, convert_options=convert)


def _column(table: pa.Table, name: str, where: str, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    """A column that must be there, once; cast where its type is to be ``kind``."""
    if table.column_names.count(name) != 1:
        has = f"has several columns '{name}'" if name in table.column_names else f"has no column '{name}'"
        raise DataError(f"{where}: {has}; its columns are {', '.join(table.column_names)}")
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        return column if kind is None else column.cast(kind)
    except pa.ArrowException:
        raise DataError(f"{where}: column '{name}', got {column.type}; it should be {kind}") from None


def _is_in(table: pa.Table, name: str, values: tuple[Scalar, ...], where: str) -> pa.ChunkedArray:
    column = _column(table, name, where)
    try:
        wanted = pa.chunked_array([pa.array([value]).cast(column.type) for value in values], column.type)
    except pa.ArrowException:
        raise DataError(
            f"{where}: column '{name}' is {column.type}, so it cannot hold every one of {list(values)}"
        ) from None
    return pc.is_in(column, value_set=wanted.combine_chunks())


def indices_or_names(labels: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Texts that all are whole numbers, written as such, become numbers: a CSV cannot tell the two apart."""
    is_text = pa.types.is_string(labels.type) or pa.types.is_large_string(labels.type)
    if is_text:
        labels = labels.cast(pa.string())
    try:
        numbers = labels.cast(pa.int64())
    except pa.ArrowException:
        return labels
    return labels if is_text and not numbers.cast(pa.string()).equals(labels) else numbers


def _segment_ids(paths: list[str], columns: Mapping[str, pa.ChunkedArray]) -> list[str]:
    """Ids of rows that have none: the path and, where it is one of several segments, its seconds."""
    nones = [None] * len(paths)
    starts, ends = (columns[name].to_pylist() if name in columns else nones for name in SEGMENT_COLUMNS)
    return [
        path if start is None and end is None else f"{path}@{_seconds(start)}-{_seconds(end)}"
        for path, start, end in zip(paths, starts, ends, strict=True)
    ]


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.10g}"


def _from_path(value: object) -> object:
    """A bare path stands for the source that fits it: a manifest by its ending, else a folder per class."""
    if not isinstance(value, str):
        return value
    if Path(split_uri(value)[0]).suffix.lower() in TABLE_SUFFIXES:
        return {"kind": "manifest", "path": value}
    return {"kind": "folder", "root": value}


SOURCES = KindTable(
    what="source",
    base=SourceConfig,
    kinds={
        "manifest": "kinoray.data.sources:ManifestSource",
        "folder": "kinoray.data.sources:FolderSource",
        "video_list": "kinoray.data.annotations_lists:VideoListSource",
        "frame_list": "kinoray.data.annotations_lists:FrameListSource",
        "ucf101": "kinoray.data.annotations_splits:Ucf101Source",
        "hmdb51": "kinoray.data.annotations_splits:Hmdb51Source",
        "kinetics": "kinoray.data.annotations_csv:KineticsSource",
        "moments": "kinoray.data.annotations_csv:MomentsSource",
        "jester": "kinoray.data.annotations_csv:JesterSource",
        "sthv2": "kinoray.data.annotations_json:SthV2Source",
        "diving48": "kinoray.data.annotations_json:Diving48Source",
        "motion8": "kinoray.data.sources:Motion8Source",
        "skeletons": "kinoray.data.annotations_skeletons:SkeletonSource",
        "audio_list": "kinoray.data.annotations_lists:AudioListSource",
        "joined": "kinoray.data.joined:JoinedSource",
        "missing": "kinoray.data.joined:MissingSource",
    },
)
AnySource = Annotated[SourceConfig, SOURCES, BeforeValidator(_from_path)]
