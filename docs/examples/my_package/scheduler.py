"""Which trials of a sweep go on."""

from typing import Any

from pydantic import Field
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from kinoray.sweep.schedulers import TuneScheduler


class Hurdle(TuneScheduler):
    """A trial goes on if it has reached some value by some epoch."""

    kind: str = "my_package.scheduler:Hurdle"
    epochs: int = Field(gt=0)
    value: float
    """Of the sweep's metric; of those that should be small, such as a loss, its negative."""

    def build(self, *, time_attr: str, metric: str, mode: str, num_epochs: int) -> TrialScheduler:
        return Watch(self, time_attr, metric)


class Watch(FIFOScheduler):
    """The scheduler under way, in Ray Tune's terms."""

    def __init__(self, hurdle: Hurdle, time_attr: str, metric: str) -> None:
        super().__init__()
        self.hurdle, self.time, self.merit = hurdle, time_attr, metric

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        is_due = result[self.time] >= self.hurdle.epochs
        return self.STOP if is_due and result[self.merit] < self.hurdle.value else self.CONTINUE
