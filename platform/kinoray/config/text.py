"""A configuration as text: flat for a tracking server, as YAML that can be read again, and with who set what."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from kinoray.config.base import Config
from kinoray.config.yaml_file import PLAIN_WORDS, source_and_line

Scalar = str | int | float | bool | None

_COMMENT_COLUMN = 60
"""Longer lines do not push the comments of all others to the right."""


class _Writer(yaml.SafeDumper):
    """Quotes what our reader would not take for text, and what readers of YAML 1.1 would not (``yes``, dates)."""

    yaml_implicit_resolvers = {**yaml.SafeDumper.yaml_implicit_resolvers, None: PLAIN_WORDS}  # noqa: RUF012

    def float_word(self, value: float) -> yaml.ScalarNode:
        if not math.isfinite(value):
            return self.represent_float(value)
        return self.represent_scalar("tag:yaml.org,2002:float", repr(value))

    def text_word(self, value: str) -> yaml.ScalarNode:
        one_line = value.isprintable()
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=None if one_line else '"')


_Writer.add_representer(float, _Writer.float_word)
_Writer.add_representer(str, _Writer.text_word)


def flatten(config: Config) -> dict[str, Scalar]:
    """Dotted path -> value of every leaf, in the order of the fields.

    Lists without mappings are one value, written as YAML (``[1, 2]``) as ``--set`` takes it.
    """
    return {path: _inline(leaf) if isinstance(leaf, dict | list) else leaf for path, leaf in _leaves(_plain(config))}


def to_yaml(config: Config) -> str:
    """YAML of all fields, defaults included, that reads back to an equal configuration."""
    return "".join(f"{line}\n" for line, _ in _lines(_plain(config)))


def describe(config: Config, origins: Mapping[str, str]) -> str:
    """YAML of all fields with who set each of them as a comment, ``default`` where nobody did."""
    return with_comments(config, lambda path: _setters(path, origins))


def with_comments(value: object, comment: Callable[[str], str]) -> str:
    """YAML with a comment beside each leaf, by its dotted path; an empty one is left out."""
    lines = [(line, comment(path) if path else "") for line, path in _lines(_plain(value))]
    column = max((len(line) for line, told in lines if told and len(line) <= _COMMENT_COLUMN), default=0)
    return "".join(f"{line:{column}}  # {told}\n" if told else f"{line}\n" for line, told in lines)


def inline(value: object) -> str:
    """A value on one line, as ``--set`` takes it."""
    return _inline(_plain(value))


def _plain(value: object) -> Any:
    """Configurations as dictionaries of the fields they have, whatever class their place was declared with."""
    if isinstance(value, Config):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(to_jsonable_python(key)): _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return value if isinstance(value, float) else to_jsonable_python(value)


def _items(value: Any, path: str) -> list[tuple[str, str, Any]]:
    """``(what heads the line, dotted path, child)`` of a mapping or a list."""
    children = value.items() if isinstance(value, dict) else enumerate(value)
    return [
        (f"{_inline(key)}:" if isinstance(value, dict) else "-", f"{path}.{key}" if path else str(key), child)
        for key, child in children
    ]


def _is_leaf(value: Any) -> bool:
    """Whether a value is written on one line: all but mappings with content and lists that hold some."""
    if isinstance(value, dict):
        return not value
    return not isinstance(value, list) or all(_is_leaf(child) for child in value)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for _, below, child in _items(value, path):
        if _is_leaf(child):
            yield below, child
        else:
            yield from _leaves(child, below)


def _lines(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """``(line, dotted path of the leaf on it)``; the path is empty on a line that only heads others."""
    for head, below, child in _items(value, path):
        if _is_leaf(child):
            yield f"{head} {_inline(child)}", below
            continue
        in_list = head == "-"
        if not in_list:
            yield head, ""
        for number, (line, leaf) in enumerate(_lines(child, below)):
            yield f"{'- ' if in_list and number == 0 else '  '}{line}", leaf


def _inline(value: Any) -> str:
    # Dumped as the one element of a list: alone, a plain word would be followed by an end-of-document mark.
    text = yaml.dump([value], Dumper=_Writer, default_flow_style=True, allow_unicode=True, width=sys.maxsize)
    return text.strip()[1:-1]


def _setters(path: str, origins: Mapping[str, str]) -> str:
    """Who set a leaf; for a list also who, other than the file it is from, set single elements."""
    if path not in origins:
        return "default"
    source, _ = source_and_line(origins[path])
    elements = [origin for below, origin in origins.items() if below.startswith(f"{path}.")]
    others = [origin for origin in elements if source_and_line(origin)[0] != source]
    return ", ".join(" ".join(origin.split()) for origin in dict.fromkeys([origins[path], *others]))
