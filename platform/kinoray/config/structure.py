"""Which configuration classes stand where: annotations followed along the values, which pick the kinds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from kinoray.config.base import Config
from kinoray.config.kinds import KindConfig, KindTable

Hint: TypeAlias = Any
"""An annotation: a class, a generic, a union, ``Annotated``."""


def children(annotation: Hint, value: Any, key: str | int) -> list[Hint]:
    """Annotations of what lies under ``key`` of a value; empty where the annotation foresees no such key."""
    found: list[Hint] = []
    for option in _options(annotation, value):
        origin, args = _parts(option)
        if _is_config(option):
            fields = option.model_fields
            found += [fields[key].rebuild_annotation()] if key in fields else []
        elif origin is tuple and isinstance(key, int) and args[-1:] != (Ellipsis,):
            found += args[key : key + 1]
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            found.append(args[1])
        elif isinstance(origin, type) and isinstance(key, int):
            found.append(args[0])
    return found


def configs_at(cls: type[Config], values: Any, path: Sequence[str | int]) -> list[type[Config]]:
    """The classes that the mapping at ``path`` may become: several in a union, none where it is no configuration."""
    annotations: list[Hint] = [cls]
    for key in path:
        annotations = [child for annotation in annotations for child in children(annotation, values, key)]
        values = child_value(values, key)
    return [option for annotation in annotations for option in _options(annotation, values) if _is_config(option)]


def every_config(annotation: Hint, value: Any, path: str = "") -> Iterator[tuple[str, type[Config]]]:
    """Dotted path and class of every configuration in the tree, the defaults of what is not set included."""
    if value is None:
        return
    configs = [option for option in _options(annotation, value) if _is_config(option)]
    keys: dict[str | int, None] = {}
    for config in configs:
        yield path, config
        keys |= dict.fromkeys(config.model_fields)
    if not configs and isinstance(value, Mapping | list | tuple):
        keys |= dict.fromkeys(value if isinstance(value, Mapping) else range(len(value)))
    for key in keys:
        for child in children(annotation, value, key):
            default = _default(config.model_fields[key] for config in configs if key in config.model_fields)
            yield from every_config(child, child_value(value, key, default), f"{path}.{key}" if path else str(key))


def child_value(value: Any, key: str | int, default: Any = None) -> Any:
    """What lies under ``key`` of a mapping, a list or a configuration object."""
    if isinstance(value, Mapping):
        return value.get(key, default)
    if isinstance(value, list | tuple):
        return value[key] if isinstance(key, int) and key < len(value) else default
    return getattr(value, str(key), default) if isinstance(value, Config) else default


def _default(fields: Iterable[FieldInfo]) -> Any:
    """The value of a field that is not set; empty where nothing can be told, so that its class still counts."""
    for field in fields:
        if field.is_required() or field.default_factory_takes_validated_data:
            return {}
        return field.get_default(call_default_factory=True)
    return None


def _options(annotation: Hint, value: Any) -> Iterator[Hint]:
    """The alternatives that an annotation stands for: unions opened, ``Annotated`` taken off, kinds picked."""
    origin, args = _parts(annotation)
    if origin is Annotated:
        tables = [extra for extra in args[1:] if isinstance(extra, KindTable)]
        if tables:
            yield _picked(tables[0], value)
        else:
            yield from _options(args[0], value)
    elif origin in {Union, UnionType}:
        for option in args:
            yield from _options(option, value)
    else:
        yield annotation


def _picked(table: KindTable, value: Any) -> type[KindConfig]:
    if isinstance(value, table.base):
        return type(value)
    try:
        return table.pick(child_value(value, "kind") or table.default or "")
    except (PydanticCustomError, TypeError):
        return table.base


def _parts(annotation: Hint) -> tuple[Any, tuple[Any, ...]]:
    """A generic's origin and arguments. The wide types keep mypy from ruling out special forms such as Annotated."""
    return get_origin(annotation), get_args(annotation)


def _is_config(option: Hint) -> bool:
    return get_origin(option) is None and isinstance(option, type) and issubclass(option, Config)
