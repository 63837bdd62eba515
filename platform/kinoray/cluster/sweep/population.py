"""Population-based training: Ray's, made to suit sweeps whose trials end early, take turns and go on another day."""

import random
from typing import Any

import numpy as np
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining

from kinoray.cluster.sweep.tuning import MERIT, TIME, number_of
from kinoray.errors import ConfigError
from kinoray.recipe import Recipe
from kinoray.sweep.file import Sweep
from kinoray.sweep.schedulers import PBT
from kinoray.sweep.space import Label

NUM_DRAWS = 10
"""Of values that can be together, before a trial fails for it."""


class Population(PopulationBasedTraining):  # type: ignore[misc]
    """Ray's, which waits for ever for a trial that has ended, and draws otherwise when a sweep goes on.

    Args:
        sweep: whose trials they are.
        pbt: its scheduler.
        recipe: that all trials start from.
    """

    def __init__(self, sweep: Sweep, pbt: PBT, recipe: Recipe) -> None:
        super().__init__(
            time_attr=TIME,
            metric=MERIT,
            mode="max",
            perturbation_interval=pbt.interval_epochs,
            hyperparam_mutations={"trial": {"labels": _mutations(sweep)}},
            quantile_fraction=pbt.quantile,
            resample_probability=pbt.resample,
            perturbation_factors=pbt.factors,
            custom_explore_fn=Explored(sweep, recipe),
            log_config=False,
            # Otherwise a trial that is ahead of the others goes back to their epoch again and again, for ever.
            synch=True,
        )
        self._seed = sweep.search.seed

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The next trial that has its turn."""
        chosen = super().choose_trial_to_run(tune_controller)
        live = sorted(tune_controller.get_live_trials(), key=str)
        if chosen is not None or not live or any(trial.status != Trial.PAUSED for trial in live):
            return chosen
        # Ray's compares trials when the last one reports; here that one has failed or ended.
        self.on_trial_result(tune_controller, live[0], self._trial_state[live[0]].last_result)
        # And where trials are evaluated less often than they are to be compared, its next look lies in the past.
        now = max(self._trial_state[trial].last_train_time for trial in live)
        due: float = self._next_perturbation_sync  # type: ignore[has-type]
        self._next_perturbation_sync = max(due, now + self._perturbation_interval)
        return super().choose_trial_to_run(tune_controller)

    def _checkpoint_or_exploit(self, trial: Trial, *others: Any) -> None:
        # Drawn by the trial and its age alone: when a sweep goes on, what is in its record comes again.
        seeds = [self._seed, number_of(trial), int(self._trial_state[trial].last_train_time)]
        random.seed(repr(seeds))
        np.random.seed(np.random.SeedSequence(seeds).generate_state(1))  # noqa: NPY002 - what Ray's ranges draw from
        super()._checkpoint_or_exploit(trial, *others)


def _mutations(sweep: Sweep) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sweep.perturbed:
        parameter = sweep.space[path]
        if not parameter.is_range:
            found[path] = list(parameter.options)
        elif parameter.loguniform is not None:
            found[path] = tune.loguniform(*parameter.bounds)
        else:
            found[path] = tune.uniform(*parameter.bounds)
    return found


class Explored:
    """Brings perturbed values back into their ranges, and draws values anew that cannot be together."""

    def __init__(self, sweep: Sweep, recipe: Recipe) -> None:
        self.sweep, self.recipe = sweep, recipe

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        labels: dict[str, Label] = dict(config["trial"]["labels"])
        for path in self.sweep.perturbed:
            if self.sweep.space[path].is_range:
                labels[path] = self.sweep.space[path].rounded(float(str(labels[path])))
        for _ in range(NUM_DRAWS):
            try:
                self.sweep.recipe_of(self.recipe, self.sweep.trial(0, labels, self.recipe.seed))
            except ConfigError:
                labels |= {path: self.sweep.space[path].at(random.random()) for path in self.sweep.perturbed}  # noqa: S311
            else:
                break
        return {**config, "trial": {**config["trial"], "labels": labels}}
