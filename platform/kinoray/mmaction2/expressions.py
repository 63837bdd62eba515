"""What expressions of a config's Python mean, without running any: constants, names, arithmetic, text, a few calls.

Containers stay what they are in Python: two names for one list are one list. Tuples and sets count as lists, and keys
of mappings are text, as in recipes.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kinoray.config.suggest import did_you_mean
from kinoray.config.yaml_file import Marked
from kinoray.errors import ConfigError
from kinoray.mmaction2.operations import (
    BINARY,
    COMPARED,
    FUNCTIONS,
    MAX_LENGTH,
    MISTAKES,
    TEXT_METHODS,
    UNARY,
    WIDE,
    grows,
    shallow,
)

_BASE_VALUE = re.compile(r"\{\{\s*(_base_(?:\.\w+)+)\s*\}\}")
# Places of a text that would look into objects.
_INSIDE = re.compile(r"\{\w*[.\[]")
_COPIES = {"copy.copy", "copy.deepcopy"}


@dataclass(frozen=True)
class Imported:
    """A name that an import gave; as a value it is the text of its last part, as types of configs are.

    Attributes:
        path: dotted, as ``os.path.join`` or ``mmaction.models.ResNet``.
    """

    path: str


Value = Marked | Imported


class Expressions:
    """Reads the expressions of one file.

    Args:
        file: how messages call it.
        base: what ``_base_`` stands for.

    Attributes:
        names: what has been defined so far.
    """

    def __init__(self, file: str, base: Marked) -> None:
        self.file = file
        self.names: dict[str, Value] = {"_base_": base}

    def where(self, node: ast.AST) -> str:
        return f"{self.file}:{getattr(node, 'lineno', 0)}"

    def refused(self, node: ast.AST, what: str = "") -> ConfigError:
        """For what is not read."""
        shown = ast.unparse(node).partition("\n")[0]
        shown = shown if len(shown) <= 80 else f"{shown[:76]} ..."
        return ConfigError(
            f"{self.where(node)}: {what or 'not read, for configs are never executed'}, got `{shown}`; write plain "
            "values: dict(...), lists, numbers, text, names defined before and arithmetic"
        )

    def marked(self, node: ast.expr, origin: str = "") -> Marked:
        """The value of an expression, set where it stands or at ``origin``."""
        value = self.read(node)
        if isinstance(value, Imported):
            return Marked(value.path.rpartition(".")[2], origin or self.where(node))
        return Marked(value.value, origin) if origin else value

    def plain(self, node: ast.expr) -> Any:
        """The value of an expression; of lists and mappings those inside too."""
        return plain(self.marked(node))

    def read(self, node: ast.expr) -> Value:
        """The value of an expression.

        Raises:
            ConfigError: it is none that is read, or is wrong.
        """
        reader = _READERS.get(type(node))
        if reader is None:
            raise self.refused(node)
        return reader(self, node)

    def compute(self, node: ast.expr, function: Callable[..., Any], *values: Any, **named: Any) -> Marked:
        """What a function makes of values, which may not suit it."""
        try:
            value = function(*values, **named)
            if isinstance(value, str | list) and len(value) > MAX_LENGTH:
                raise ValueError(f"{len(value)} elements are too many")
            return mark(value, self.where(node))
        except MISTAKES as error:
            raise self.refused(node, f"cannot be computed ({error})") from error

    def define(self, target: ast.expr, value: Marked) -> None:
        """Give a value a name, or its elements several."""
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List) and isinstance(value.value, list):
            if len(target.elts) != len(value.value):
                raise self.refused(target, f"{len(value.value)} values for {len(target.elts)} names")
            for part, child in zip(target.elts, value.value, strict=True):
                self.define(part, child)
        else:
            raise self.refused(target)


def mark(value: Any, origin: str) -> Marked:
    """Plain values of one origin; what is marked already stays."""
    if isinstance(value, Marked):
        return value
    if isinstance(value, dict):
        return Marked({str(key): mark(child, origin) for key, child in value.items()}, origin)
    if isinstance(value, list | tuple):
        return Marked([mark(child, origin) for child in value], origin)
    return Marked(value, origin)


def plain(node: Marked) -> Any:
    """Values without who set them, copied."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def _copied(node: Marked) -> Marked:
    if isinstance(node.value, dict):
        return Marked({key: _copied(child) for key, child in node.value.items()}, node.origin)
    if isinstance(node.value, list):
        return Marked([_copied(child) for child in node.value], node.origin)
    return node


def _constant(reader: Expressions, node: ast.Constant) -> Value:
    if node.value is not None and not isinstance(node.value, str | int | float):
        raise reader.refused(node)
    if isinstance(node.value, str):
        if whole := _BASE_VALUE.fullmatch(node.value):
            return _of_base(reader, node, whole[1])
        filled = _BASE_VALUE.sub(lambda found: str(plain(_of_base(reader, node, found[1]))), node.value)
        return Marked(filled, reader.where(node))
    return Marked(node.value, reader.where(node))


def _of_base(reader: Expressions, node: ast.expr, path: str) -> Marked:
    """What ``{{_base_.a.b}}`` stands for."""
    value = reader.names["_base_"]
    assert isinstance(value, Marked)
    for key in path.split(".")[1:]:
        value = _child(reader, node, value, key)
    return value


def _name(reader: Expressions, node: ast.Name) -> Value:
    if node.id not in reader.names:
        raise reader.refused(node, f"'{node.id}' is not defined before{did_you_mean(node.id, reader.names)}")
    return reader.names[node.id]


def _attribute(reader: Expressions, node: ast.Attribute) -> Value:
    owner = reader.read(node.value)
    if isinstance(owner, Imported):
        return Imported(f"{owner.path}.{node.attr}")
    return _child(reader, node, owner, node.attr)


def _subscript(reader: Expressions, node: ast.Subscript) -> Marked:
    owner = reader.marked(node.value)
    if isinstance(node.slice, ast.Slice):
        parts = (node.slice.lower, node.slice.upper, node.slice.step)
        bounds = slice(*(reader.plain(part) if part else None for part in parts))
        return reader.compute(node, operator.getitem, owner.value, bounds)
    return _child(reader, node, owner, reader.plain(node.slice))


def _child(reader: Expressions, node: ast.expr, owner: Marked, key: Any) -> Marked:
    if isinstance(owner.value, dict):
        if str(key) not in owner.value:
            raise reader.refused(node, f"there is no '{key}'{did_you_mean(str(key), owner.value)}")
        child = owner.value[str(key)]
        assert isinstance(child, Marked)
        return child
    return reader.compute(node, operator.getitem, owner.value, key)


def _list(reader: Expressions, node: ast.List | ast.Tuple) -> Marked:
    elements: list[Marked] = []
    for item in node.elts:
        if isinstance(item, ast.Starred):
            elements += reader.compute(item, list, reader.marked(item.value).value).value
        else:
            elements.append(reader.marked(item))
    return Marked(elements, reader.where(node))


def _set(reader: Expressions, node: ast.Set) -> Marked:
    inner = node.elts[0]
    if len(node.elts) == 1 and isinstance(inner, ast.Set) and len(inner.elts) == 1:  # {{_base_.x}}
        return reader.marked(inner.elts[0])
    return _list(reader, ast.copy_location(ast.List(node.elts, ast.Load()), node))


def _dict(reader: Expressions, node: ast.Dict) -> Marked:
    fields: dict[str, Marked] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            fields |= _mapping(reader, value)
        else:
            fields[str(reader.plain(key))] = reader.marked(value, reader.where(key))
    return Marked(fields, reader.where(node))


def _mapping(reader: Expressions, node: ast.expr) -> dict[str, Marked]:
    """What stands behind ``**``, or the one argument of ``dict()``."""
    value = reader.marked(node).value
    if isinstance(value, list) and all(isinstance(pair.value, list) and len(pair.value) == 2 for pair in value):
        return {str(plain(pair.value[0])): pair.value[1] for pair in value}
    if not isinstance(value, dict):
        raise reader.refused(node, "should be a mapping")
    return value


def _binary(reader: Expressions, node: ast.BinOp) -> Marked:
    function = BINARY.get(type(node.op))
    left, right = reader.marked(node.left).value, reader.marked(node.right).value
    if function is None:
        raise reader.refused(node)
    if isinstance(node.op, ast.Mod) and isinstance(left, str):
        given = plain(Marked(right, ""))
        right = tuple(given) if isinstance(given, list) else given
    if grows(node.op, left, right):
        raise reader.refused(node, "too large to be computed")
    return reader.compute(node, function, left, right)


def _unary(reader: Expressions, node: ast.UnaryOp) -> Marked:
    function = UNARY.get(type(node.op))
    if function is None:
        raise reader.refused(node)
    return reader.compute(node, function, reader.plain(node.operand))


def _logic(reader: Expressions, node: ast.BoolOp) -> Marked:
    stops = isinstance(node.op, ast.Or)
    value = reader.marked(node.values[0])
    for part in node.values[1:]:
        if bool(value.value) is stops:
            break
        value = reader.marked(part)
    return value


def _compare(reader: Expressions, node: ast.Compare) -> Marked:
    left = reader.plain(node.left)
    for sign, part in zip(node.ops, node.comparators, strict=True):
        right = reader.plain(part)
        if not reader.compute(node, COMPARED[type(sign)], left, right).value:
            return Marked(value=False, origin=reader.where(node))
        left = right
    return Marked(value=True, origin=reader.where(node))


def _choice(reader: Expressions, node: ast.IfExp) -> Marked:
    return reader.marked(node.body if reader.plain(node.test) else node.orelse)


def _text(reader: Expressions, node: ast.JoinedStr) -> Marked:
    parts = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            spec = reader.plain(part.format_spec) if part.format_spec else ""
            value = reader.plain(part.value)
            given = repr(value) if part.conversion == ord("r") else str(value) if part.conversion > 0 else value
            parts.append(_filled(reader, node, f"{{:{spec}}}", [given], {}))
        else:
            parts.append(reader.plain(part))
    return Marked("".join(parts), reader.where(node))


def _filled(reader: Expressions, node: ast.expr, template: str, values: list[Any], named: dict[str, Any]) -> str:
    if WIDE.search(template) or _INSIDE.search(template):
        raise reader.refused(node, "not filled in")
    text: str = reader.compute(node, template.format, *values, **named).value
    return text


def _comprehension(reader: Expressions, node: ast.ListComp | ast.GeneratorExp | ast.SetComp) -> Marked:
    return Marked([reader.marked(node.elt) for _ in _rounds(reader, node, node.generators)], reader.where(node))


def _dict_comprehension(reader: Expressions, node: ast.DictComp) -> Marked:
    fields = {}
    for _ in _rounds(reader, node, node.generators):
        fields[str(reader.plain(node.key))] = reader.marked(node.value)
    return Marked(fields, reader.where(node))


def _rounds(reader: Expressions, node: ast.expr, loops: Sequence[ast.comprehension]) -> Iterator[None]:
    """Once for every round, with the loops' names defined; they are forgotten in the end."""
    if not loops:
        yield
        return
    before, loop = dict(reader.names), loops[0]
    items = reader.marked(loop.iter)
    for item in reader.compute(node, list, items.value).value:
        reader.define(loop.target, item)
        if all(reader.plain(test) for test in loop.ifs):
            yield from _rounds(reader, node, loops[1:])
    reader.names = before


def _call(reader: Expressions, node: ast.Call) -> Marked:
    callee = node.func
    if isinstance(callee, ast.Name) and callee.id not in reader.names:
        function = callee.id
    else:
        owner = reader.read(callee.value) if isinstance(callee, ast.Attribute) else reader.read(callee)
        if isinstance(owner, Marked):
            if not isinstance(callee, ast.Attribute):
                raise reader.refused(node)
            return _method(reader, node, owner, callee.attr)
        function = f"{owner.path}.{callee.attr}" if isinstance(callee, ast.Attribute) else owner.path
    if function in {"dict", "mmengine.config.ConfigDict", "mmengine.ConfigDict"}:
        return _dict_call(reader, node)
    if function in _COPIES and len(node.args) == 1:
        value = reader.marked(node.args[0])
        return _copied(value) if function == "copy.deepcopy" else reader.compute(node, shallow, value.value)
    if function not in FUNCTIONS:
        raise reader.refused(node)
    values, named = _arguments(reader, node)
    return reader.compute(node, FUNCTIONS[function], *values, **named)


def _dict_call(reader: Expressions, node: ast.Call) -> Marked:
    fields: dict[str, Marked] = {}
    for argument in node.args:
        fields |= _mapping(reader, argument)
    for keyword in node.keywords:
        if keyword.arg is None:
            fields |= _mapping(reader, keyword.value)
        else:
            fields[keyword.arg] = reader.marked(keyword.value, reader.where(keyword))
    return Marked(fields, reader.where(node))


def _arguments(reader: Expressions, node: ast.Call) -> tuple[list[Any], dict[str, Any]]:
    if any(isinstance(argument, ast.Starred) for argument in node.args) or any(not word.arg for word in node.keywords):
        raise reader.refused(node)
    values = [reader.plain(argument) for argument in node.args]
    return values, {word.arg: reader.plain(word.value) for word in node.keywords if word.arg}


def _method(reader: Expressions, node: ast.Call, owner: Marked, name: str) -> Marked:
    """Methods that change nothing; for the others see ``read.py``."""
    if name == "copy":
        return reader.compute(node, shallow, owner.value)
    values, named = _arguments(reader, node)
    if isinstance(owner.value, dict) and name in {"keys", "values", "items"} and not values:
        return reader.compute(node, lambda: list(getattr(owner.value, name)()))
    if isinstance(owner.value, dict) and name == "get" and 1 <= len(values) <= 2:
        found = owner.value.get(str(values[0]))
        return found if found is not None else mark(values[1] if values[1:] else None, reader.where(node))
    if isinstance(owner.value, str) and name == "format":
        return Marked(_filled(reader, node, owner.value, values, named), reader.where(node))
    if isinstance(owner.value, str) and name in TEXT_METHODS:
        return reader.compute(node, getattr(owner.value, name), *values, **named)
    raise reader.refused(node)


_READERS: dict[type[ast.expr], Callable[[Expressions, Any], Value]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.List: _list,
    ast.Tuple: _list,
    ast.Set: _set,
    ast.Dict: _dict,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _logic,
    ast.Compare: _compare,
    ast.IfExp: _choice,
    ast.JoinedStr: _text,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.DictComp: _dict_comprehension,
    ast.Call: _call,
}
