"""Callbacks and metrics of the user's: what they see, may do and remember, and what becomes of their mistakes."""

import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_callbacks import worker
from toy_training import train_here

from kinoray.errors import CheckpointError, ConfigError, UserCodeError
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import best_of_run, copy_for_inference, open_checkpoint
from kinoray.train.events import EpochDone, Finished, StepsDone
from kinoray.train.world import World

MakeRecipe = Callable[..., Recipe]
RECORDER = "toy_callbacks:Recorder"
EPOCH = [*["on_step_end"] * 4, "on_epoch_end", "on_evaluate_end", "on_checkpoint"]


@pytest.fixture
def recorded(toy_recipe: MakeRecipe, tmp_path: Path) -> Callable[..., Recipe]:
    """The toy recipe with recorders of these fields; ``lines`` reads what they saw."""

    def make(*recorders: dict[str, Any], **replaced: Any) -> Recipe:
        callbacks = [{"kind": RECORDER, "log": str(tmp_path / "log"), **fields} for fields in recorders]
        paths = {path.replace("__", "."): value for path, value in replaced.items()}
        return toy_recipe({"callbacks": callbacks, **paths})

    return make


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    def read(rank: int = 0) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (tmp_path / f"log-{rank}").read_text().splitlines()]

    return read


def hooks(lines: list[dict[str, Any]]) -> list[str]:
    return [line["hook"] for line in lines]


def test_hooks_come_in_order(recorded, lines, tmp_path: Path) -> None:
    train_here(recorded({}), tmp_path / "run")
    assert hooks(lines()) == ["on_fit_start", *EPOCH, *EPOCH, "on_fit_end"]
    assert [line["epoch"] for line in lines()] == [-1, *[0] * 7, *[1] * 7, 1]


def test_callbacks_come_in_the_recipes_order(recorded, lines, tmp_path: Path) -> None:
    train_here(recorded({"name": "b"}, {"name": "a"}), tmp_path / "run")
    seen = lines()
    assert [line["who"] for line in seen] == ["b", "a"] * (len(seen) // 2)
    assert hooks(seen[::2]) == hooks(seen[1::2])


def test_callbacks_see_what_the_run_reports(recorded, lines, tmp_path: Path) -> None:
    events = train_here(recorded({}), tmp_path / "run")
    steps = [event for event in events if isinstance(event, StepsDone)]
    epochs = [event for event in events if isinstance(event, EpochDone)]
    seen = [line for line in lines() if line["hook"] == "on_step_end"]
    for line, step in zip(seen, steps, strict=True):
        assert (line["step"], line["lr"]) == (step.step, step.lr)
        assert (line["loss"], line["grad_norm"]) == pytest.approx((step.loss, step.grad_norm))
    assert len({video for line in seen[:4] for video in line["videos"]}) == 24
    seen = [line for line in lines() if line["hook"] in ("on_epoch_end", "on_evaluate_end")]
    for trained, evaluated, epoch in zip(seen[::2], seen[1::2], epochs, strict=True):
        assert trained["loss"] == epoch.train_loss
        assert evaluated["metrics"] == dict(epoch.evaluation.metrics)


def test_weights_may_be_changed(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    events = train_here(toy_recipe({"callbacks": [{"kind": "toy_callbacks:Blank"}]}), tmp_path)
    assert [event.evaluation.metrics["top1"] for event in events if isinstance(event, EpochDone)] == [3 / 9, 3 / 9]
    weights = open_checkpoint(tmp_path / "epoch-0001").weights()
    assert not weights["fc.weight"].any()
    assert weights["conv.weight"].any()


def test_hooks_that_nobody_has_cost_no_talk_between_workers(
    toy_recipe: MakeRecipe, tmp_path: Path, monkeypatch
) -> None:
    shared: list[object] = []
    monkeypatch.setattr(World, "share", lambda self, item: shared.append(item))
    train_here(toy_recipe(), tmp_path)
    assert shared == [None]  # there is no checkpoint to go on from


# ---------------------------------------------------------------- files in checkpoints


def test_files_of_callbacks_are_kept_with_the_checkpoint(recorded, tmp_path: Path) -> None:
    recipe = recorded({"leaves": "notes.txt"}, training__keep_best=2)
    train_here(recipe, tmp_path / "run")
    for epoch in range(2):
        folder = tmp_path / "run" / f"epoch-{epoch:04d}"
        assert (folder / "notes.txt").read_text() == f"of epoch {epoch}"
        assert "notes.txt" in json.loads((folder / "checkpoint.json").read_text())["files"]
    whole = best_of_run(str(tmp_path / "run"))
    (Path(whole) / "notes.txt").unlink()
    assert best_of_run(str(tmp_path / "run")) != whole, "a checkpoint that lost a file is no whole one"


def test_a_copy_for_inference_is_without_them(recorded, tmp_path: Path) -> None:
    train_here(recorded({"leaves": "notes.txt"}), tmp_path / "run")
    opened = open_checkpoint(tmp_path / "run" / "epoch-0001")
    (opened.folder / "notes.txt").unlink()  # as of one that was fetched from a store
    copy_for_inference(opened, tmp_path / "copy")
    assert open_checkpoint(tmp_path / "copy").metrics == opened.metrics


@pytest.mark.parametrize("left", ["model.safetensors", "checkpoint.json", "folder/"])
def test_what_may_not_lie_in_a_checkpoint(recorded, tmp_path: Path, left: str) -> None:
    with pytest.raises(UserCodeError, match=rf"callbacks\.0 \({RECORDER}\): on_checkpoint, got '{left.strip('/')}'"):
        train_here(recorded({"leaves": left}), tmp_path / "run")


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "hook", ["on_fit_start", "on_step_end", "on_epoch_end", "on_evaluate_end", "on_checkpoint", "on_fit_end"]
)
def test_an_error_names_the_callback_and_its_line(recorded, lines, tmp_path: Path, hook: str) -> None:
    with pytest.raises(UserCodeError) as caught:
        train_here(recorded({"name": "first"}, {"fail_in": hook}), tmp_path / "run")
    first, *frames = str(caught.value).splitlines()
    assert first == f"callbacks.1 ({RECORDER}): {hook} raised LookupError: no {hook} today"
    assert "toy_callbacks.py" in frames[0]
    assert not any("user_code.py" in line for line in frames)
    assert caught.value.at_work
    assert isinstance(caught.value.__cause__, LookupError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    told = [line for line in lines() if line["hook"] == "on_exception"]
    assert [(line["who"], line["error"]) for line in told] == [("first", first), ("a", first)]


def test_a_failure_to_hear_of_an_error_does_not_hide_it(recorded, lines, tmp_path: Path, caplog) -> None:
    def interrupt(event: object) -> None:
        if isinstance(event, StepsDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.ERROR):
        train_here(recorded({"fail_in": "on_exception"}, {"name": "last"}), tmp_path / "run", interrupt)
    assert f"callbacks.0 ({RECORDER}): on_exception failed too" in caplog.text
    assert lines()[-1]["who"] == "last"


def test_a_callback_refuses_a_recipe(toy_recipe: MakeRecipe) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.1 \(toy_callbacks:Unfit\): cannot train toy"):
        toy_recipe({"callbacks": [{"kind": "toy_callbacks:Blank"}, {"kind": "toy_callbacks:Unfit"}]})


def test_a_check_that_fails_names_the_callback_and_its_line(toy_recipe: MakeRecipe) -> None:
    with pytest.raises(
        ConfigError,
        match=r"callbacks\.0 \(toy_callbacks:Unfit\): check raised KeyError: 'x' \(.*toy_callbacks\.py, line \d+\)",
    ):
        toy_recipe({"callbacks": [{"kind": "toy_callbacks:Unfit", "wanted": "x"}]})


def test_a_callback_that_leaves_the_process_is_an_error(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(UserCodeError, match=r"callbacks\.0 .*: on_epoch_end raised SystemExit: 0"):
        train_here(toy_recipe({"callbacks": [{"kind": "toy_callbacks:Leaving"}]}), tmp_path)


# ---------------------------------------------------------------- what is remembered


def interrupted(recipe: Recipe, folder: Path, *, after: int) -> None:
    def stop(event: object) -> None:
        if isinstance(event, EpochDone) and event.epoch == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_here(recipe, folder, stop)


def test_a_resumed_training_remembers(recorded, lines, tmp_path: Path) -> None:
    recipe = recorded({"name": "a"}, {"name": "b"}, training__epochs=3)
    interrupted(recipe, tmp_path / "run", after=1)
    changed = recorded({"name": "new"}, {"name": "b", "leaves": "x"}, {"name": "c"}, training__epochs=3)
    train_here(changed, tmp_path / "run")
    starts = {line["who"]: line for line in lines() if line["hook"] == "on_fit_start" and line["epoch"] == 1}
    # By kind and place among its kind: the third is new, and the others go on, whatever their settings.
    assert [(starts[who]["num_steps"], starts[who]["seen"]) for who in ("new", "b")] == [(8, [0, 1])] * 2
    assert (starts["c"]["num_steps"], starts["c"]["step"]) == (0, 8)
    remembered = open_checkpoint(tmp_path / "run" / "epoch-0002").progress.callbacks
    assert [state["num_steps"] for state in remembered.values()] == [12, 12, 4]


def test_two_trainings_of_a_recipe_do_not_know_of_each_other(recorded, lines, tmp_path: Path) -> None:
    recipe = recorded({}, training__epochs=1)
    train_here(recipe, tmp_path / "one")
    train_here(recipe, tmp_path / "two")
    assert [line["num_steps"] for line in lines() if line["hook"] == "on_fit_start"] == [0, 0]
    assert [line["seen"] for line in lines() if line["hook"] == "on_fit_start"] == [[], []]


def test_a_checkpoint_without_callbacks_can_go_on_with_them(toy_recipe: MakeRecipe, recorded, lines, tmp_path) -> None:
    train_here(toy_recipe({"training.epochs": 1}), tmp_path / "run")
    assert open_checkpoint(tmp_path / "run").progress.callbacks == {}
    train_here(recorded({}), tmp_path / "run")
    assert hooks(lines()) == ["on_fit_start", *EPOCH, "on_fit_end"]


def test_what_json_cannot_hold_is_refused(recorded, toy_recipe, tmp_path: Path) -> None:
    recipe = recorded({}, training__epochs=1)
    object.__setattr__(recipe.callbacks[0], "remembers", torch.ones(1))
    with pytest.raises(UserCodeError, match=r"state, got .*tensor.* it should hold what JSON can hold"):
        train_here(recipe, tmp_path / "run")
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path / "run")


def test_a_failing_restore_names_the_callback(recorded, tmp_path: Path) -> None:
    train_here(recorded({}, training__epochs=1), tmp_path / "run")
    with pytest.raises(UserCodeError, match=r"callbacks\.0 .*: restore raised LookupError: no restore today"):
        train_here(recorded({"fail_in": "restore"}), tmp_path / "run")


# ---------------------------------------------------------------- the end


@pytest.mark.parametrize(
    ("hook", "last"),
    [
        ("on_step_end 1", 1),
        ("on_epoch_end 1", 1),
        ("on_evaluate_end 1", 1),
        ("on_checkpoint 1", 1),
        ("on_fit_start", -1),
    ],
)
def test_a_callback_ends_training(recorded, lines, tmp_path: Path, hook: str, last: int) -> None:
    recipe = recorded(
        {"stop_in": hook}, training__epochs=5, evaluation__every_epochs=2, evaluation__temporal_probe=True
    )
    events = train_here(recipe, tmp_path / "run")
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == list(range(last + 1))
    assert events[-1].stopped == f"a stops in {hook.split(maxsplit=1)[0]} on rank 0"
    assert hooks(lines())[-1] == "on_fit_end"


def test_a_stop_without_a_word_is_one_too(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    events = train_here(toy_recipe({"callbacks": [{"kind": "toy_callbacks:Leaving", "leaves": False}]}), tmp_path)
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [0]
    assert events[-1].stopped == "a callback asked for it"


@pytest.mark.parametrize("hook", ["on_step_end", "on_epoch_end"])
def test_the_last_epoch_is_evaluated_and_probed(recorded, tmp_path: Path, hook: str) -> None:
    recipe = recorded(
        {"stop_in": hook}, training__epochs=9, evaluation__every_epochs=5, evaluation__temporal_probe=True
    )
    events = train_here(recipe, tmp_path / "run")
    (epoch,) = [event for event in events if isinstance(event, EpochDone)]
    assert epoch.evaluation.num_videos == 9
    assert events[-1].probe["ordered"] == epoch.evaluation.metrics["top1"]


def test_two_workers_stop_together_and_see_the_same(recorded, lines, tmp_path: Path) -> None:
    stops = {"stop_in": "on_step_end 1", "stop_on_rank": 1, "leaves": "notes.txt"}
    recipe = recorded(stops, training__epochs=6, evaluation__every_epochs=4)
    (tmp_path / "recipe.yaml").write_text(recipe.yaml())
    torch.multiprocessing.spawn(worker, (2, str(tmp_path / "recipe.yaml"), tmp_path), nprocs=2)
    assert [(tmp_path / f"last-{rank}").read_text() for rank in range(2)] == ["1", "1"]
    first, second = lines(0), lines(1)
    assert hooks(first) == hooks(second)
    assert hooks(first).count("on_evaluate_end") == 1
    for one, other in zip(first, second, strict=True):
        if one["hook"] in ("on_epoch_end", "on_evaluate_end"):
            assert one == other
        if one["hook"] == "on_step_end":
            assert not set(one["videos"]) & set(other["videos"])
        if one["hook"] == "on_checkpoint":
            assert (one["is_first"], other["is_first"]) == (True, False)
    assert (tmp_path / "run" / "epoch-0001" / "notes.txt").is_file()


# ---------------------------------------------------------------- metrics


def with_metrics(*metrics: dict[str, Any], monitor: str = "top1") -> dict[str, Any]:
    kinds = [{"kind": "toy_callbacks:OwnMetric", **fields} for fields in metrics]
    return {"evaluation.metrics": kinds, "evaluation.monitor": monitor}


def test_a_metric_is_measured_and_may_rank_checkpoints(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    events = train_here(toy_recipe(with_metrics({}, monitor="mine")), tmp_path)
    epochs = [event for event in events if isinstance(event, EpochDone)]
    assert [event.evaluation.metrics["mine"] for event in epochs] == [3.09, 3.09]
    assert [event.is_best for event in epochs] == [True, True]
    assert open_checkpoint(tmp_path).metrics["mine"] == 3.09
    assert isinstance(events[-1], Finished)


def test_a_metric_that_writes_into_its_scores_changes_no_other_figure(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    """The toy metric sets scores and labels to 0."""
    plain, own = (
        [event.evaluation for event in train_here(recipe, tmp_path / name) if isinstance(event, EpochDone)][-1]
        for name, recipe in (
            ("plain", toy_recipe()),
            ("own", toy_recipe(with_metrics({}, {"named": ["b"], "gives": ["b"]}))),
        )
    )
    assert own.confusion.tolist() == plain.confusion.tolist()
    assert own.metrics == {**plain.metrics, "mine": 3.09, "b": 3.09}


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([{"named": ["top1"]}], r"evaluation\.metrics\.0 .* got the name 'top1'; .* other than .*loss"),
        ([{}, {}], r"evaluation\.metrics\.1 .* got the name 'mine'"),
        ([{"named": ["my/metric"]}], r"got the name 'my/metric'; it should be a word"),
        ([{"named": "mine"}], r"evaluation\.metrics\.0 .*: names, got 'mine'; it should give a tuple"),
        (
            [{"named": None}],
            r"metrics\.0 .*: names raised LookupError: no names today \(.*toy_callbacks\.py, line \d+\)",
        ),
    ],
)
def test_metrics_have_names_of_their_own(toy_recipe: MakeRecipe, metrics, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        toy_recipe(with_metrics(*metrics))


def test_a_monitor_that_nobody_measures(toy_recipe: MakeRecipe) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.monitor, got yours .* one of top1, .*loss, mine"):
        toy_recipe(with_metrics({}, monitor="yours"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fails": True}, r"evaluation\.metrics\.0 \(toy_callbacks:OwnMetric\): measure raised LookupError: no metric"),
        (
            {"gives": ["other"]},
            r"measure, got \{'other': .*\}; it should give a mapping with a number for each of mine",
        ),
        ({"result": 0.5}, r"metrics\.0 .*: measure, got 0\.5; it should give a mapping"),
        ({"result": "nothing"}, r"metrics\.0 .*: measure, got None; it should give a mapping"),
        ({"result": {"mine": [1, 2]}}, r"metrics\.0 .*: measure, got \{'mine': .*\}; it should give a mapping"),
    ],
)
def test_a_metric_that_fails_is_named(toy_recipe: MakeRecipe, tmp_path: Path, fields, message: str) -> None:
    with pytest.raises(UserCodeError, match=message):
        train_here(toy_recipe(with_metrics(fields)), tmp_path)
