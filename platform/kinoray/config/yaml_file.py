"""YAML as recipes write it: every value with who set it, and without the surprises of YAML 1.1.

What an unquoted word means follows YAML 1.2: ``1e-4`` is a number, only true and false are truth values, ``010`` is ten
and a date is text. Nothing is ever executed: tags other than those of plain values are errors. Nor can a text take
memory or time without end: its length, its depth and what its aliases stand for are bounded.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from kinoray.config.suggest import closest
from kinoray.errors import ConfigError

MAX_LENGTH = 500_000
"""Characters of a text: PyYAML takes a second for 50,000 of them at worst."""
MAX_DEPTH = 50
"""Of values inside of one another."""
MAX_VALUES = 50_000
"""Aliases multiply: a few lines may stand for billions of values."""
MAX_WHOLE = 2**63 - 1
SHOWN_LENGTH = 60

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_TOO_DEEP = f"values lie more than {MAX_DEPTH} deep inside of one another"

PLAIN_WORDS = [
    (f"{_TAG}null", re.compile(r"(~|null|Null|NULL|)\Z")),
    (f"{_TAG}bool", re.compile(r"(true|True|TRUE|false|False|FALSE)\Z")),
    (f"{_TAG}int", re.compile(r"[-+]?(0x[0-9a-fA-F]+|0o[0-7]+|[0-9]+(_[0-9]+)*)\Z")),
    (f"{_TAG}float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")),
    (f"{_TAG}float", re.compile(r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z")),
    (_MERGE, re.compile(r"<<\Z")),
]
"""Tag and pattern of every unquoted word that is not text; the first match counts."""


@dataclass(frozen=True)
class Marked:
    """A value and who set it. A mapping is ``dict[str, Marked]``, a list ``list[Marked]``, else a plain value."""

    value: Any
    origin: str


class _Reader(yaml.SafeLoader):
    """Composes nodes; ``None`` is PyYAML's key for patterns that may begin with any character."""

    yaml_implicit_resolvers = {None: PLAIN_WORDS}  # noqa: RUF012  (PyYAML's own class attribute)
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As PyYAML's, which calls itself for what lies inside."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def real_path(path: Path, asked_by: str = "") -> Path:
    """The path without links; see ``read_yaml`` for ``asked_by``.

    Raises:
        ConfigError: it is none, or leads in circles.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{asked_by}{path}: cannot be a path: {error}") from error


def shown(path: Path) -> str:
    """The path as messages show it: relative to the working directory where it lies inside."""
    real = real_path(path)
    name = str(real.relative_to(Path.cwd()) if real.is_relative_to(Path.cwd()) else real)
    return name.replace("\n", "\\n")


def source_and_line(origin: str) -> tuple[str, int]:
    """``configs/x.yaml:12`` -> ``("configs/x.yaml", 12)``; line 0 where there is none."""
    source, _, line = origin.rpartition(":")
    return (source, int(line)) if source and line.isdecimal() else (origin, 0)


def read_yaml(path: Path, asked_by: str = "") -> Marked:
    """Read a file that holds one mapping.

    Args:
        path: the file.
        asked_by: where the file is named, if it is in another one; put before the message where it is no such file.

    Raises:
        ConfigError: there is no such file, or it holds something else.
    """
    name = shown(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(MAX_LENGTH + 1)
    except FileNotFoundError:
        raise ConfigError(f"{asked_by}{name}: no such file{_neighbours(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{asked_by}{name}: cannot be read: {why}") from error
    _check_length(text, f"{asked_by}{name}")
    root = parse_yaml(text, name, by_line=True)
    if root.value is None:
        raise ConfigError(f"{asked_by}{root.origin}: the file is empty; write a mapping such as model: {{kind: ...}}")
    if not isinstance(root.value, dict):
        got = "a list" if isinstance(root.value, list) else repr(root.value)
        raise ConfigError(f"{asked_by}{root.origin}: should be a mapping of names to values, got {got}")
    return Marked(root.value, name)


def _check_length(text: str, where: str) -> None:
    if len(text) > MAX_LENGTH:
        raise ConfigError(
            f"{where}: should be a recipe, a site or a sweep, got more than {MAX_LENGTH:,} characters; lists of videos "
            "and of classes have files of their own"
        )


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; there is no folder {shown(path.parent)} either"
    near = closest(path.name, [entry.name for entry in path.parent.iterdir()])
    return f"; did you mean {' or '.join(shown(path.parent / name) for name in near)}?" if near else ""


def parse_yaml(text: str, source: str, *, by_line: bool) -> Marked:
    """Parse one document.

    Args:
        text: YAML.
        source: who wrote it, for origins and messages.
        by_line: whether origins are ``source:line``, as for a file, or ``source`` alone.

    Raises:
        ConfigError: the text is not YAML, is too long or too deep, sets a key twice, or uses a tag that is not of plain
            values.
    """

    def where(line: int) -> str:
        return f"{source}:{line + 1}" if by_line else source

    _check_length(text, source)
    try:
        node = yaml.compose(text, Loader=_Reader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{where(mark.line if mark else 0)}: not readable as YAML: {told}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise ConfigError(f"{where(line)}: not readable as YAML: {str(error).splitlines()[0]}") from error
    if node is None:
        return Marked(None, where(0))
    return _Marking(lambda marked: where(marked.start_mark.line)).mark(node)


class _Marking:
    """Turns nodes into marked values.

    Args:
        where: the origin of a node.
    """

    def __init__(self, where: Callable[[yaml.Node], str]) -> None:
        self.where = where
        self.open: list[yaml.Node] = []
        self.num_values = 0

    def mark(self, node: yaml.Node, key: yaml.Node | None = None) -> Marked:
        """Mark a node; what stands behind a key is set where the key stands, also if it is an alias."""
        origin = self.where(key or node)
        self.num_values += 1
        if self.num_values > MAX_VALUES:
            raise ConfigError(f"{origin}: more than {MAX_VALUES:,} values, those that aliases stand for included")
        if isinstance(node, yaml.ScalarNode):
            return Marked(self.scalar(node), origin)
        if any(node is outer for outer in self.open):
            raise ConfigError(f"{origin}: an alias is used inside of what it stands for")
        if len(self.open) == MAX_DEPTH:
            raise ConfigError(f"{origin}: {_TOO_DEEP}, those that aliases stand for included")
        self.open.append(node)
        if isinstance(node, yaml.MappingNode):
            marked = Marked(self.mapping(node), origin)
        else:
            self.demand_tag(node, "seq")
            marked = Marked([self.mark(element) for element in node.value], origin)
        self.open.pop()
        return marked

    def mapping(self, node: yaml.MappingNode) -> dict[str, Marked]:
        """Keys are text as written (``0:`` is "0"), for they become parts of dotted paths."""
        self.demand_tag(node, "map")
        merged: dict[str, Marked] = {}
        own: dict[str, Marked] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{self.where(key)}: a key should be a word, got a mapping or a list")
            if key.tag == _MERGE:
                merged = {**self.merged(value), **merged}
            elif key.value in own:
                first = own[key.value].origin
                raise ConfigError(f"{self.where(key)}: '{key.value}' is set twice, first at {first}")
            else:
                self.demand_text(key)
                own[key.value] = self.mark(value, key)
        return {**merged, **own}

    def merged(self, node: yaml.Node) -> dict[str, Marked]:
        """What ``<<`` brings: a mapping or a list of them, of which an earlier one wins."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Marked] = {}
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                raise ConfigError(f"{self.where(part)}: '<<' should be a mapping or a list of mappings")
            merged = {**cast("dict[str, Marked]", self.mark(part).value), **merged}
        return merged

    def scalar(self, node: yaml.ScalarNode) -> str | int | float | bool | None:
        text = str(node.value)
        self.demand_text(node)
        sort = node.tag.removeprefix(_TAG)
        try:
            if sort in {"str", "merge"}:
                return text
            if sort == "int":
                return self.whole(text, node)
            if sort == "float":
                # YAML writes .inf and .nan, Python inf and nan.
                return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
            if sort == "bool":
                return {"true": True, "false": False}[text.lower()]
            if sort == "null":
                return {"": None, "~": None, "null": None}[text.lower()]
        except (ValueError, KeyError) as error:
            raise ConfigError(f"{self.where(node)}: '{text[:SHOWN_LENGTH]}' is no {sort}") from error
        raise self.foreign(node)

    def whole(self, text: str, node: yaml.Node) -> int:
        """A whole number that a column, a seed or a server can hold as well; Python's have no end."""
        number = int(text, 0 if text.lstrip("+-")[:2] in {"0x", "0o"} else 10) if len(text) <= SHOWN_LENGTH else None
        if number is None or abs(number) > MAX_WHOLE:
            raise ConfigError(
                f"{self.where(node)}: {text[:SHOWN_LENGTH]} is too large; whole numbers go up to {MAX_WHOLE}"
            )
        return number

    def demand_text(self, node: yaml.ScalarNode) -> None:
        """Escapes, and bytes of a command line, may make halves of characters, which nothing can write down."""
        try:
            node.value.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"{self.where(node)}: {ascii(node.value)[:SHOWN_LENGTH]} is no text") from error

    def demand_tag(self, node: yaml.Node, sort: str) -> None:
        if node.tag != f"{_TAG}{sort}":
            raise self.foreign(node)

    def foreign(self, node: yaml.Node) -> ConfigError:
        tag = node.tag.replace(_TAG, "!!")
        return ConfigError(f"{self.where(node)}: the tag {tag} is not for recipes; they hold plain values only")
