"""One mapping of a config while it is translated: every key has to be taken, so that nothing is dropped in silence."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from kinoray.config.suggest import did_you_mean
from kinoray.errors import ConfigError
from kinoray.mmaction2.read import Source

_FIRST = object()


class Part:
    """A mapping of a config that is taken apart key by key.

    Args:
        source: the config.
        path: dotted, of the mapping in it.
        values: the mapping.
    """

    def __init__(self, source: Source, path: str, values: Mapping[str, Any]) -> None:
        self.source, self.path, self.values = source, path, values
        self.left = dict.fromkeys(values)

    @classmethod
    def whole(cls, source: Source) -> "Part":
        return cls(source, "", source.values)

    @property
    def type(self) -> str:
        """What ``type`` says, without the name of a registry before it; taken. Empty where there is none."""
        return str(self.take("type", "")).rpartition(".")[2]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def below(self, key: str) -> str:
        """The dotted path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def where(self, key: str = "") -> str:
        """The file and line that set a key, or the whole."""
        return self.source.where(self.below(key) if key else self.path)

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key, which counts as translated."""
        self.left.pop(key, None)
        return self.values.get(key, default)

    def need(self, key: str) -> Any:
        """The value of a key that has no default.

        Raises:
            ConfigError: it is missing.
        """
        if key not in self.values:
            raise ConfigError(f"{self.where()}: {self.path}: missing '{key}'")
        return self.take(key)

    def part(self, key: str) -> "Part | None":
        """The mapping behind a key, None where there is none; it has to be finished on its own.

        Raises:
            ConfigError: it is no mapping.
        """
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.error(key, "a mapping such as dict(type=...)")
        return Part(self.source, self.below(key), value)

    def parts(self, key: str) -> list["Part"]:
        """The mappings of the list behind a key, empty where there is none; one mapping counts as a list of it.

        Raises:
            ConfigError: it is something else.
        """
        value = self.take(key)
        if value is None:
            return []
        if isinstance(value, Mapping):
            return [Part(self.source, self.below(key), value)]
        if not (isinstance(value, Sequence) and all(isinstance(element, Mapping) for element in value)):
            raise self.error(key, "a list of mappings such as dict(type=...)")
        return [Part(self.source, f"{self.below(key)}.{i}", element) for i, element in enumerate(value)]

    def only(self, key: str, *allowed: Any, default: Any = _FIRST) -> None:
        """Take a key that may say nothing else than what is the case anyway.

        Args:
            key: of this mapping.
            allowed: tuples stand for lists.
            default: what its absence means; the first of ``allowed`` unless given.

        Raises:
            ConfigError: it says something else, or means it by its absence.
        """
        absent = allowed[0] if default is _FIRST else default
        if _listed(self.take(key, absent)) not in [_listed(value) for value in allowed]:
            raise self.error(key, " or ".join(repr(value) for value in allowed), default=absent)

    def demand(self, values: Mapping[str, Any]) -> None:
        """Take keys that may say nothing else than these values, which their absence means too; see ``only``."""
        for key, value in values.items():
            self.only(key, value)

    def choice(self, key: str, words: Mapping[Any, Any], default: Any) -> Any:
        """Take a key whose values have other names here.

        Args:
            key: of this mapping.
            words: value -> what it is here.
            default: the value that its absence means.

        Raises:
            ConfigError: the value has no translation.
        """
        value = self.take(key, default)
        if isinstance(value, dict | list) or value not in words:
            raise self.error(key, " or ".join(repr(word) for word in words), default=default)
        return words[value]

    def ignore(self, keys: Collection[str]) -> None:
        """Take keys that have no effect on what is translated, whatever they say."""
        for key in keys:
            self.left.pop(key, None)

    def error(self, key: str, should: str, *, default: Any = None) -> ConfigError:
        """For a key whose value, or the default in its absence, has no translation."""
        got = f"got {_short(self.values[key])}" if key in self.values else f"missing, which means {_short(default)}"
        return ConfigError(f"{self.where(key)}: {self.below(key)}, {got}; it should be {should}")

    def finish(self, known: Collection[str] = ()) -> None:
        """Demand that all keys were taken.

        Args:
            known: keys that there may be, to guess what was meant.

        Raises:
            ConfigError: lists those that have no translation.
        """
        if not self.left:
            return
        told = [
            f"{self.where(key)}: {self.below(key)}, got {_short(self.values[key])}; it has no translation"
            f"{did_you_mean(key, known)}"
            for key in self.left
        ]
        raise ConfigError("\n".join(told))

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)


def _listed(value: Any) -> Any:
    return [_listed(element) for element in value] if isinstance(value, list | tuple) else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."
