"""From layers to a frozen configuration, or one error that lists every problem with what set it."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails, core_schema

from kinoray.config.base import Config
from kinoray.config.layers import Layered
from kinoray.config.secrets import check_no_secrets
from kinoray.config.structure import child_value, children, configs_at, every_config
from kinoray.config.suggest import did_you_mean
from kinoray.config.yaml_file import source_and_line
from kinoray.errors import ConfigError

C = TypeVar("C", bound=Config)
Place = tuple[str | int, ...]
"""Keys and indices that lead to a value."""

MAX_PROBLEMS = 50
"""That a message lists: of a list in which every element is wrong, the others say no more."""
_GOT_LENGTH = 60
_BUILT_IN = frozenset(get_args(core_schema.ErrorType)) | {"kind_mapping"}

_SHOULD = {
    "float_type": "be a number",
    "float_parsing": "be a number",
    "finite_number": "be a finite number",
    "int_type": "be a whole number",
    "int_parsing": "be a whole number",
    "int_from_float": "be a whole number",
    "bool_type": "be true or false",
    "bool_parsing": "be true or false",
    "string_type": "be text",
    "list_type": "be a list",
    "tuple_type": "be a list",
    "set_type": "be a list",
    "frozen_set_type": "be a list",
    "dict_type": "be a mapping",
    "mapping_type": "be a mapping",
    "model_type": "be a mapping",
    "model_attributes_type": "be a mapping",
    "none_required": "be null",
    "literal_error": "be {expected}",
    "enum": "be {expected}",
    "greater_than": "be greater than {gt}",
    "greater_than_equal": "be at least {ge}",
    "less_than": "be less than {lt}",
    "less_than_equal": "be at most {le}",
    "multiple_of": "be a multiple of {multiple_of}",
    "too_short": "have at least {min_length} elements",
    "too_long": "have at most {max_length} elements",
    "string_too_short": "have at least {min_length} characters",
    "string_too_long": "have at most {max_length} characters",
    "path_type": "be a path",
    "string_pattern_mismatch": "match the pattern '{pattern}'",
}
"""What is right, by pydantic's sort of error; the places take what pydantic tells about it."""


@dataclass(frozen=True)
class _Problem:
    """One of pydantic's errors.

    Attributes:
        path: place in the values.
        branches: for every union on the way its path and the alternative that this error speaks for, outermost first.
        error: what pydantic tells.
    """

    path: Place
    branches: tuple[tuple[Place, str], ...]
    error: ErrorDetails


def validate(cls: type[C], layered: Layered, what: str, *, may_hold_secrets: Collection[str] = ()) -> C:
    """Build a configuration.

    Args:
        cls: its class.
        layered: the values.
        what: what they are and where they come from, such as ``recipe configs/x.yaml``; begins the message.
        may_hold_secrets: dotted paths of values that may be URIs with a password.

    Raises:
        ConfigError: lists the problems on a line each, in the order of the files.
    """
    check_no_secrets(layered.values, layered.origins, what, may_hold_secrets)
    try:
        return cls.model_validate(layered.values)
    except ValidationError as error:
        found = [_locate(cls, layered.values, each) for each in error.errors(include_url=False)]
    by_path: dict[Place, list[_Problem]] = defaultdict(list)
    for problem in _settle_unions(found):
        by_path[problem.path].append(problem)
    lines = []
    order = _Order(layered.origins)
    for path in sorted(by_path, key=order.key)[:MAX_PROBLEMS]:
        told = _tell(cls, layered, path, by_path[path])
        told, origin = told.replace("\n", "\\n"), _who_set(path, layered.origins)
        lines.append(f"\n  {_dotted(path)}{': ' if path else ''}{told}{f'  [{origin}]' if origin else ''}")
    count = "1 problem" if len(by_path) == 1 else f"{len(by_path):,} problems"
    if len(by_path) > MAX_PROBLEMS:
        lines.append(f"\n  ... and {len(by_path) - MAX_PROBLEMS:,} more")
    raise ConfigError(f"{what}: {count}{''.join(lines)}")


def _locate(cls: type[Config], values: Any, error: ErrorDetails) -> _Problem:
    """Tell the parts of pydantic's location that lead through the values from names of a union's alternatives."""
    path: list[str | int] = []
    branches = []
    annotations: list[Any] = [cls]
    for part in error["loc"]:
        below = [child for annotation in annotations for child in children(annotation, values, part)]
        if below or (isinstance(values, dict) and part in values):
            path.append(part)
            annotations, values = below, child_value(values, part)
        else:
            branches.append((tuple(path), str(part)))
    return _Problem(tuple(path), tuple(branches), error)


def _settle_unions(problems: Sequence[_Problem], depth: int = 0) -> list[_Problem]:
    """Of every union keep what was meant.

    An alternative that took the value's shape and failed further down is meant, the one with the fewest problems if
    there are several; if none did, all stay and say together what the value should be.
    """
    kept = [problem for problem in problems if len(problem.branches) == depth]
    unions: dict[Place, dict[str, list[_Problem]]] = defaultdict(lambda: defaultdict(list))
    for problem in problems:
        if len(problem.branches) > depth:
            path, alternative = problem.branches[depth]
            unions[path][alternative].append(problem)
    for path, alternatives in unions.items():
        settled = [_settle_unions(each, depth + 1) for each in alternatives.values()]
        deep = [each for each in settled if all(len(problem.path) > len(path) for problem in each)]
        meant = [min(deep, key=len)] if deep else settled
        kept += [problem for each in meant for problem in each]
    return kept


def _tell(cls: type[Config], layered: Layered, path: Place, problems: Sequence[_Problem]) -> str:
    """What is wrong at one place, in a sentence."""
    shoulds, others = [], []
    for problem in problems:
        error = problem.error
        if error["type"] == "extra_forbidden":
            others.append(_unknown_field(cls, layered.values, path))
        elif error["type"] == "missing":
            others.append(_missing_field(cls, layered.values, path))
        elif error["type"] in {"value_error", "assertion_error"}:
            others.append(str(error["ctx"]["error"]))
        elif should := _should(error):
            shoulds.append(should)
        else:
            others.append(error["msg"])
    if shoulds:
        got = problems[0].error["input"]
        quotes = "; quotes make it text" if shoulds == ["be text"] and isinstance(got, int | float) else ""
        wanted = " or ".join(dict.fromkeys(shoulds)).replace(" or be ", " or ")
        others.insert(0, f"should {wanted}, got {_shorten(got)}{quotes}")
    return "; ".join(dict.fromkeys(others))


def _should(error: ErrorDetails) -> str | None:
    """What goes behind "should"; None for a message that reads otherwise or is a validator's own."""
    known = _SHOULD.get(error["type"])
    if known is None:
        plain = re.match(r"(?:Input )?should (.*)", error["msg"]) if error["type"] in _BUILT_IN else None
        return plain[1] if plain else None
    # Pydantic makes 0 of a float field's bound 0.0.
    context = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in error.get("ctx", {}).items()
    }
    told = known.format(**context)
    return re.sub(r"\b1 (element|character)s$", r"1 \1", told)


def _shorten(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _GOT_LENGTH else f"{text[: _GOT_LENGTH - 4]} ..."


def _unknown_field(cls: type[Config], values: Any, path: Place) -> str:
    name = str(path[-1])
    fields = list(
        dict.fromkeys(field for config in configs_at(cls, values, path[:-1]) for field in config.model_fields)
    )
    near = did_you_mean(name, fields)
    if near:
        return f"no such field{near}"
    elsewhere = dict.fromkeys(
        at or "the top level" for at, config in every_config(cls, values) if name in config.model_fields
    )
    if elsewhere:
        return f"no such field; '{name}' is a field of {' and '.join(elsewhere)}"
    return f"no such field; there are {', '.join(fields)}" if fields else "no such field; there are none"


def _missing_field(cls: type[Config], values: Any, path: Place) -> str:
    fields = [config.model_fields.get(str(path[-1])) for config in configs_at(cls, values, path[:-1])]
    meaning = next((field.description for field in fields if field and field.description), None)
    return f"missing; {' '.join(meaning.split())}" if meaning else "missing; it has no default"


def _who_set(path: Place, origins: dict[str, str]) -> str:
    """The origin of a place, or of the nearest mapping around it."""
    if _dotted(path) in origins:
        return origins[_dotted(path)]
    while path and _dotted(path) not in origins:
        path = path[:-1]
    origin = origins.get(_dotted(path), "")
    at_or_by = "at" if source_and_line(origin)[1] else "by"
    return f"{_dotted(path)} set {at_or_by} {origin}" if path else origin


class _Order:
    """Sorts places by file, the outermost first, then by line, then as the values stand.

    Args:
        origins: dotted path -> who set it.
    """

    def __init__(self, origins: dict[str, str]) -> None:
        self.origins = origins
        self.paths = {path: number for number, path in enumerate(origins)}
        self.sources = {
            source: number
            for number, source in enumerate(dict.fromkeys(source_and_line(origin)[0] for origin in origins.values()))
        }

    def key(self, path: Place) -> tuple[int, int, int]:
        while path and _dotted(path) not in self.origins:
            path = path[:-1]
        source, line = source_and_line(self.origins.get(_dotted(path), ""))
        return self.sources.get(source, 0), line, self.paths.get(_dotted(path), 0)


def _dotted(path: Iterable[str | int]) -> str:
    return ".".join(str(part) for part in path)
