"""How a sweep picks its points: at random, all of a grid, or by what earlier trials taught. Imports no torch or Ray."""

from __future__ import annotations

from abc import abstractmethod
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

import numpy as np
from pydantic import Field

from kinoray.config.kinds import KindConfig, KindTable
from kinoray.errors import ResourceError
from kinoray.sweep.space import combinations, num_combinations

MAX_TRIALS = 10_000
"""Of a sweep: all are checked before the first one starts."""

if TYPE_CHECKING:
    from kinoray.sweep.space import Label, Parameter, Point, SearchSpace


class Search(Protocol):
    """A search under way."""

    def ask(self, index: int) -> Point:
        """The next point; ``index`` counts them from 0."""
        ...

    def tell(self, index: int, merit: float | None) -> None:
        """What came of a point: larger is better; None where it failed."""
        ...


class SearchConfig(KindConfig):
    """Base of all searches; derive from it for one of your own."""

    learns: ClassVar[bool] = True
    """Whether a point depends on what earlier ones gave; else all of them are planned before the sweep starts."""

    seed: int = Field(0, ge=0)
    """Of the points, not of the trainings."""

    def num_points(self, space: SearchSpace, trials: int | None) -> int:
        """How many points it tries.

        Raises:
            ValueError: this cannot be told, or the space does not suit.
        """
        del space
        if trials is None:
            raise ValueError(f"trials: missing; say how many points a {self.kind} search should try")
        return trials

    @abstractmethod
    def start(self, space: SearchSpace) -> Search:
        """Begin; the same space and seed, asked and told in the same order, give the same points."""


class RandomSearch(SearchConfig):
    """Each point is drawn by itself: more trials leave the first ones as they were."""

    learns = False
    kind: str = "random"

    def num_points(self, space: SearchSpace, trials: int | None) -> int:
        num_combinations(_in_turn(space), MAX_TRIALS)
        return super().num_points(space, trials)

    def start(self, space: SearchSpace) -> Search:
        return _Random(space, self.seed)


class GridSearch(SearchConfig):
    """Every combination, or the first ``trials`` of them."""

    learns = False
    kind: str = "grid"

    def num_points(self, space: SearchSpace, trials: int | None) -> int:
        ranges = [path for path, parameter in space.items() if parameter.is_range]
        if ranges:
            raise ValueError(f"search grid takes choice and grid, got a range for {ranges[0]}; list its values")
        count = num_combinations(space, MAX_TRIALS)
        return count if trials is None else min(trials, count)

    def start(self, space: SearchSpace) -> Search:
        return _Grid(space)


class OptunaSearch(SearchConfig):
    """Tree-structured Parzen estimator of Optuna: points near those that did well. Source: Bergstra et al., 2011."""

    kind: str = "optuna"
    startup_trials: int = Field(10, gt=0)
    """Drawn at random before it begins to learn."""

    def num_points(self, space: SearchSpace, trials: int | None) -> int:
        try:
            import optuna  # noqa: F401 - only whether it is there
        except ModuleNotFoundError:
            raise ResourceError("search optuna: Optuna is not installed; `pip install kinoray[sweep]`") from None
        return super().num_points(space, trials)

    def start(self, space: SearchSpace) -> Search:
        return _Optuna(space, self)


SEARCHES = KindTable(
    what="search",
    base=SearchConfig,
    kinds={
        "random": "kinoray.sweep.search:RandomSearch",
        "grid": "kinoray.sweep.search:GridSearch",
        "optuna": "kinoray.sweep.search:OptunaSearch",
    },
    default="random",
)
AnySearch = Annotated[SearchConfig, SEARCHES]


class _Random:
    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space, self.seed = space, seed
        gridded = _in_turn(space)
        self.in_turn = list(combinations(gridded)) if gridded else []

    def ask(self, index: int) -> Point:
        rng = np.random.default_rng([self.seed, index])
        turn = self.in_turn[index % len(self.in_turn)] if self.in_turn else {}
        point: dict[str, Label] = {}
        for path, parameter in self.space.items():
            drawn = turn[path] if path in turn else parameter.at(rng.random())
            if parameter.is_set(point):
                point[path] = drawn
        return point

    def tell(self, index: int, merit: float | None) -> None:
        """Nothing is learned."""


class _Grid:
    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def ask(self, index: int) -> Point:
        return next(islice(combinations(self.space), index, None))

    def tell(self, index: int, merit: float | None) -> None:
        """Nothing is learned."""


class _Optuna:
    def __init__(self, space: SearchSpace, config: OptunaSearch) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space = space
        sampler = optuna.samplers.TPESampler(seed=config.seed, n_startup_trials=config.startup_trials)
        self.study = optuna.create_study(sampler=sampler, direction="maximize")
        self.failed = optuna.trial.TrialState.FAIL
        self.asked: dict[int, Any] = {}

    def ask(self, index: int) -> Point:
        trial = self.asked[index] = self.study.ask()
        point: dict[str, Label] = {}
        for path, parameter in self.space.items():
            if parameter.is_set(point):
                point[path] = _suggested(trial, path, parameter)
        return point

    def tell(self, index: int, merit: float | None) -> None:
        self.study.tell(self.asked.pop(index), merit, state=self.failed if merit is None else None)


def _suggested(trial: Any, path: str, parameter: Parameter) -> Label:
    if not parameter.is_range:
        labels = tuple(parameter.options)
        return labels[int(trial.suggest_categorical(path, range(len(labels))))]
    low, high = parameter.bounds
    if parameter.randint is not None:
        return parameter.rounded(trial.suggest_int(path, low, high))
    return parameter.rounded(trial.suggest_float(path, low, high, log=parameter.loguniform is not None))


def _in_turn(space: SearchSpace) -> SearchSpace:
    """Those that take their values in turn, without their conditions."""
    return {
        path: parameter.model_copy(update={"when": {}})
        for path, parameter in space.items()
        if parameter.grid is not None
    }
