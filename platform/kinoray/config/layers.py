"""Recipe files laid over one another, and over them what a command line or a sweep sets; who set what is kept.

Mappings merge, lists replace, and a changed ``kind`` replaces the whole mapping.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from kinoray.config.yaml_file import MAX_DEPTH, Marked, parse_yaml, read_yaml, real_path, shown
from kinoray.errors import ConfigError


@dataclass(frozen=True)
class Layered:
    """Values that are not validated yet, and who set each of them.

    Attributes:
        values: mappings, lists and plain values.
        origins: dotted path of every value, list and mapping -> who set it, such as ``configs/x.yaml:12`` or
            ``--set model.depth=101``; the empty path is the whole.
    """

    values: dict[str, Any]
    origins: dict[str, str]


def read_layers(path: str | Path) -> Layered:
    """Read a YAML file and the files that its ``base`` names, a path or a list of paths relative to it.

    Raises:
        ConfigError: a file is missing or not a mapping, or is its own base.
    """
    return from_tree(_read(Path(path), ()))


def from_values(values: Mapping[str, Any], origin: str) -> Layered:
    """Layers of one origin, from values made by a program."""
    return from_tree(_mark(values, origin))


def override(layered: Layered, assignments: Sequence[str]) -> Layered:
    """Set values as ``a.b.c=value``, the value in YAML; elements of lists go by number (``schedule.0.end=5``).

    A mapping is laid over what is there. The order of assignments counts, except that a ``kind`` comes before the other
    fields of its mapping, which it would otherwise wipe out.

    Raises:
        ConfigError: an assignment is malformed, or its path leads through a plain value or beside a list.
    """
    parsed = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not assignment.isascii() and assignment != assignment.encode(errors="ignore").decode():
            raise ConfigError(f"--set {assignment}: should be UTF-8 text")
        if not (equals and all(path.strip().split("."))):
            parts = [part for part in path.strip().split(".") if part]
            example = f"{'.'.join(parts)}=VALUE" if parts else "optimizer.lr=0.01"
            raise ConfigError(f"--set {assignment}: should read PATH=VALUE, such as --set {example}")
        parsed.append((path.strip(), parse_yaml(text, f"--set {assignment}", by_line=False)))
    return _assign_all(layered, parsed)


def replace_values(layered: Layered, values: Mapping[str, Any], origin: str) -> Layered:
    """Set values by dotted path, by the rules of ``override``.

    Raises:
        ConfigError: a path leads through a plain value or beside a list.
    """
    return _assign_all(layered, [(path, _mark(value, origin)) for path, value in values.items()])


def _read(path: Path, chain: tuple[Path, ...], asked_by: str = "") -> Marked:
    real = real_path(path, asked_by)
    if real in chain:
        loop = " -> ".join(shown(file) for file in (*chain[chain.index(real) :], real))
        raise ConfigError(f"{asked_by}{shown(path)}: a file cannot be its own base: {loop}")
    own = read_yaml(path, asked_by)
    fields = dict(own.value)
    bases = fields.pop("base", Marked([], own.origin))
    named = bases.value if isinstance(bases.value, list) else [bases]
    layers = []
    for base in named:
        if not (isinstance(base.value, str) and base.value):
            raise ConfigError(f"{base.origin}: base should be a path or a list of paths, got {_unmarked(base)!r}")
        layers.append(_read(path.parent / base.value, (*chain, real), f"{base.origin}: base "))
    return reduce(_merge, [*layers, Marked(fields, own.origin)])


def _merge(low: Marked, high: Marked) -> Marked:
    if not (isinstance(low.value, dict) and isinstance(high.value, dict)):
        return high
    if _changes_kind(low.value, high.value.get("kind")):
        return high
    fields = dict(low.value)
    for key, value in high.value.items():
        fields[key] = _merge(fields[key], value) if key in fields else value
    return Marked(fields, high.origin)


def _changes_kind(fields: dict[str, Marked], kind: Marked | None) -> bool:
    return kind is not None and "kind" in fields and fields["kind"].value != kind.value


def _assign_all(layered: Layered, assignments: Sequence[tuple[str, Marked]]) -> Layered:
    ordered: list[tuple[str, Marked]] = []
    for path, value in assignments:
        parent, _, name = path.rpartition(".")
        siblings = [
            index
            for index, (other, _) in enumerate(ordered)
            if name == "kind" and other.startswith(f"{parent}." if parent else "") and other != path
        ]
        ordered.insert(siblings[0] if siblings else len(ordered), (path, value))
    tree = _to_tree(layered.values, layered.origins)
    for path, value in ordered:
        if path.count(".") >= MAX_DEPTH:
            raise ConfigError(f"{value.origin}: a path has up to {MAX_DEPTH} parts, got {path.count('.') + 1}")
        tree = _assign(tree, (), path.split("."), value)
    return from_tree(tree)


def _assign(node: Marked | None, above: tuple[str, ...], path: Sequence[str], new: Marked) -> Marked:
    """``node`` with ``new`` laid over what is at ``path`` below it; ``above`` leads to the node, for messages."""
    if not path:
        return new if node is None else _merge(node, new)
    key, rest, name = path[0], path[1:], ".".join(above)
    if node is None or node.value is None:
        if key.isdecimal():
            raise ConfigError(f"{new.origin}: {name} is not set, so it has no element {key}; set all of {name}")
        return Marked({key: _assign(None, (*above, key), rest, new)}, new.origin)
    if isinstance(node.value, list):
        index = _index(node, name, key, new.origin)
        elements = list(node.value)
        elements[index] = _assign(elements[index], (*above, key), rest, new)
        return Marked(elements, node.origin)
    if not isinstance(node.value, dict):
        raise ConfigError(
            f"{new.origin}: {name} is {node.value!r} and has no '{key}' below it; set {name} itself  [{node.origin}]"
        )
    child = _assign(node.value.get(key), (*above, key), rest, new)
    if key == "kind" and _changes_kind(node.value, child):
        return Marked({key: child}, new.origin)
    return Marked({**node.value, key: child}, node.origin)


def _index(node: Marked, name: str, key: str, origin: str) -> int:
    length = len(node.value)
    if key in map(str, range(length)):
        return int(key)
    right = f"its elements are {name}.0 to {name}.{length - 1}" if length else f"set all of {name}"
    raise ConfigError(f"{origin}: {name} is a list of {length} and has no {name}.{key}; {right}  [{node.origin}]")


def _mark(value: Any, origin: str) -> Marked:
    if isinstance(value, Mapping):
        return Marked({str(key): _mark(child, origin) for key, child in value.items()}, origin)
    if isinstance(value, list | tuple):
        return Marked([_mark(child, origin) for child in value], origin)
    return Marked(value, origin)


def _to_tree(value: Any, origins: Mapping[str, str], path: str = "", above: str = "") -> Marked:
    origin = origins.get(path, above)
    if isinstance(value, dict):
        children = {key: _to_tree(child, origins, _below(path, key), origin) for key, child in value.items()}
        return Marked(children, origin)
    if isinstance(value, list):
        elements = enumerate(value)
        return Marked([_to_tree(child, origins, _below(path, index), origin) for index, child in elements], origin)
    return Marked(value, origin)


def from_tree(tree: Marked) -> Layered:
    """Take values and who set them apart."""
    return Layered(_unmarked(tree), dict(_origins(tree)))


def _unmarked(node: Marked) -> Any:
    if isinstance(node.value, dict):
        return {key: _unmarked(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_unmarked(child) for child in node.value]
    return node.value


def _origins(node: Marked, path: str = "") -> Iterator[tuple[str, str]]:
    yield path, node.origin
    if isinstance(node.value, dict | list):
        for key, child in node.value.items() if isinstance(node.value, dict) else enumerate(node.value):
            yield from _origins(child, _below(path, key))


def _below(path: str, key: str | int) -> str:
    return f"{path}.{key}" if path else str(key)
