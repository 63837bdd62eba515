"""What the readers of data sets' own annotation files share: text, rows that know their line, paths below a root.

Rows stay in Arrow, so that a list of a million videos is read in seconds.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kinoray.data.paths import below, rooted
from kinoray.data.sources import SourceConfig
from kinoray.errors import DataError, DecodeError
from kinoray.video.files import read_whole, without_passwords

INDEX = r"\d{1,18}"
"""A whole number that an int64 holds, as a pattern."""
MAX_SHOWN = 100
"""Characters of a row that a message quotes."""


class AnnotationSource(SourceConfig):
    """Videos that a data set's own annotation files list."""

    root: str
    """Folder or URI (s3://, gs://) that the videos' paths start from."""


@dataclass(frozen=True)
class Lines:
    """The lines of a text file that are not blank.

    Attributes:
        path: of the file, as messages show it.
        texts: (L,) strings, without the spaces around them.
        numbers: (L,) where they stand in the file, from 1 on.
    """

    path: str
    texts: pa.Array
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, path: str, text: str) -> "Lines":
        """Cut a text into lines."""
        texts = pc.utf8_trim_whitespace(pa.array(text.split("\n"), pa.string()))
        is_filled = pc.not_equal(texts, "")
        shown = without_passwords(path)
        return cls(shown, texts.filter(is_filled), np.flatnonzero(is_filled.to_numpy(zero_copy_only=False)) + 1)

    @classmethod
    def read(cls, path: str) -> "Lines":
        """Read a text file, local or behind a URI.

        Raises:
            DataError: it is missing, unreadable or no text.
        """
        return cls.of(path, read_text(path))

    def fields(self, pattern: str, what: str, example: str) -> dict[str, pa.Array]:
        """Take every line apart.

        Args:
            pattern: of the whole line; a group that took no part in the match is an empty text.
            what: a line holds, for messages.
            example: of a line, for messages.

        Returns:
            Name of a group -> (L,) strings.

        Raises:
            DataError: a line does not match.
        """
        groups = pc.extract_regex(self.texts, f"^(?:{pattern})$")
        self.check(groups.is_valid(), what, f"a line should read like '{example}'")
        return {field.name: groups.field(field.name) for field in groups.type}

    def check(self, is_right: pa.Array, what: str, right: str) -> None:
        """See to it that every line is right; a null is not.

        Raises:
            DataError: names the first line that is wrong.
        """
        first = pc.index(pc.fill_null(is_right, fill_value=False), value=False).as_py()
        if first >= 0:
            got = shortened(self.texts[first].as_py())
            raise DataError(f"{self.path}, line {self.numbers[first]}: {what}, got '{got}'; {right}")

    def check_classes(self, labels: pa.Array, classes: Sequence[str], listed_in: str) -> None:
        """See to it that labels are classes.

        Raises:
            DataError: names the first line whose label is none.
        """
        right = f"{listed_in} names {len(classes)} classes: {', '.join(classes[:4])}, ..."
        self.check(pc.is_in(labels, value_set=pa.array(classes, pa.string())), "a class", right)

    def filter(self, is_kept: pa.Array) -> "Lines":
        """Some of the lines."""
        return Lines(self.path, self.texts.filter(is_kept), self.numbers[is_kept.to_numpy(zero_copy_only=False)])

    def rooted(self, root: str, paths: pa.Array) -> pa.Array:
        """The paths that the lines give, see ``paths.rooted``.

        Raises:
            DataError: names the line of one that is refused.
        """
        return rooted(root, paths, self.path, lambda number: f"line {self.numbers[number]}")


def read_text(path: str) -> str:
    """The text of a file, local or behind a URI.

    Raises:
        DataError: it is missing, unreadable or no UTF-8 text.
    """
    try:
        return _decoded(path, read_whole(path))
    except DecodeError as error:
        looked_from = "" if "://" in path or error.reason != "missing" else f" (looked from {Path.cwd()})"
        raise DataError(f"{error}{looked_from}; it is one of the data set's annotation files") from error


def read_one_of(folder: str, names: Sequence[str]) -> tuple[str, str]:
    """Path, for messages, and text of the first file that is there: owners rename them from release to release.

    Raises:
        DataError: none is there, or the first that is cannot be read.
    """
    for name in names:
        path = below(folder, name)
        try:
            return without_passwords(path), _decoded(path, read_whole(path))
        except DecodeError as error:
            if error.reason != "missing":
                raise
    shown = without_passwords(folder)
    raise DataError(f"{shown}: annotation files, got none of {', '.join(names)}; one of them should lie there")


def read_entries(path: str, text: str, types: Mapping[str, type]) -> Iterator[dict[str, Any]]:
    """The entries of a JSON list.

    Args:
        path: for messages.
        text: of the file.
        types: of the fields that every entry must have.

    Raises:
        DataError: it is no list, or names the first entry that lacks a field.
    """
    entries = parse_json(path, text)
    shown = without_passwords(path)
    if not isinstance(entries, list):
        raise DataError(f"{shown}: a list of videos, got {type(entries).__name__}; it should be [{{...}}, ...]")
    right = ", ".join(f"'{name}' ({kind.__name__})" for name, kind in types.items())
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not all(type(entry.get(name)) is kind for name, kind in types.items()):
            got = shortened(json.dumps(entry))
            raise DataError(f"{shown}, entry {number}: a video, got {got}; it should have {right}")
        yield entry


def parse_json(path: str, text: str) -> Any:
    """What a JSON text says.

    Raises:
        DataError: it is no JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        shown = f"{without_passwords(path)}, line {error.lineno}"
        raise DataError(f"{shown}: not JSON ({error.msg}); get the file from its owners again") from error
    except (ValueError, RecursionError) as error:
        told = "a number has thousands of digits" if isinstance(error, ValueError) else "it is nested too deeply"
        raise DataError(
            f"{without_passwords(path)}: not readable ({told}); get the file from its owners again"
        ) from error


def frame_columns(num_rows: int, template: str | None, fps: float) -> dict[str, pa.Array]:
    """Columns of rows whose paths are folders of frames: the name of a file (None: found out), frames per second."""
    return {
        "frame_template": pa.array([template] * num_rows, pa.string()),
        "fps": pa.repeat(fps, num_rows),
    }


def group_of(texts: pa.Array, pattern: str) -> pa.Array:
    """What the pattern's one group, ``group``, takes from each text; null where it does not match."""
    return pc.struct_field(pc.extract_regex(texts, pattern), [0])


def shortened(text: str) -> str:
    """A text as messages quote it."""
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _decoded(path: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        shown = without_passwords(path)
        raise DataError(f"{shown}: an annotation file, got bytes that are no UTF-8 text; is it an archive?") from error
