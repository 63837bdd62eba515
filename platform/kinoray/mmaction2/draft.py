"""A recipe while it is put together from a config: its values with who set them, and what there is to say about it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from kinoray.config.yaml_file import Marked
from kinoray.errors import ConfigError
from kinoray.mmaction2.part import Part
from kinoray.mmaction2.read import Source

# In the order of a recipe; the first that a path begins with counts.
_SPLITS = ("data.train", "data.val", "data.test")
_SECTIONS = ("name", "seed", "model", *_SPLITS, "data", "optimizer", "schedule", "loss", "training", "evaluation")


@dataclass(frozen=True)
class Entry:
    """A value of the recipe.

    Attributes:
        path: dotted, in the recipe.
        value: plain.
        key: dotted path in the config of what it was made from.
        origin: the file and line that set it.
    """

    path: str
    value: Any
    key: str
    origin: str


@dataclass(frozen=True)
class Remark:
    """What became of a key that is not in the recipe as it is in the config.

    Attributes:
        key: dotted path in the config.
        origin: the file and line that set it.
        told: why, or in which way.
    """

    key: str
    origin: str
    told: str


class Collecting:
    """See ``Draft.collecting``."""

    def __init__(self, draft: "Draft", target: str) -> None:
        self.draft, self.target = draft, target

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, ConfigError):
            return False
        if not self.draft.is_given(self.target):
            problems = self.draft.problems
            problems += [line for line in str(error).splitlines() if line not in problems]
        return True


class Draft:
    """Collects a recipe's values, remarks and problems.

    Args:
        source: the config.
        given: dotted paths of the recipe that its user sets, so that no translation is needed for them.

    Attributes:
        entries: path -> value of the recipe.
        idle: keys that have no effect here.
        different: keys that are translated to something that is not quite the same.
        problems: lines, each of a key that has no translation.
    """

    def __init__(self, source: Source, given: Collection[str] = ()) -> None:
        self.source = source
        self.given = given
        self.entries: dict[str, Entry] = {}
        self.idle: list[Remark] = []
        self.different: list[Remark] = []
        self.problems: list[str] = []

    def put(self, path: str, value: Any, part: Part, key: str = "") -> None:
        """Set a value of the recipe: a plain one, or a list or mapping of plain ones."""
        self.entries[path] = Entry(path, value, _shown(part, key), part.where(key))

    def ignore(self, part: Part, why: str, *keys: str) -> None:
        """Take those of the keys that are there; they have no effect here."""
        for key in keys:
            if key in part.left:
                part.take(key)
                self.idle.append(Remark(_shown(part, key), part.where(key), why))

    def skip(self, part: Part, why: str) -> None:
        """Take a whole mapping; it has no effect here."""
        part.ignore(tuple(part.values))
        self.idle.append(Remark(_shown(part), part.where(), why))

    def differ(self, part: Part, how: str, key: str = "") -> None:
        """Say in which way a translation is not quite the same."""
        remark = Remark(_shown(part, key), part.where(key), how)
        if remark not in self.different:
            self.different.append(remark)

    def collecting(self, target: str) -> "Collecting":
        """Keep a ConfigError of what follows for later; forget it where the user sets what is at stake.

        Args:
            target: dotted path of the recipe that the translation is of.
        """
        return Collecting(self, target)

    def is_given(self, target: str) -> bool:
        """Whether the user sets a value of the recipe, something in it, or what it is in."""
        return any(f"{path}.".startswith(f"{target}.") or f"{target}.".startswith(f"{path}.") for path in self.given)

    def in_order(self) -> list[Entry]:
        """The entries as a recipe has its sections."""

        def place(entry: Entry) -> int:
            number = next(
                (n for n, section in enumerate(_SECTIONS) if f"{entry.path}.".startswith(f"{section}.")), None
            )
            return len(_SECTIONS) if number is None else number

        return sorted(self.entries.values(), key=place)

    def tree(self) -> Marked:
        """The recipe's values, each with the line of the config that set it."""
        whole = Marked({}, self.source.where(""))
        for entry in self.in_order():
            path = entry.path
            node = whole
            *above, last = path.split(".")
            for name in above:
                node = node.value.setdefault(name, Marked({}, entry.origin))
            node.value[last] = _marked(entry.value, entry.origin)
        return _with_lists(whole)


def _shown(part: Part, key: str = "") -> str:
    """A dotted path; elements of lists with their type, for their number says little."""
    kind = part.values.get("type")
    place = f"{part.path}({kind})" if kind and part.path.rpartition(".")[2].isdecimal() else part.path
    return f"{place}.{key}" if place and key else place or key


def demand(part: Part, key: str, *allowed: Any, why: str) -> None:
    """Take a key that may say only what is the case here anyway; it may be missing.

    Raises:
        ConfigError: it says something else.
    """
    if key in part and part.take(key) not in allowed:
        raise part.error(key, f"{' or '.join(repr(value) for value in allowed)}, {why}")


def _marked(value: Any, origin: str) -> Marked:
    if isinstance(value, dict):
        return Marked({key: _marked(child, origin) for key, child in value.items()}, origin)
    if isinstance(value, list | tuple):
        return Marked([_marked(child, origin) for child in value], origin)
    return Marked(value, origin)


def _with_lists(node: Marked) -> Marked:
    """Mappings whose keys are 0, 1, 2 ... become lists."""
    if isinstance(node.value, list):
        return Marked([_with_lists(child) for child in node.value], node.origin)
    if not isinstance(node.value, dict):
        return node
    fields = {key: _with_lists(child) for key, child in node.value.items()}
    if fields and list(fields) == [str(number) for number in range(len(fields))]:
        return Marked(list(fields.values()), node.origin)
    return Marked(fields, node.origin)
