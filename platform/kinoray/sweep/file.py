"""A sweep: many trainings of one recipe, each with other values; its file, and what is told of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, PrivateAttr, field_validator, model_validator

from kinoray.config.base import Config
from kinoray.config.layers import Layered, override, read_layers, replace_values
from kinoray.config.problems import validate
from kinoray.config.text import inline, to_yaml
from kinoray.errors import ConfigError
from kinoray.metrics import SMALLER_IS_BETTER
from kinoray.recipe import Recipe
from kinoray.sweep.schedulers import PBT, AnyScheduler, NoScheduler
from kinoray.sweep.search import MAX_TRIALS, AnySearch, RandomSearch
from kinoray.sweep.space import Parameter, Point, check_conditions, combinations, fill, num_combinations
from kinoray.sweep.trials import Trial, TrialState
from kinoray.train.events import Event

NOT_SWEPT = {
    "name": "it comes from the sweep",
    "evaluation.monitor": "the sweep ranks all trials by its one metric",
}
CHANGEABLE = ("optimizer.", "schedule", "loss.", "training.")
FIXED = ("optimizer.kind", "training.epochs", "training.init_from", "training.freeze", "training.ema_decay")
"""What may change in mid-training, and what of it may not: a checkpoint has to stay loadable."""


class Budget(Config):
    """How much a sweep may cost."""

    epochs: int | None = Field(None, gt=0)
    """Of each trial; default: the recipe's ``training.epochs``."""
    samples: int | None = Field(None, gt=0)
    """Videos that each trial learns from, in whole epochs; instead of ``epochs``."""
    hours: float | None = Field(None, gt=0)
    """Wall time of the whole sweep; trials that are under way then are ended."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and self.samples is not None:
            raise ValueError("epochs and samples both say how long a trial is; leave one out")
        return self

    @property
    def sets_epochs(self) -> bool:
        return self.epochs is not None or self.samples is not None

    def num_epochs(self, num_videos: int) -> int | None:
        """Of a trial on so many training videos; None: as the recipe says."""
        return self.epochs if self.samples is None else max(1, round(self.samples / num_videos))


@dataclass(frozen=True)
class SweepStarted:
    """Trials begin, or go on; ``trials`` is None where the search plans as it learns. ``where``: the sweep's folder."""

    sweep: "Sweep"
    recipe: Recipe
    trials: tuple[Trial, ...] | None
    where: str


@dataclass(frozen=True)
class TrialChanged:
    """A trial was begun, measured or ended; after ``SweepStarted`` it also tells of trials of an earlier session."""

    state: TrialState


@dataclass(frozen=True)
class TrialEvent:
    """What happened inside a trial."""

    number: int
    event: Event


@dataclass(frozen=True)
class SweepFinished:
    """No trial is left; ``states`` has the best first."""

    states: tuple[TrialState, ...]


SweepEvent: TypeAlias = SweepStarted | TrialChanged | TrialEvent | SweepFinished
SweepListener: TypeAlias = Callable[[SweepEvent], None]


class Sweep(Config):
    """What is tried, in which order, and how much of it."""

    name: str = Field("sweep", pattern=r"^[^./\\?][^/\\?]*$")
    """Of its folder in the site's storage, where the same command goes on; default: the file's name."""
    recipe: str = Field(min_length=1)
    """Path of a recipe, relative to this file."""
    metric: str | None = None
    """Of ``data.val``, ranks trials and checkpoints; default: the recipe's ``evaluation.monitor``."""
    mode: Literal["max", "min"] | None = None
    """Which values are better; follows from the metric, and is there to be seen."""
    trials: int | None = Field(None, gt=0, le=MAX_TRIALS)
    """Points to try; a grid needs none."""
    concurrency: int | None = Field(None, gt=0)
    """Trials at a time; default: as many as the site holds."""
    space: dict[str, Parameter] = Field(min_length=1)
    """Dotted path of the recipe -> what it may be."""
    search: AnySearch = RandomSearch()
    scheduler: AnyScheduler = NoScheduler()
    budget: Budget = Budget()
    seeds: tuple[int, ...] = ()
    """Each point is tried with each of these; default: the recipe's one."""
    max_retries: int = Field(1, ge=0)
    """Times that a trial goes on from its checkpoint after a worker died, before it is given up."""

    _layered: Layered = PrivateAttr(default_factory=lambda: Layered({}, {}))
    _folder: Path = PrivateAttr(default_factory=Path)

    @field_validator("search", "scheduler", mode="before")
    @classmethod
    def _a_word_is_a_kind(cls, value: object) -> object:
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or any(seed < 0 for seed in seeds):
            raise ValueError("seeds should be different whole numbers from 0 on")
        return seeds

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        check_conditions(self.space)
        if self.search.learns:
            num_combinations(self._of_data(), MAX_TRIALS)
        self.search.num_points(self.space, self.trials)
        for path in self.space:
            if path in NOT_SWEPT or (path == "seed" and self.seeds):
                raise ValueError(f"space: {path} cannot be swept, {NOT_SWEPT.get(path, 'seeds names them already')}")
            if path == "training.epochs" and self.budget.sets_epochs:
                raise ValueError(f"space: {path} cannot be swept, budget says how long a trial is; leave one out")
        self._check_order()
        if self.mode is not None and self.metric is not None and self.mode != _mode(self.metric):
            raise ValueError(f"mode, got {self.mode}; of {self.metric} {_mode(self.metric)} is better")
        if isinstance(self.scheduler, PBT):
            self._check_pbt(self.scheduler)
        return self

    def _check_order(self) -> None:
        for number, path in enumerate(self.space):
            for later in tuple(self.space)[number + 1 :]:
                if path.startswith(f"{later}."):
                    raise ValueError(f"space: {later} would replace {path}, which stands above it; put {later} first")

    def _check_pbt(self, scheduler: PBT) -> None:
        if self.search.learns:
            raise ValueError(f"search, got {self.search.kind} with scheduler pbt, which takes its place; use random")
        unknown = [path for path in scheduler.perturb if path not in self.space]
        if unknown:
            raise ValueError(f"scheduler.perturb, got {unknown[0]}; it should name paths of the space")
        bound = [path for path in scheduler.perturb if self.space[path].when]
        if bound:
            raise ValueError(f"scheduler.perturb, got {bound[0]}, which is set only under a condition")
        fixed = [path for path in scheduler.perturb if path in FIXED]
        if fixed:
            raise ValueError(f"scheduler.perturb, got {fixed[0]}, which cannot change in mid-training")
        if not self.perturbed:
            raise ValueError("scheduler pbt: no path of the space can change in mid-training; name some in perturb")

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a sweep file and overrides such as ``trials=4``.

        Raises:
            ConfigError: lists every problem with what set it.
        """
        layered = read_layers(path)
        if "name" not in layered.values:
            layered = replace_values(layered, {"name": Path(path).stem}, "the file's name")
        layered = override(layered, overrides)
        sweep = validate(cls, layered, f"sweep {path}")
        sweep._layered, sweep._folder = layered, Path(path).parent  # noqa: SLF001 - its own class
        return sweep

    @property
    def recipe_path(self) -> Path:
        return self._folder / self.recipe

    @property
    def perturbed(self) -> tuple[str, ...]:
        """Paths that population-based training changes."""
        if not isinstance(self.scheduler, PBT):
            return ()
        return self.scheduler.perturb or tuple(
            path
            for path, parameter in self.space.items()
            if path.startswith(CHANGEABLE) and path not in FIXED and not parameter.when
        )

    @property
    def num_trials(self) -> int:
        return self.search.num_points(self.space, self.trials) * max(1, len(self.seeds))

    def load_recipe(self, overrides: Sequence[str] = ()) -> Recipe:
        """The recipe that all trials start from.

        Raises:
            ConfigError: it has problems, or does not measure the sweep's metric, or an override would be lost.
        """
        self._check_overrides(overrides)
        try:
            recipe = Recipe.load(self.recipe_path, overrides)
        except ConfigError as error:
            if self.recipe_path.is_file():
                raise
            raise ConfigError(f"{error}{self.set_by('recipe')}") from error
        metric = self.metric or recipe.evaluation.monitor
        if recipe.data.val is None:
            raise ConfigError(f"{self.recipe_path}: data.val, got none; a sweep ranks its trials by a metric of it")
        if metric not in recipe.measured:
            raise ConfigError(
                f"metric, got {metric}, which is never logged; it should be one of {', '.join(recipe.measured)}"
                f"{self.set_by('metric')}"
            )
        if self.mode not in {None, _mode(metric)}:
            raise ConfigError(f"mode, got {self.mode}; of {metric} {_mode(metric)} is better{self.set_by('mode')}")
        # Scores of shuffled frames are for the one that is chosen, not for each that is tried.
        changed = {"evaluation.monitor": metric, "evaluation.temporal_probe": False}
        old = {"evaluation.monitor": recipe.evaluation.monitor}
        changed = {path: value for path, value in changed.items() if old.get(path) != value}
        return recipe.replace(changed, f"sweep {self.name}")

    def _check_overrides(self, overrides: Sequence[str]) -> None:
        """Raises ConfigError where the sweep sets what was overridden."""
        own = {path: f"space.{path}" for path, parameter in self.space.items() if not parameter.when}
        own |= {"seed": "seeds"} if self.seeds else {}
        own |= {"training.epochs": "budget"} if self.budget.sets_epochs else {}
        own |= {"evaluation.monitor": "metric"} if self.metric is not None else {}
        for assignment in overrides:
            path = assignment.partition("=")[0].strip()
            for below, where in own.items():
                if f"{path}.".startswith(f"{below}."):
                    raise ConfigError(
                        f"--set {path}: the sweep's {where} sets it for every trial; leave out one of the two"
                        f"{self.set_by(where)}"
                    )

    def with_budget(self, recipe: Recipe, num_videos: int) -> Recipe:
        """The recipe with as many epochs as the budget says.

        Raises:
            ConfigError: its schedules do not fit them.
        """
        epochs = self.budget.num_epochs(num_videos)
        where = "samples" if self.budget.epochs is None else "epochs"
        return (
            recipe if epochs is None else recipe.replace({"training.epochs": epochs}, self._origin(f"budget.{where}"))
        )

    def check(self, recipe: Recipe) -> list[Recipe]:
        """Validate both ends of every range, every choice, and every point that is planned.

        Returns:
            The recipes of all of them.

        Raises:
            ConfigError: lists every problem with the line of the sweep file.
        """
        ends = [(path, fill(self.space, {path: end})) for path, each in self.space.items() for end in each.ends]
        recipes, problems = self._tried(recipe, ends)
        if not problems:
            points = self._planned_points()
            if self.search.learns:  # so that every dataset that a trial may need is known
                points = [fill(self.space, point) for point in combinations(self._of_data())]
            together, problems = self._tried(recipe, [("", point) for point in points])
            recipes += together
        if problems:
            count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
            raise ConfigError(f"sweep {self.name}: {count}\n" + "\n".join(problems))
        return recipes

    def _tried(self, recipe: Recipe, points: Sequence[tuple[str, Point]]) -> tuple[list[Recipe], list[str]]:
        """Recipes of points, each there for a path or for itself, and what is wrong with them."""
        recipes: list[Recipe] = []
        own: dict[str, None] = {}
        others: dict[str, None] = {}
        for path, point in points:
            origin = self._origin(f"space.{path}" if path else "space")
            try:
                recipes.append(recipe.replace(self._values(point), origin))
            except ConfigError as error:
                for line in str(error).splitlines()[1:] or [f"  {error}"]:
                    # Of a point that is there for one path the rest may be wrong, too, and has a line of its own.
                    (own if path and line.strip().startswith(path) else others)[line] = None
        return recipes, list(own or others)

    def planned(self, recipe: Recipe) -> tuple[Trial, ...] | None:
        """All trials; None where the search learns from earlier ones."""
        if self.search.learns:
            return None
        points = self._planned_points()
        per_point = max(1, len(self.seeds))
        return tuple(self.trial(number, points[number // per_point], recipe.seed) for number in range(self.num_trials))

    def trial(self, number: int, point: Point, seed: int) -> Trial:
        """A trial at a point; ``seed`` is the recipe's, for a sweep that says none."""
        values = self._values(point)
        own = self.seeds[number % len(self.seeds)] if self.seeds else int(values.get("seed", seed))
        return Trial(number, values, own, f"{self.name}-{number:03d}", dict(point))

    def recipe_of(self, recipe: Recipe, trial: Trial) -> Recipe:
        """What a trial trains; only its name differs from the recipe of the command that repeats it.

        Raises:
            ConfigError: the values cannot be together.
        """
        return recipe.replace({**trial.values, "seed": trial.seed, "name": trial.name}, f"sweep {self.name}")

    def assignments(self, recipe: Recipe, trial: Trial, overrides: Sequence[str] = ()) -> list[str]:
        """What else to ``--set`` on the recipe to train this trial alone.

        Args:
            recipe: of ``with_budget``.
            trial: of the sweep.
            overrides: that the recipe was loaded with.
        """
        given = Recipe.load(self.recipe_path, overrides)
        changed: dict[str, Any] = dict(trial.values)
        if trial.seed != given.seed:
            changed["seed"] = trial.seed
        for path in ("training.epochs", "evaluation.monitor"):
            if path not in changed and (value := recipe.flat()[path]) != given.flat()[path]:
                changed[path] = value
        return [f"{path}={inline(value)}" for path, value in changed.items()]

    def yaml(self) -> str:
        """The whole sweep, defaults included."""
        return to_yaml(self)

    def set_by(self, path: str) -> str:
        """Who set a value, as messages end; empty where nobody did."""
        origin = self._layered.origins.get(path)
        return f"  [{origin}]" if origin else ""

    def _of_data(self) -> dict[str, Parameter]:
        """The part of the space that decides which videos and classes there are."""
        return {path: each for path, each in self.space.items() if path.startswith(("data.", "model."))}

    def _origin(self, path: str) -> str:
        return self._layered.origins.get(path, f"sweep {self.name}")

    def _planned_points(self) -> list[Point]:
        if self.search.learns:
            return []
        search = self.search.start(self.space)
        return [search.ask(index) for index in range(self.search.num_points(self.space, self.trials))]

    def _values(self, point: Point) -> dict[str, Any]:
        return {path: self.space[path].value(label) for path, label in point.items()}


def _mode(metric: str) -> Literal["max", "min"]:
    return "min" if metric in SMALLER_IS_BETTER else "max"
