"""Damage to any file, and to text that is a table: what fuzz_config.py does to manifests and annotation files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Rng = np.random.Generator
T = TypeVar("T")


@dataclass(frozen=True)
class Damage:
    """A file's new content.

    Attributes:
        content: of the file.
        named: of each group a refusal names one.
        is_wrong: whether it has to be refused.
        beside: other files that are written, by their path beside the damaged one.
    """

    content: bytes
    named: tuple[tuple[str, ...], ...] = ()
    is_wrong: bool = False
    beside: tuple[tuple[str, bytes], ...] = ()


def one(rng: Rng, options: Sequence[T]) -> T:
    """An option by chance."""
    return options[int(rng.integers(len(options)))]


def flip_bits(content: bytes, rng: Rng) -> Damage:
    """Up to eight bits anywhere."""
    changed = bytearray(content)
    for at in rng.integers(len(changed), size=rng.integers(1, 9)):
        changed[at] ^= 1 << int(rng.integers(8))
    return Damage(bytes(changed))


def cut_end(content: bytes, rng: Rng) -> Damage:
    """The beginning only, or nothing."""
    return Damage(content[: int(rng.integers(len(content)))] if rng.integers(8) else b"")


def drop_span(content: bytes, rng: Rng) -> Damage:
    """Leave out some bytes."""
    start = int(rng.integers(len(content)))
    return Damage(content[:start] + content[start + int(2 ** rng.uniform(0, 8)) :])


def put_bytes(content: bytes, rng: Rng) -> Damage:
    """Bytes that are no text, or no part of it."""
    at = int(rng.integers(len(content) + 1))
    odd = (
        b"\xff",
        b"\x00",
        b"\x00" * 64,
        b"\xef\xbb\xbf",
        b"\xc3(",
        b"\xed\xa0\x80",
        b"\x1b[2J",
        b"\x85",
        b"\x0c",
        b"\r",
    )
    return Damage(content[:at] + one(rng, (*odd, rng.bytes(16))) + content[at:])


def line_ends(content: bytes, rng: Rng) -> Damage:
    """Of other systems."""
    return Damage(content.replace(b"\n", one(rng, (b"\r\n", b"\r", b"\n\n", b"\x0b", b"\xe2\x80\xa8"))))


def encoding(content: bytes, rng: Rng) -> Damage:
    """A byte order mark, or an encoding that is not UTF-8."""
    text = content.decode("latin1")
    return Damage(one(rng, (b"\xef\xbb\xbf" + content, *(text.encode(name) for name in ("utf-16", "utf-32", "utf-7")))))


def drop_line(content: bytes, rng: Rng) -> Damage:
    """Leave out a line."""
    lines = content.splitlines(keepends=True)
    del lines[int(rng.integers(len(lines)))]
    return Damage(b"".join(lines))


def swap_lines(content: bytes, rng: Rng) -> Damage:
    """Put a line elsewhere."""
    lines = content.splitlines(keepends=True)
    moved = lines.pop(int(rng.integers(len(lines))))
    lines.insert(int(rng.integers(len(lines) + 1)), moved)
    return Damage(b"".join(lines))


BYTES: tuple[Callable[[bytes, Rng], Damage | None], ...] = (
    *(flip_bits, flip_bits, cut_end, drop_span, put_bytes, put_bytes, line_ends, encoding, drop_line, swap_lines),
)


# ---- text of a line per video


def _lines(content: bytes) -> list[str] | None:
    """None: the file is no text, or as good as none."""
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        return None
    return lines if len(lines) > 1 else None


def _written(lines: Sequence[str], named: tuple[str, ...] = ()) -> Damage:
    return Damage("".join(f"{line}\n" for line in lines).encode(), (named,) if named else ())


def _delimiter(lines: Sequence[str]) -> str:
    return max(",;\t ", key=lines[-2].count)


def odd_cell(content: bytes, rng: Rng) -> Damage | None:
    """Something else in one field of one line."""
    lines = _lines(content)
    if lines is None:
        return None
    mark, at = _delimiter(lines), int(rng.integers(len(lines)))
    cells = lines[at].split(mark)
    place = int(rng.integers(len(cells)))
    old, cells[place] = cells[place], one(rng, CELLS)
    header = lines[0].split(mark)
    column = header[place] if place < len(header) else ""
    lines[at] = mark.join(cells)
    numbers = [f"{word}{at + more}" for word in ("line ", "row ", "#") for more in (0, 1, 2)]
    # A header's name is missed by its old one, and of JSON entries are counted.
    return _written(
        lines,
        tuple(name for name in (*numbers, "entry", "classes", "video_id", column, old.strip(' "')) if len(name) > 2),
    )


def same_cell(content: bytes, rng: Rng) -> Damage | None:
    """The same in one field of every line but the first."""
    lines = _lines(content)
    if lines is None:
        return None
    mark, wanted = _delimiter(lines), one(rng, CELLS)
    place = int(rng.integers(len(lines[0].split(mark))))
    changed = [lines[0]]
    for line in lines[1:]:
        cells = line.split(mark)
        cells[min(place, len(cells) - 1)] = wanted
        changed.append(mark.join(cells))
    return _written(changed)


def drop_column(content: bytes, rng: Rng) -> Damage | None:
    """A field less in every line."""
    return _columns(content, rng, lambda _: ())


def repeat_column(content: bytes, rng: Rng) -> Damage | None:
    """A field twice in every line."""
    return _columns(content, rng, lambda cell: (cell, cell))


def _columns(content: bytes, rng: Rng, change: Callable[[str], tuple[str, ...]]) -> Damage | None:
    lines = _lines(content)
    if lines is None:
        return None
    mark = _delimiter(lines)
    place = int(rng.integers(len(lines[0].split(mark))))
    split = [line.split(mark) for line in lines]
    return _written(
        [
            mark.join([*cells[:place], *change("".join(cells[place : place + 1])), *cells[place + 1 :]])
            for cells in split
        ]
    )


def uneven_line(content: bytes, rng: Rng) -> Damage | None:
    """A line with a field more or less."""
    lines = _lines(content)
    if lines is None:
        return None
    mark, at = _delimiter(lines), int(rng.integers(1, len(lines)))
    lines[at] = lines[at] + mark + "more" if rng.integers(2) else lines[at].rpartition(mark)[0]
    return _written(lines)


def repeat_line(content: bytes, rng: Rng) -> Damage | None:
    """A line twice: the same id again."""
    lines = _lines(content)
    if lines is None:
        return None
    lines.append(lines[int(rng.integers(1, len(lines)))])
    return _written(lines)


def other_delimiter(content: bytes, rng: Rng) -> Damage | None:
    """Between all fields."""
    lines = _lines(content)
    return None if lines is None else _written([line.replace(_delimiter(lines), one(rng, ";|\t ,")) for line in lines])


def odd_quotes(content: bytes, rng: Rng) -> Damage | None:
    """Quotes that open or close where they should not, or around a line's end."""
    lines = _lines(content)
    if lines is None:
        return None
    at = int(rng.integers(len(lines)))
    place = int(rng.integers(len(lines[at]) + 1))
    lines[at] = lines[at][:place] + one(rng, ('"', "'", '""', '"\n"', "\\", '"a"b')) + lines[at][place:]
    return _written(lines)


def blank_lines(content: bytes, rng: Rng) -> Damage | None:
    """Lines with nothing, spaces or delimiters."""
    lines = _lines(content)
    if lines is None:
        return None
    lines.insert(int(rng.integers(len(lines) + 1)), one(rng, ("", "   ", ",,,,,,", "\t", "#", "\u00a0")))
    return _written(lines)


def header_only(content: bytes, _: Rng) -> Damage | None:
    """The first line alone."""
    lines = _lines(content)
    return None if lines is None else _written(lines[:1])


def long_field(content: bytes, rng: Rng) -> Damage | None:
    """Ten megabytes in one field."""
    lines = _lines(content)
    if lines is None:
        return None
    at = int(rng.integers(len(lines)))
    mark = _delimiter(lines)
    head, _, tail = lines[at].partition(mark)
    lines[at] = one(
        rng, (f"{head}{'x' * 10_000_000}{mark}{tail}", f"{lines[at]}{'9' * 10_000_000}", f"{mark}" * 10_000_000)
    )
    return _written(lines)


CELLS = (
    *("", " ", "-1", "3", "99", "9223372036854775807", "9223372036854775808", "-99999999999999999999", "1.5", "1e400"),
    *(
        "nan",
        "inf",
        "-inf",
        "null",
        "true",
        "word",
        "left;right",
        "[1]",
        "{}",
        "'",
        '"',
        '"a',
        "0x10",
        "007",
        "1_0",
        "+1",
    ),
    *(
        "../../../etc/passwd",
        "/dev/zero",
        "s3://",
        "http://[",
        "file:///dev/zero",
        "a" * 5000,
        "\x00",
        "🎥",
        "\u202e",
        "é",
    ),
    *("=1+1", "2024-01-01", "0.5", "1000000", "-0.0", "1e-320", "%s", "{0}", "\x1b[2J", "[bold]x[/]", "0", "1", "2"),
)
LINES: tuple[Callable[[bytes, Rng], Damage | None], ...] = (
    *(
        odd_cell,
        odd_cell,
        odd_cell,
        odd_cell,
        same_cell,
        same_cell,
        drop_column,
        repeat_column,
        uneven_line,
        repeat_line,
    ),
    *(other_delimiter, odd_quotes, blank_lines, header_only, long_field),
)
