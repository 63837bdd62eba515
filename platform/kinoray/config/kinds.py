"""Tables of kinds: a word in a recipe picks a configuration class, which is imported only then."""

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationError
from pydantic_core import PydanticCustomError, core_schema

from kinoray.config.base import Config
from kinoray.config.suggest import did_you_mean

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


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

    @property
    def choices(self) -> str:
        """What a ``kind`` may say, as it reads in messages."""
        own = "package.module:Class for your own"
        return f"one of {', '.join(sorted(self.kinds))}; or {own}" if self.kinds else own

    def pick(self, kind: str) -> type[KindConfig]:
        """Import and return the class behind a word.

        Raises:
            PydanticCustomError: the word is unknown, or the import fails, or the class is of another sort.
        """
        target = self.kinds.get(kind, kind)
        if not _TARGET.fullmatch(target):
            raise _kind_error("unknown", f"no {self.what} '{kind}'{did_you_mean(kind, self.kinds)}; {self.choices}")
        module_name, _, class_name = target.partition(":")
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            why = f"{error}; set PYTHONPATH or site.packages"
            raise _kind_error("import", f"'{target}' cannot be imported: {why}") from error
        except (Exception, SystemExit) as error:
            raise _kind_error("import", f"'{target}' cannot be imported: {failure(error)}") from error
        picked = getattr(module, class_name, None)
        if picked is None:
            near = did_you_mean(class_name, vars(module))
            raise _kind_error("import", f"module '{module_name}' has no class '{class_name}'{near}")
        if not (isinstance(picked, type) and issubclass(picked, self.base)):
            base = f"{self.base.__module__}.{self.base.__name__}"
            raise _kind_error("type", f"'{target}' is no {self.what}; its class has to derive from {base}")
        lacking = sorted(getattr(picked, "__abstractmethods__", ()))
        if lacking:
            raise _kind_error("type", f"'{target}' lacks {', '.join(lacking)}; see {self.base.__module__}")
        return picked

    def validate(self, value: object) -> KindConfig:
        """Turn a mapping with a ``kind`` into its configuration object.

        Raises:
            PydanticCustomError: the value is no mapping.
            ValidationError: what is wrong with the mapping, each problem at its own place (``kind`` for a bad pick).
        """
        if isinstance(value, self.base):
            return value
        if not isinstance(value, Mapping):
            wanted = f"a mapping such as {{kind: {self.default or min(self.kinds, default='package.module:Class')}}}"
            raise _kind_error("mapping", f"should be {wanted}")
        kind = value.get("kind", self.default)
        try:
            if kind is None:
                raise _kind_error("missing", f"missing; {self.choices}")
            if not isinstance(kind, str):
                raise _kind_error("unknown", f"should be a word, got {kind!r}; {self.choices}")
            picked = self.pick(kind)
        except PydanticCustomError as error:
            raise ValidationError.from_exception_data(
                self.what, [{"type": error, "loc": ("kind",), "input": kind}]
            ) from error
        return picked.model_validate({**value, "kind": kind})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True),
        )


def failure(error: BaseException) -> str:
    """What code of the user's raised, and where."""
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):  # which names its line itself
        return told
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{told} ({last.filename}, line {last.lineno})"


def _kind_error(sort: str, message: str) -> PydanticCustomError:
    # The message goes in as a value: braces in a recipe's words must not be taken for places to fill in.
    return PydanticCustomError(f"kind_{sort}", "{message}", {"message": message})


def _dump(config: KindConfig, info: core_schema.SerializationInfo) -> dict[str, Any]:
    return config.model_dump(mode=info.mode)
