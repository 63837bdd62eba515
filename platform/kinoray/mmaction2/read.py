"""Reads a config of MMAction2 1.x, a Python file, with the files it is based on; nothing in them is ever run.

Understood is what MMEngine's configs are made of: ``_base_`` (a path or several), ``_delete_``, ``{{_base_.x}}``,
``{{fileBasename}}`` and its kind, ``{{$NAME:default}}``, ``with read_base():``, and the expressions of
``expressions.py``. All else is an error that names its line.

Source: MMEngine 0.10, Config.fromfile.
"""

import ast
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from kinoray.config.layers import from_tree
from kinoray.config.yaml_file import Marked, shown
from kinoray.errors import ConfigError
from kinoray.mmaction2.expressions import Expressions, Imported
from kinoray.mmaction2.operations import MAX_LENGTH

_BASE = "_base_"
_DELETE = "_delete_"
_FILE_WORD = re.compile(r"\{\{\s*(file(?:Dirname|Basename|BasenameNoExtension|Extname))\s*\}\}")
_ENVIRONMENT = re.compile(r"\{\{\s*\$(\w+)(?::([^{}]*?))?\s*\}\}")
_MAX_BYTES = 2_000_000
# Methods of lists and mappings that change them.
_CHANGES = frozenset(("update", "merge", "append", "extend", "insert", "pop"))


@dataclass(frozen=True)
class Source:
    """A config as plain values.

    Attributes:
        path: of the file.
        values: mappings, lists, texts, numbers, truth values and None; keys are text.
        origins: dotted path of every value -> where it is set, as ``configs/x.py:12``; the empty path is the whole.
    """

    path: Path
    values: dict[str, Any]
    origins: dict[str, str]

    def where(self, path: str) -> str:
        """The place where a value is set, or the nearest mapping around it."""
        while path and path not in self.origins:
            path = path.rpartition(".")[0]
        return self.origins.get(path, str(self.path))


def read_config(path: str | Path) -> Source:
    """Read a config and the files that it is based on.

    Raises:
        ConfigError: a file is missing, is its own base, or holds what is more than plain values.
    """
    path = Path(path)
    try:
        tree = _read(path, ())
        _demand_finite(tree, shown(path))
        layered = from_tree(tree)
    except RecursionError as error:
        raise ConfigError(f"{shown(path)}: not read, its values are nested too deeply") from error
    return Source(path, layered.values, layered.origins)


def _read(path: Path, chain: tuple[Path, ...], asked_by: str = "") -> Marked:
    real, name = path.resolve(), shown(path)
    if real in chain:
        loop = " -> ".join(shown(file) for file in (*chain[chain.index(real) :], real))
        raise ConfigError(f"{asked_by}{name}: a file cannot be its own base: {loop}")
    return _File(path, (*chain, real)).read(_parsed(path, name, asked_by))


def _parsed(path: Path, name: str, asked_by: str) -> ast.Module:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{asked_by}{name}: {path.stat().st_size} bytes are no config")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{asked_by}{name}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{asked_by}{name}: cannot be read: {why}") from error
    try:
        return ast.parse(_filled(text, path, name))
    except SyntaxError as error:
        raise ConfigError(f"{name}:{error.lineno or 1}: not readable as Python: {error.msg}") from error
    except (ValueError, MemoryError) as error:
        raise ConfigError(f"{name}: not readable as Python: {error}") from error


def _filled(text: str, path: Path, name: str) -> str:
    """The text with the words that MMEngine puts in before it parses: parts of the file's name, the environment."""
    words = {
        "fileDirname": path.parent.resolve().as_posix(),
        "fileBasename": path.name,
        "fileBasenameNoExtension": path.stem,
        "fileExtname": path.suffix,
    }

    def from_environment(found: re.Match[str]) -> str:
        default: str | None = found[2]
        value = os.environ.get(found[1], default)
        if value is None:
            line = text.count("\n", 0, found.start()) + 1
            raise ConfigError(f"{name}:{line}: the environment variable {found[1]} is not set; set it")
        return value

    return _ENVIRONMENT.sub(from_environment, _FILE_WORD.sub(lambda found: words[found[1]], text))


class _File:
    """The statements of one file, in order.

    Args:
        path: of the file.
        chain: the resolved paths of those that led to it, itself included.
    """

    def __init__(self, path: Path, chain: tuple[Path, ...]) -> None:
        self.path, self.chain = path, chain
        self.origin = shown(path)
        self.base = Marked({}, self.origin)
        self.expressions = Expressions(self.origin, self.base)

    def read(self, module: ast.Module) -> Marked:
        for statement in module.body:
            if _is_base(statement):
                self.take_bases(statement)
        self.run(statement for statement in module.body if not _is_base(statement))
        own = {
            name: value
            for name, value in self.expressions.names.items()
            if name != _BASE and not name.startswith("__") and isinstance(value, Marked)
        }
        return merge(self.base, Marked(own, self.origin))

    def take_bases(self, statement: ast.Assign) -> None:
        """``_base_ = ...``: bases lie side by side, so none may set what another sets."""
        named = self.expressions.plain(statement.value)
        fields: dict[str, Marked] = {}
        where = self.expressions.where(statement)
        for base in named if isinstance(named, list) else [named]:
            if not isinstance(base, str):
                raise ConfigError(f"{where}: _base_ should be a path or a list of paths, got {base!r}")
            if "::" in base:
                raise ConfigError(
                    f"{where}: _base_, got {base!r}, which names a file of an installed package; give the path of a "
                    "copy of that file, relative to this one"
                )
            below = _read(self.path.parent / base, self.chain, f"{where}: _base_ ").value
            for key in fields.keys() & below.keys():
                raise ConfigError(f"{where}: two bases set '{key}': {fields[key].origin} and {below[key].origin}")
            fields |= below
        self.base = Marked(fields, self.origin)
        self.expressions.names[_BASE] = self.base

    def run(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            reader = _STATEMENTS.get(type(statement))
            if reader is None:
                raise self.expressions.refused(statement)
            reader(self, statement)

    def take_assignment(self, statement: ast.Assign) -> None:
        for target in statement.targets:
            self.assign(target, self.expressions.read(statement.value))

    def take_annotated(self, statement: ast.AnnAssign) -> None:
        if statement.value is not None:
            self.assign(statement.target, self.expressions.read(statement.value))

    def take_augmented(self, statement: ast.AugAssign) -> None:
        """``x += 1``; a list that has other names stays what it is under those."""
        whole = ast.copy_location(ast.BinOp(_loaded(statement.target), statement.op, statement.value), statement)
        self.assign(statement.target, self.expressions.read(whole))

    def take_expression(self, statement: ast.Expr) -> None:
        """Words for readers, or a method that changes a list or a mapping."""
        match statement.value:
            case ast.Constant():
                pass
            case ast.Call(func=ast.Attribute(attr=name)) as call if name in _CHANGES:
                self.change(call)
            case _:
                raise self.expressions.refused(statement)

    def take_deletion(self, statement: ast.Delete) -> None:
        for target in statement.targets:
            self.delete(target)

    def take_choice(self, statement: ast.If) -> None:
        self.run(statement.body if self.expressions.plain(statement.test) else statement.orelse)

    def take_import(self, statement: ast.Import | ast.ImportFrom) -> None:
        self.expressions.names.update(_imported(statement))

    def take_with(self, statement: ast.With) -> None:
        if len(statement.items) != 1 or not _reads_base(statement.items[0].context_expr):
            raise self.expressions.refused(statement)
        self.take_read_bases(statement.body)

    def take_nothing(self, statement: ast.Pass) -> None:
        """``pass``."""

    def assign(self, target: ast.expr, value: Marked | Imported) -> None:
        reader = self.expressions
        where = reader.where(target)
        if isinstance(value, Imported):
            if isinstance(target, ast.Name):
                reader.names[target.id] = value
                return
            value = Marked(value.path.rpartition(".")[2], where)
        if isinstance(target, ast.Subscript | ast.Attribute):
            owner, key = self.place(target)
            if isinstance(owner, list) and not (isinstance(key, int) and -len(owner) <= key < len(owner)):
                raise reader.refused(target, f"there is no element {key} among {len(owner)}")
            owner[key] = Marked(value.value, where)
        elif isinstance(target, ast.Name):
            reader.names[target.id] = Marked(value.value, where)
        else:
            reader.define(target, value)

    def place(self, target: ast.Subscript | ast.Attribute) -> tuple[Any, Any]:
        """The mapping or list that is changed, and at which key."""
        reader = self.expressions
        owner = reader.marked(target.value).value
        key = target.attr if isinstance(target, ast.Attribute) else reader.plain(target.slice)
        if isinstance(owner, dict):
            return owner, str(key)
        if isinstance(owner, list):
            return owner, key
        raise reader.refused(target)

    def delete(self, target: ast.expr) -> None:
        reader = self.expressions
        if isinstance(target, ast.Name) and target.id in reader.names:
            del reader.names[target.id]
        elif isinstance(target, ast.Subscript | ast.Attribute):
            owner, key = self.place(target)
            reader.compute(target, owner.pop, key)
        else:
            raise reader.refused(target)

    def change(self, call: ast.Call) -> None:
        """``x.append(...)`` and its kind, with nothing made of what it gives."""
        reader = self.expressions
        assert isinstance(call.func, ast.Attribute)
        owner, method = reader.marked(call.func.value), call.func.attr
        if isinstance(owner.value, dict) and method in {"update", "merge"}:
            new = reader.read(ast.copy_location(ast.Call(ast.Name("dict"), call.args, call.keywords), call))
            assert isinstance(new, Marked)
            owner.value.update(merge(owner, new).value if method == "merge" else new.value)
            return
        values: list[Any] = [reader.marked(argument) for argument in call.args]
        if method == "extend" and len(values) == 1:
            values = [values[0].value]
        elif method in {"insert", "pop"} and values:
            values[0] = str(values[0].value) if isinstance(owner.value, dict) else values[0].value
        if call.keywords or not hasattr(owner.value, method):
            raise reader.refused(call)
        reader.compute(call, getattr(owner.value, method), *values)

    def take_read_bases(self, body: Iterable[ast.stmt]) -> None:
        """``from .x import *`` below ``with read_base():``; the names of that file become names of this one."""
        for statement in body:
            if not (isinstance(statement, ast.ImportFrom) and statement.level):
                raise self.expressions.refused(statement, "read_base takes files by relative imports only")
            folder = self.path.parent
            for _ in range(statement.level - 1):
                folder = folder / ".."
            file = folder.joinpath(*(statement.module or "").split(".")).with_suffix(".py")
            fields = _read(file, self.chain, f"{self.expressions.where(statement)}: ").value
            for name in statement.names:
                if name.name != "*" and name.name not in fields:
                    raise self.expressions.refused(statement, f"{shown(file)} does not set '{name.name}'")
                taken = fields if name.name == "*" else {name.asname or name.name: fields[name.name]}
                self.expressions.names.update(taken)


def merge(low: Marked, high: Marked) -> Marked:
    """Lay one value over another: mappings merge unless the upper one says ``_delete_``, all else replaces."""
    if not isinstance(high.value, dict):
        return high
    fields = {key: value for key, value in high.value.items() if key != _DELETE}
    deletes = _DELETE in high.value and bool(high.value[_DELETE].value)
    below = low.value if isinstance(low.value, dict) and not deletes else {}
    merged = {key: merge(below.get(key, _NOTHING), value) for key, value in fields.items()}
    return Marked({**below, **merged}, high.origin)


_NOTHING = Marked(None, "")

_STATEMENTS: dict[type[ast.stmt], Callable[[_File, Any], None]] = {
    ast.Assign: _File.take_assignment,
    ast.AnnAssign: _File.take_annotated,
    ast.AugAssign: _File.take_augmented,
    ast.Expr: _File.take_expression,
    ast.Delete: _File.take_deletion,
    ast.If: _File.take_choice,
    ast.Import: _File.take_import,
    ast.ImportFrom: _File.take_import,
    ast.With: _File.take_with,
    ast.Pass: _File.take_nothing,
}


def _is_base(statement: ast.stmt) -> TypeGuard[ast.Assign]:
    match statement:
        case ast.Assign(targets=[ast.Name(id="_base_")]):
            return True
    return False


def _reads_base(call: ast.expr) -> bool:
    return isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "read_base"


def _imported(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Imported]]:
    for name in statement.names:
        if isinstance(statement, ast.ImportFrom):
            yield name.asname or name.name, Imported(f"{statement.module or ''}.{name.name}")
        else:
            first = name.name.partition(".")[0]
            yield name.asname or first, Imported(name.name if name.asname else first)


def _loaded(target: ast.expr) -> ast.expr:
    """What is assigned to, as an expression that is read."""
    return ast.parse(ast.unparse(target), mode="eval").body


def _demand_finite(tree: Marked, name: str) -> None:
    """Refuse values that hold themselves, or each other so often that they are too many to write down."""
    waiting, num_values = [tree], 0
    while waiting:
        node = waiting.pop()
        num_values += 1
        if num_values > MAX_LENGTH:
            raise ConfigError(f"{name}: holds more than {MAX_LENGTH} values, or lists that hold themselves")
        if isinstance(node.value, dict | list):
            waiting += node.value.values() if isinstance(node.value, dict) else node.value
