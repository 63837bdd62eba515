"""Tables of kinds: a word in a recipe picks a configuration class, which is imported only then."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from kinoray.config.base import Config


class KindConfig(Config):
    """Base of configurations that are picked by their ``kind``; a subclass gives ``kind`` its own default."""

    kind: str


@dataclass(frozen=True)
class KindTable:
    """What one ``kind`` field may say.

    Used as ``Annotated[Base, KindTable(...)]``. The value in a recipe is a mapping whose ``kind`` is a word of the
    table or, for user code, ``package.module:Class``.

    Attributes:
        what: what is picked, as it reads in messages ("model").
        base: the class that every pick must derive from.
        kinds: word -> ``module:Class``.
        default: the word that is meant when a mapping names none.
    """

    what: str
    base: type[KindConfig]
    kinds: Mapping[str, str] = field(hash=False)
    default: str | None = None

    def pick(self, kind: str) -> type[KindConfig]:
        """Import and return the class behind a word.

        Raises:
            PydanticCustomError: the word is unknown, or the import fails, or the class is of another sort.
        """
        target = self.kinds.get(kind, kind)
        if ":" not in target:
            raise PydanticCustomError(
                "unknown_kind",
                "no {what} of kind '{kind}'",
                {"what": self.what, "kind": kind, "known": sorted(self.kinds)},
            )
        module_name, _, class_name = target.partition(":")
        try:
            picked = getattr(import_module(module_name), class_name)
        except (ImportError, AttributeError) as error:
            raise PydanticCustomError(
                "kind_import", "kind '{kind}' cannot be imported: {why}", {"kind": kind, "why": str(error)}
            ) from error
        if not (isinstance(picked, type) and issubclass(picked, self.base)):
            raise PydanticCustomError(
                "kind_type",
                "kind '{kind}' is no {base}; derive it from {module}.{base}",
                {"kind": kind, "base": self.base.__name__, "module": self.base.__module__},
            )
        return picked

    def validate(self, value: object) -> KindConfig:
        """Turn a mapping with a ``kind`` into its configuration object."""
        if isinstance(value, self.base):
            return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError(
                "kind_mapping", "{what} is a mapping with a 'kind', not {got}", {"what": self.what, "got": repr(value)}
            )
        kind = value.get("kind", self.default)
        if not isinstance(kind, str):
            raise PydanticCustomError(
                "kind_missing", "{what} needs a 'kind'", {"what": self.what, "known": sorted(self.kinds)}
            )
        return self.pick(kind).model_validate({**value, "kind": kind})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda config: config.model_dump()),
        )
