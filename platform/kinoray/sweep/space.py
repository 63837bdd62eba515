"""What a sweep may choose from: a range or a list of values for each dotted path of a recipe. Imports no torch.

A choice is written down as its *label*: the value itself where it is a word or a number, the name of a named choice,
else the value as one line of YAML. Labels are what tables, logs and samplers see.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Self, TypeAlias

from pydantic import Field, model_validator

from kinoray.config.base import Config
from kinoray.config.text import inline

Label: TypeAlias = str | int | float | bool | None
Point: TypeAlias = Mapping[str, Label]
"""Dotted path -> label; paths whose condition does not hold are left out."""
SearchSpace: TypeAlias = "Mapping[str, Parameter]"

DIGITS = 4
"""Of a number drawn from a range: enough to tell trials apart, and short in a command."""
RANGES = ("uniform", "loguniform", "randint")
LISTS = ("choice", "grid")


class Parameter(Config):
    """The values that one path of the recipe may take; exactly one of the five ways to say it is given."""

    uniform: tuple[float, float] | None = None
    """Lowest and highest number, all equally likely."""
    loguniform: tuple[float, float] | None = None
    """Lowest and highest number, all orders of magnitude equally likely."""
    randint: tuple[int, int] | None = None
    """Lowest and highest whole number, both included."""
    choice: tuple[Any, ...] | dict[str, Any] | None = None
    """Values, or names and what they stand for, such as whole schedules."""
    grid: tuple[Any, ...] | dict[str, Any] | None = None
    """As ``choice``, but in turn, so that each comes equally often."""
    step: float | None = Field(None, gt=0)
    """Between neighbours in a range, counted from its lowest number."""
    when: Mapping[str, Any] = {}
    """Other paths of the space and the labels (one or a list) that they must have for this one to be set at all."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        given = [name for name in (*RANGES, *LISTS) if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"got {' and '.join(given) or 'nothing to choose from'}; it should have one of "
                             f"{', '.join((*RANGES, *LISTS))}")  # fmt: skip
        if given[0] in RANGES:
            low, high = self.bounds
            if low >= high:
                raise ValueError(f"{given[0]}, got [{low:g}, {high:g}]; the first should be less than the second")
            if given[0] == "loguniform" and low <= 0:
                raise ValueError(f"loguniform, got [{low:g}, {high:g}]; both should be above 0")
        elif self.step is not None:
            raise ValueError(f"step, got {self.step:g} with {given[0]}; only a range has steps")
        elif len(self.options) < len(self.choice or self.grid or ()) or not self.options:
            raise ValueError(f"{given[0]}: should name at least one value, and each once")
        return self

    @property
    def is_range(self) -> bool:
        return self.choice is None and self.grid is None

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest number of a range."""
        bounds = self.uniform or self.loguniform or self.randint
        assert bounds is not None, self
        return bounds

    @property
    def options(self) -> dict[Label, Any]:
        """Label -> value of a list; empty for a range."""
        listed = self.choice if self.choice is not None else self.grid
        if isinstance(listed, dict):
            return dict(listed.items())
        return {_label(value): value for value in listed or ()}

    @property
    def ends(self) -> tuple[Label, ...]:
        """Both ends of a range, every label of a list: what is validated before anything starts."""
        return tuple(self.rounded(end) for end in self.bounds) if self.is_range else tuple(self.options)

    def value(self, label: Label) -> Any:
        """What goes into the recipe."""
        return label if self.is_range else self.options[label]

    def at(self, share: float) -> Label:
        """The label at a share of the way through the range or list, 0 <= share < 1."""
        if not self.is_range:
            labels = tuple(self.options)
            return labels[int(share * len(labels))]
        low, high = self.bounds
        if self.loguniform is not None:
            return self.rounded(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
        if self.randint is not None and self.step is None:
            return low + int(share * (high - low + 1))
        return self.rounded(low + share * (high - low))

    def rounded(self, number: float) -> int | float:
        """The nearest number that the range may give."""
        low, high = self.bounds
        if self.step is not None:
            steps = min(round((number - low) / self.step), math.floor((high - low) / self.step + 1e-9))
            number = float(f"{low + max(0, steps) * self.step:.12g}")
        elif self.randint is None and low < number < high:
            number = float(f"{number:.{DIGITS}g}")
        number = min(max(number, low), high)
        return round(number) if self.randint is not None else number

    def is_set(self, point: Point) -> bool:
        """Whether its condition holds at a point."""
        return all(path in point and point[path] in _listed(wanted) for path, wanted in self.when.items())


def fill(space: SearchSpace, wanted: Point) -> dict[str, Label]:
    """A point with some labels as wanted, conditions that they need met, and the first label everywhere else.

    Where these conditions cannot all be met, what was wanted is left out.
    """
    allowed: dict[str, list[Label]] = {path: [label] for path, label in wanted.items()}
    for path in reversed(tuple(space)):  # a condition names paths above
        if path in allowed:
            for above, labels in space[path].when.items():
                known = allowed.get(above, space[above].options)
                allowed[above] = [label for label in known if label in _listed(labels)]
    point: dict[str, Label] = {}
    for path, parameter in space.items():
        if parameter.is_set(point):
            point[path] = next(iter(allowed.get(path, ())), parameter.ends[0])
    return point


def combinations(space: SearchSpace) -> Iterator[dict[str, Label]]:
    """Every combination of the space's lists, conditions regarded; ranges are left out."""

    def extend(point: dict[str, Label], paths: tuple[str, ...]) -> Iterator[dict[str, Label]]:
        if not paths:
            yield point
        elif space[paths[0]].is_set(point):
            for label in space[paths[0]].options:
                yield from extend({**point, paths[0]: label}, paths[1:])
        else:
            yield from extend(point, paths[1:])

    return extend({}, tuple(path for path, parameter in space.items() if not parameter.is_range))


def num_combinations(space: SearchSpace, most: int) -> int:
    """How many ``combinations`` there are.

    Raises:
        ValueError: more than ``most``; counting goes no further.
    """
    count = sum(1 for _ in islice(combinations(space), most + 1))
    if count > most:
        raise ValueError(f"space: its lists have more than {most:,} combinations; list fewer values, or draw at random")
    return count


def check_conditions(space: SearchSpace) -> None:
    """Raises ValueError where a condition can never be met, or names a path that does not stand above."""
    for number, (path, parameter) in enumerate(space.items()):
        above = tuple(space)[:number]
        for other, wanted in parameter.when.items():
            if other not in above:
                raise ValueError(f"{path}.when: '{other}' is no path that stands above it in the space")
            unknown = [label for label in _listed(wanted) if label not in space[other].options]
            if unknown:
                known = ", ".join(str(label) for label in space[other].options) or "none, it is a range"
                raise ValueError(f"{path}.when: {other} is never {unknown[0]!r}; its labels are {known}")
        if path not in fill(space, {path: parameter.ends[0]}):
            raise ValueError(f"{path}.when: is never met, so {path} would never be set; its labels exclude each other")


def _label(value: Any) -> Label:
    return value if value is None or isinstance(value, str | int | float) else inline(value)


def _listed(wanted: Any) -> list[Any]:
    return list(wanted) if isinstance(wanted, list | tuple) else [wanted]
