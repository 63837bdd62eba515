"""A learning search that goes on asks what an unbroken one asks; perturbed values stay possible."""

import random
from dataclasses import replace

import pytest

from kinoray.cluster.sweep.decisions import LearningSearch
from kinoray.cluster.sweep.population import Explored
from kinoray.sweep.file import Sweep
from kinoray.sweep.trials import TrialState

SPACE = {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}, "optimizer.momentum": {"uniform": [0.1, 0.9]}}


def sweep_of(**values):
    return Sweep.model_validate({"recipe": "small.yaml", "trials": 16, "space": SPACE, **values})


class Story:
    """A session of a sweep, one trial at a time, whose trials are best near a rate of 0.01."""

    def __init__(self, sweep, recipe, history=()):
        self.sweep, self.recipe = sweep, recipe
        self.states = list(history)
        self.search = LearningSearch(sweep, list(history), self.note, self.outcome)

    def note(self, number, point):
        self.states.append(TrialState(self.sweep.trial(number, point, self.recipe.seed)))

    def outcome(self, number):
        state = next(state for state in reversed(self.states) if state.trial.number == number)
        return None if state.status == "failed" else state.best

    def run(self, number_of_trials):
        for _ in range(number_of_trials):
            config = self.search.suggest(name := f"id{random.random()}")["trial"]
            last = next(state for state in reversed(self.states) if state.trial.number == config["number"])
            if not last.is_over:
                best = -abs(config["labels"]["optimizer.lr"] - 0.01)
                status = "failed" if config["number"] == 2 else "finished"
                self.states.append(replace(last, status=status, best=best))
            self.search.on_trial_complete(name)
        return [state.trial.labels for state in self.states if not state.is_over]


@pytest.mark.parametrize("seeds", [(), (0, 1)])
def test_a_search_that_goes_on_asks_what_an_unbroken_one_asks(make_recipe, seeds):
    pytest.importorskip("optuna")
    sweep, recipe = sweep_of(search={"kind": "optuna", "startup_trials": 3}, seeds=seeds), make_recipe()
    whole = Story(sweep, recipe).run(sweep.num_trials)
    first = Story(sweep, recipe)
    first.run(7)
    killed = first.states[:-1]  # the last trial was under way
    assert Story(sweep, recipe, killed).run(sweep.num_trials) == whole
    assert len(whole) == sweep.num_trials


def test_the_search_ends(make_recipe):
    pytest.importorskip("optuna")
    sweep = sweep_of(search="optuna", trials=2)
    story = Story(sweep, make_recipe())
    story.run(2)
    assert story.search.suggest("another") == LearningSearch.FINISHED


def test_perturbed_values_are_brought_back_into_their_ranges(make_recipe):
    sweep = sweep_of(scheduler="pbt")
    config = {"trial": {"number": 3, "labels": {"optimizer.lr": 0.12, "optimizer.momentum": 0.08}}}
    explored = Explored(sweep, make_recipe())(config)
    assert explored["trial"] == {"number": 3, "labels": {"optimizer.lr": 0.1, "optimizer.momentum": 0.1}}


def test_values_that_cannot_be_together_are_drawn_anew(make_recipe):
    space = {"optimizer.nesterov": {"choice": [True]}, "optimizer.momentum": {"choice": [0, 0.9]}}
    sweep = sweep_of(scheduler="pbt", space=space)
    config = {"trial": {"number": 0, "labels": {"optimizer.nesterov": True, "optimizer.momentum": 0}}}
    random.seed(0)
    assert Explored(sweep, make_recipe())(config)["trial"]["labels"]["optimizer.momentum"] == 0.9
