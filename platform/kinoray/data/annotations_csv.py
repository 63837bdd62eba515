"""Data sets that are listed in CSV files: Kinetics, Moments in Time, Jester."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kinoray.data.annotations import INDEX, AnnotationSource, Lines, frame_columns, read_one_of
from kinoray.data.paths import below
from kinoray.errors import DataError

FIELD = r'"(?:[^"]|"")*"|[^",]*'
"""A field of a CSV, quoted or not."""
JESTER_FPS = 12.0
JESTER_TEMPLATE = "{:05}.jpg"


class KineticsSource(AnnotationSource):
    """Kinetics-400, -600 or -700 by the CSV file of a split: ``label,youtube_id,time_start,time_end,split``.

    Videos are named ``<youtube_id>_<start>_<end>.mp4``, with six digits each for the seconds. The column ``group``
    is the id of the video on YouTube.
    """

    kind: str = "kinetics"
    path: str
    """The CSV file; local path or URI."""
    folders: Literal["names", "underscores", "none"] = "names"
    """Below ``root``: a folder per class, named after it; the same with ``_`` for every space; or all in one folder."""
    ending: str = ".mp4"
    trimmed: bool = True
    """Files are the clips. Else they are the whole videos, ``<youtube_id>.mp4``, and rows are segments of them."""

    def describe(self) -> str:
        return self.path

    def read(self) -> pa.Table:
        lines, fields = _read_csv(self.path)
        missing = [name for name in ("youtube_id", "time_start", "time_end") if name not in fields]
        if missing or ("label" not in fields and self.folders != "none"):
            raise DataError(
                f"{lines.path}: columns, got {', '.join(fields)}; it should be label,youtube_id,time_start,"
                "time_end,split (the label may be missing where folders is 'none')"
            )
        ids, start, end = fields["youtube_id"], fields["time_start"], fields["time_end"]
        lines.check(pc.match_substring_regex(ids, r"^[\w-]+$"), "a youtube_id", "it has letters, digits, '_' and '-'")
        for times in (start, end):
            lines.check(pc.match_substring_regex(times, r"^\d+(\.\d+)?$"), "whole seconds", "they look like 12 or 12.0")
        stem = pc.binary_join_element_wise(ids, _six_digits(start), _six_digits(end), "_")
        columns = {
            "video_id": stem,
            "path": lines.rooted(self.root, self._files(stem, ids, fields, lines)),
            "group": ids,
        }
        columns["label"] = _label(fields, len(ids))
        if not self.trimmed:
            columns |= {"start_seconds": start.cast(pa.float64()), "end_seconds": end.cast(pa.float64())}
        return pa.table(columns)

    def _files(self, stem: pa.Array, ids: pa.Array, fields: dict[str, pa.Array], lines: Lines) -> pa.Array:
        files = pc.binary_join_element_wise(stem if self.trimmed else ids, self.ending, "")
        if self.folders == "none":
            return files
        label = fields["label"]
        lines.check(pc.not_equal(label, ""), "a class", "without it nothing says which folder the video is in")
        folder = pc.replace_substring(label, " ", "_") if self.folders == "underscores" else label
        return pc.binary_join_element_wise(folder, files, "/")


class MomentsSource(AnnotationSource):
    """Moments in Time by its own files; ``root`` is the folder ``training`` or ``validation``."""

    kind: str = "moments"
    annotations: str
    """Folder or URI of ``moments_categories.txt``, ``trainingSet.csv`` and ``validationSet.csv``."""
    split: Literal["train", "val"]

    def describe(self) -> str:
        return f"{self.annotations} {self.split}"

    def class_names(self) -> tuple[str, ...]:
        lines = Lines.read(below(self.annotations, "moments_categories.txt"))
        fields = lines.fields(rf"(?P<name>.*\S),\s*(?P<index>{INDEX})", "a class and its index", "clapping,0")
        indices = fields["index"].cast(pa.int64())
        ranks = pc.sort_indices(indices)
        expected = pa.array(np.argsort(ranks.to_numpy()))
        lines.check(pc.equal(indices, expected), "an index", "they count from 0 on, each class its own")
        return tuple(fields["name"].take(ranks).to_pylist())

    def read(self) -> pa.Table:
        file = {"train": "trainingSet.csv", "val": "validationSet.csv"}[self.split]
        lines = Lines.read(below(self.annotations, file))
        pattern = rf"(?P<path>{FIELD}),(?P<label>{FIELD})(?:,.*)?"
        fields = lines.fields(pattern, "a video, its class and votes", "clapping/a.mp4,clapping,4,0")
        label, path = _unquoted(fields["label"]), _unquoted(fields["path"])
        lines.check_classes(label, self.class_names(), "moments_categories.txt")
        return pa.table({"video_id": path, "path": lines.rooted(self.root, path), "label": label})


class JesterSource(AnnotationSource):
    """Jester by its own files, whose lines read ``id;label``; a video is ``root/<id>``, a folder of JPEG files."""

    kind: str = "jester"
    annotations: str
    """Folder or URI of ``jester-v1-labels.csv``, ``jester-v1-train.csv`` and so on, or of ``labels.csv`` and so on."""
    split: Literal["train", "val", "test"]
    ending: str = ""
    """Of the videos' names where the frames were encoded, as ``.mp4``."""

    def describe(self) -> str:
        return f"{self.annotations} {self.split}"

    def class_names(self) -> tuple[str, ...]:
        return tuple(self._labels().texts.to_pylist())

    def read(self) -> pa.Table:
        names = {
            "train": ["jester-v1-train.csv", "train.csv"],
            "val": ["jester-v1-validation.csv", "validation.csv"],
            # With labels where the release has them.
            "test": ["test-answers.csv", "jester-v1-test.csv", "test.csv"],
        }
        path, text = read_one_of(self.annotations, names[self.split])
        lines = Lines.of(path, text)
        fields = lines.fields(r"(?P<id>\d+)(?:;(?P<label>.*\S))?", "an id and a class", "34870;Drumming Fingers")
        label = _label(fields, len(lines.texts))
        if self.split != "test" or label.null_count < len(label):
            listed = self._labels()
            lines.check_classes(label, listed.texts.to_pylist(), listed.path)
        columns = {
            "video_id": fields["id"],
            "path": lines.rooted(self.root, pc.binary_join_element_wise(fields["id"], self.ending, "")),
            "label": label,
        }
        frames = {} if self.ending else frame_columns(len(label), JESTER_TEMPLATE, JESTER_FPS)
        return pa.table(columns | frames)

    def _labels(self) -> Lines:
        return Lines.of(*read_one_of(self.annotations, ["jester-v1-labels.csv", "labels.csv"]))


def _read_csv(path: str) -> tuple[Lines, dict[str, pa.Array]]:
    """The lines below the header, and their columns."""
    lines = Lines.read(path)
    if not len(lines.texts):
        raise DataError(f"{lines.path}: a CSV file, got nothing; it should have a header and a line per video")
    header = [name.strip(' "') for name in lines.texts[0].as_py().split(",")]
    rows = Lines(path, lines.texts[1:], lines.numbers[1:])
    pattern = ",".join(rf"(?P<f{number}>{FIELD})" for number in range(len(header)))
    fields = rows.fields(pattern, f"{len(header)} fields", ",".join(header))
    return rows, {name: _unquoted(fields[f"f{number}"]) for number, name in enumerate(header)}


def _unquoted(fields: pa.Array) -> pa.Array:
    bare = pc.replace_substring_regex(fields, '^"(.*)"$', r"\1")
    return pc.utf8_trim_whitespace(pc.replace_substring(bare, '""', '"'))


def _six_digits(seconds: pa.Array) -> pa.Array:
    return pc.utf8_lpad(pc.replace_substring_regex(seconds, r"\..*", ""), 6, "0")


def _label(fields: dict[str, pa.Array], num_rows: int) -> pa.Array:
    """Labels, null where there is none."""
    if "label" not in fields:
        return pa.nulls(num_rows, pa.string())
    return pc.if_else(pc.equal(fields["label"], ""), None, fields["label"])
