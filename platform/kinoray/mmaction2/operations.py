"""What expressions may compute of plain values: operators, functions and methods, and bounds on what they make."""

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

MAX_LENGTH = 1_000_000
"""Of a text or a list that an expression makes."""
_MAX_BITS = 1024

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "len": len,
    "min": min,
    "max": max,
    "sum": sum,
    "abs": abs,
    "round": round,
    "sorted": sorted,
    "list": lambda items=(): list(items),
    "tuple": lambda items=(): list(items),
    "set": lambda items=(): list(dict.fromkeys(items)),
    "range": lambda *bounds: _short(range(*bounds)),
    "zip": lambda *lists: list(zip(*lists, strict=False)),
    "enumerate": lambda items, start=0: list(enumerate(items, start)),
    "os.path.join": lambda *parts: re.sub("/+", "/", "/".join(parts)),
}
"""Of plain values; what they give is plain."""
TEXT_METHODS = frozenset(
    ("format", "join", "split", "strip", "replace", "lower", "upper", "startswith", "endswith", "removesuffix")
)
WIDE = re.compile(r"\d{5}")
"""In a text that is filled in: widths that would fill the memory."""
MISTAKES = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What a mistake in plain values raises; without it the message would be Python's own, and name no file."""


def grows(sign: ast.operator, left: Any, right: Any) -> bool:
    """Whether a product, a power or a text filled in may take all memory."""
    if isinstance(sign, ast.Mod):
        return isinstance(left, str) and bool(WIDE.search(left))
    if isinstance(sign, ast.Mult):
        lengths = [len(side) for side in (left, right) if isinstance(side, str | list)]
        return any(length * side > MAX_LENGTH for length in lengths for side in (left, right) if isinstance(side, int))
    if isinstance(sign, ast.Pow) and isinstance(left, int) and isinstance(right, int):
        return left.bit_length() * abs(right) > _MAX_BITS
    return False


def shallow(value: Any) -> Any:
    """As ``copy.copy``: what is inside stays the same."""
    return value.copy() if isinstance(value, dict | list) else value


def _short(numbers: range) -> list[int]:
    if len(numbers) > MAX_LENGTH:
        raise ValueError(f"{len(numbers)} numbers are too many")
    return list(numbers)
