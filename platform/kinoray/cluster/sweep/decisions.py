"""What decides in a sweep, in Ray Tune's terms: searches that learn, and schedulers."""

from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher

from kinoray.cluster.sweep.population import Population
from kinoray.cluster.sweep.tuning import MERIT, TIME
from kinoray.errors import ConfigError
from kinoray.recipe import Recipe
from kinoray.sweep.file import Sweep
from kinoray.sweep.schedulers import ASHA, PBT, MedianStop, NoScheduler, TuneScheduler
from kinoray.sweep.space import Point
from kinoray.sweep.trials import TrialState


class LearningSearch(Searcher):  # type: ignore[misc]
    """A search that learns, to Tune. What it had asked and been told in an earlier session, it asks and is told anew.

    Args:
        sweep: says which.
        history: states of an earlier session, the oldest first.
        note: is told each new trial's number and point.
        outcome: a trial's number -> its merit, None where it failed.
    """

    def __init__(self, sweep: Sweep, history: list[TrialState], note: Any, outcome: Any) -> None:
        super().__init__(metric=MERIT, mode="max")
        self.sweep, self.note, self.outcome = sweep, note, outcome
        self.search = sweep.search.start(sweep.space)
        self.per_point = max(1, len(sweep.seeds))
        self.points: list[Point] = []
        self.known: dict[int, Point] = {}
        self.next_number = 0
        self.numbers: dict[str, int] = {}
        self.told: set[int] = set()
        for state in history:
            number = state.trial.number
            if number not in self.known:
                self._point(number)
                self.known[number] = state.trial.labels
            if state.is_over:
                self._tell(number)

    def suggest(self, trial_id: str) -> Any:
        number, self.next_number = self.next_number, self.next_number + 1
        if number >= self.sweep.num_trials:
            return Searcher.FINISHED
        self.numbers[trial_id] = number
        point = self.known.get(number)
        if point is None:
            point = self._point(number)
            self.note(number, point)
        return {"trial": {"number": number, "labels": dict(point)}}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        del result
        if not error:
            self._tell(self.numbers[trial_id])

    def save(self, checkpoint_path: str) -> None:
        """The record is what is kept."""

    def restore(self, checkpoint_path: str) -> None:
        """Never called: see the module."""

    def _point(self, number: int) -> Point:
        index = number // self.per_point
        if index == len(self.points):
            self.points.append(self.search.ask(index))
        return self.points[index]

    def _tell(self, number: int) -> None:
        """Of a point with several seeds the mean, when the last is there."""
        if number in self.told:
            return
        self.told.add(number)
        index = number // self.per_point
        siblings = range(index * self.per_point, (index + 1) * self.per_point)
        if all(sibling in self.told for sibling in siblings):
            merits = [self.outcome(sibling) for sibling in siblings]
            known = [each for each in merits if each is not None]
            self.search.tell(index, sum(known) / len(known) if len(known) == len(merits) else None)


def build_scheduler(sweep: Sweep, recipe: Recipe, num_epochs: int) -> TrialScheduler:
    """The scheduler in Tune's terms; it hears merits, of which more is better."""
    match sweep.scheduler:
        case NoScheduler():
            return FIFOScheduler()
        case ASHA() as asha:
            return AsyncHyperBandScheduler(
                time_attr=TIME,
                metric=MERIT,
                mode="max",
                max_t=num_epochs,
                grace_period=min(asha.grace_epochs, num_epochs),
                reduction_factor=asha.reduction_factor,
                brackets=asha.brackets,
            )
        case MedianStop() as median:
            return MedianStoppingRule(
                time_attr=TIME,
                metric=MERIT,
                mode="max",
                grace_period=median.grace_epochs,
                min_samples_required=median.min_trials,
                hard_stop=True,
            )
        case PBT() as pbt:
            return Population(sweep, pbt, recipe)
        case TuneScheduler() as own:
            return own.build(time_attr=TIME, metric=MERIT, mode="max", num_epochs=num_epochs)
    raise ConfigError(f"scheduler: {sweep.scheduler.kind} is none that can be built; derive it from TuneScheduler")
