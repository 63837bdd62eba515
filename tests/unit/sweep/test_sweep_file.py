"""Sweep files: what they plan, and what is told of a mistake, with file and line, before anything starts."""

import json
import re
from pathlib import Path

import pytest
import yaml

from kinoray.errors import ConfigError
from kinoray.recipe import Recipe
from kinoray.sweep.file import Sweep
from kinoray.sweep.trials import TrialState, ranked

ROOT = Path(__file__).resolve().parents[2]
SPACE = """\
space:
  optimizer.lr: {loguniform: [1e-3, 0.1]}
  schedule:
    choice: {cosine: [{kind: cosine}], flat: []}
"""


@pytest.fixture
def load(tmp_path, recipe_values):
    """Write a sweep file beside the small recipe, and load it."""
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe_values))

    def load(text="trials: 4\n" + SPACE, *overrides):
        path = tmp_path / "try.yaml"
        path.write_text(f"recipe: small.yaml\n{text}")
        return Sweep.load(path, overrides)

    return load


def test_a_file_plans_its_trials(load):
    sweep = load()
    recipe = sweep.load_recipe()
    trials = sweep.planned(recipe)
    assert [trial.name for trial in trials] == ["try-000", "try-001", "try-002", "try-003"]
    assert {trial.labels["schedule"] for trial in trials} <= {"cosine", "flat"}
    first = sweep.recipe_of(recipe, trials[0])
    assert first.optimizer.lr == trials[0].values["optimizer.lr"]
    assert first.name == "try-000"
    longer = load("trials: 6\n" + SPACE)
    assert longer.planned(recipe)[:4] == trials


def test_each_point_is_tried_with_every_seed(load):
    sweep = load("trials: 2\nseeds: [3, 5]\n" + SPACE)
    trials = sweep.planned(sweep.load_recipe())
    assert [trial.seed for trial in trials] == [3, 5, 3, 5]
    assert trials[0].values == trials[1].values != trials[2].values
    assert sweep.recipe_of(sweep.load_recipe(), trials[1]).seed == 5


def test_budget_sets_the_epochs(load):
    sweep = load("trials: 2\nbudget: {samples: 100}\n" + SPACE)
    assert sweep.with_budget(sweep.load_recipe(), 24).training.epochs == 4
    assert load("trials: 2\nbudget: {epochs: 7}\n" + SPACE).with_budget(sweep.load_recipe(), 24).training.epochs == 7


def test_the_assignments_of_a_trial_repeat_it(load, tmp_path):
    sweep = load("trials: 3\nmetric: loss\nseeds: [4]\nbudget: {epochs: 5}\n" + SPACE)
    overrides = ["optimizer.momentum=0.8"]
    recipe = sweep.with_budget(sweep.load_recipe(overrides), 24)
    trial = sweep.planned(recipe)[1]
    alone = Recipe.load(tmp_path / "small.yaml", [*overrides, *sweep.assignments(recipe, trial, overrides)])
    trained = sweep.recipe_of(recipe, trial)
    assert alone.replace({"name": trained.name}) == trained


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "space:\n  optimizer.momentun: {uniform: [0.5, 0.9]}",
            ["optimizer.momentun: no such field", "'momentum'", "try.yaml:4"],
        ),
        (
            "space:\n  optimizer.lr: {uniform: [-1, 0.9]}",
            ["optimizer.lr: should be greater than 0, got -1", "try.yaml:4"],
        ),
        ("space:\n  schedule: {choice: [[{kind: cosin}]]}", ["no schedule 'cosin'", "cosine", "try.yaml:4"]),
        ("metric: top_1\n" + SPACE, ["metric, got top_1, which is never logged", "top1, top5", "try.yaml:3"]),
        ("metric: loss\nmode: max\n" + SPACE, ["mode, got max; of loss min is better"]),
        ("mode: min\n" + SPACE, ["mode, got min; of top1 max is better", "try.yaml:3"]),
        (
            "space:\n  optimizer.lr: {logunform: [1, 2]}",
            ["logunform: no such field (did you mean 'loguniform'?)", "try.yaml:4"],
        ),
        ("scheduler: ashe\n" + SPACE, ["no scheduler 'ashe' (did you mean 'asha'?)"]),
        ("search: {kind: grid}\n" + SPACE, ["got a range for optimizer.lr"]),
        ("scheduler: {kind: pbt, perturb: [loss]}\n" + SPACE, ["scheduler.perturb, got loss"]),
        ("space:\n  evaluation.monitor: {choice: [top1, loss]}", ["evaluation.monitor cannot be swept"]),
        ("budget: {epochs: 3, samples: 4}\n" + SPACE, ["leave one out"]),
        (
            "budget: {epochs: 3}\nspace:\n  training.epochs: {choice: [1, 2]}",
            ["training.epochs cannot be swept, budget"],
        ),
        (
            "space:\n  optimizer.lr: {uniform: [0.1, 1]}\n  optimizer: {choice: [{kind: sgd, lr: 1}]}",
            ["optimizer would replace optimizer.lr, which stands above it; put optimizer first"],
        ),
        (
            "scheduler: {kind: pbt, perturb: [training.epochs]}\nspace:\n  training.epochs: {choice: [1, 2]}",
            ["scheduler.perturb, got training.epochs, which cannot change in mid-training"],
        ),
        ("name: ..\n" + SPACE, ["name: should match", "try.yaml:3"]),
    ],
)
def test_mistakes_are_told_before_anything_starts(load, text, messages):
    def check():
        sweep = load("trials: 4\n" + text)
        sweep.check(sweep.load_recipe())

    with pytest.raises(ConfigError) as raised:
        check()
    for message in messages:
        assert message in str(raised.value), raised.value


@pytest.mark.parametrize(
    ("text", "override", "message"),
    [
        ("", "optimizer.lr=0.1", "--set optimizer.lr: the sweep's space.optimizer.lr sets it for every trial"),
        ("", "schedule.0.kind=cosine", "--set schedule.0.kind: the sweep's space.schedule sets it"),
        ("budget: {epochs: 3}\n", "training.epochs=5", "--set training.epochs: the sweep's budget sets it"),
        ("seeds: [1, 2]\n", "seed=5", "--set seed: the sweep's seeds sets it"),
        ("metric: loss\n", "evaluation.monitor=top1", "--set evaluation.monitor: the sweep's metric sets it"),
    ],
)
def test_an_override_that_the_sweep_would_replace_is_refused(load, text, override, message):
    sweep = load(f"trials: 2\n{text}{SPACE}")
    with pytest.raises(ConfigError, match=re.escape(message)):
        sweep.load_recipe([override])


def test_an_override_holds_where_a_condition_leaves_it_to_the_recipe(load):
    when = "  optimizer.momentum: {choice: [0.5], when: {schedule: cosine}}\n"
    sweep = load(f"search: grid\nspace:\n  schedule: {{choice: {{cosine: [{{kind: cosine}}], flat: []}}}}\n{when}")
    recipe = sweep.load_recipe(["optimizer.momentum=0.8"])
    assert [each.optimizer.momentum for each in sweep.check(recipe)[-2:]] == [0.5, 0.8]


def test_a_part_is_swept_below_its_whole(load):
    sweep = load(
        "search: grid\nspace:\n  optimizer: {choice: {sgd: {kind: sgd, lr: 1}, adam: {kind: adam, lr: 1}}}\n"
        "  optimizer.lr: {choice: [0.1, 0.2]}\n"
    )
    recipe = sweep.load_recipe()
    trained = [sweep.recipe_of(recipe, trial).optimizer for trial in sweep.planned(recipe)]
    assert [(each.kind, each.lr) for each in trained] == [("sgd", 0.1), ("sgd", 0.2), ("adam", 0.1), ("adam", 0.2)]


def test_all_problems_of_a_space_are_told_at_once_with_the_line_of_each(load):
    sweep = load("trials: 2\nspace:\n  optimizer.lr: {uniform: [-1, 1]}\n  model.depht: {choice: [1, 2]}")
    with pytest.raises(ConfigError) as raised:
        sweep.check(sweep.load_recipe())
    first, *problems = str(raised.value).splitlines()
    assert first == "sweep try: 2 problems"
    assert [line.split(":")[0].strip() for line in problems] == ["optimizer.lr", "model.depht"]
    assert [line.endswith(f"try.yaml:{number}]") for line, number in zip(problems, (4, 5), strict=True)] == [True, True]


def test_values_that_cannot_be_together_are_found_in_the_plan(load):
    lists = "optimizer.momentum: {choice: [0.9, 0.0]}\n  optimizer.nesterov: {choice: [false, true]}"
    sweep = load(f"search: grid\nspace:\n  {lists}")
    with pytest.raises(ConfigError, match="nesterov, got true with momentum 0"):
        sweep.check(sweep.load_recipe())


def test_what_population_based_training_changes(load):
    text = (
        "trials: 4\nscheduler: pbt\nspace:\n  optimizer.lr: {uniform: [0.1, 1]}\n  model.num_classes: {choice: [8]}\n"
    )
    assert load(text).perturbed == ("optimizer.lr",)
    assert load().perturbed == ()


def test_states_survive_json_and_are_ranked(load):
    sweep = load()
    trials = sweep.planned(sweep.load_recipe())
    states = [
        TrialState(trials[0], "pruned", 1, 0.2, 0.3, 0),
        TrialState(trials[1], "failed", error="no"),
        TrialState(trials[2], "finished", 2, 0.5, 0.5, 1, checkpoint="here"),
    ]
    assert [TrialState.from_json(state.to_json()) for state in states] == states
    assert json.loads(states[0].to_json())["trial"]["number"] == 0
    assert [state.trial.number for state in ranked(states, "top1")] == [2, 0, 1]
    assert [state.trial.number for state in ranked(states, "loss")] == [0, 2, 1]


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_of_the_repository_are_possible(path):
    sweep = Sweep.load(path)
    assert sweep.check(sweep.load_recipe())
