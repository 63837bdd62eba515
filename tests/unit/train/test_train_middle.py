"""A training that is stopped anywhere goes on in the middle of its epoch, with as many workers as there are then."""

import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from toy_broken import worker
from toy_checkpoints import same
from toy_training import NUM_FRAMES, load_data, read_rows, train_here, write_manifest, write_video

from kinoray.data.plan import epoch_plan
from kinoray.errors import CheckpointError, DivergenceError
from kinoray.recipe import Recipe
from kinoray.train import loop
from kinoray.train.checkpoint import newest_of_run, open_checkpoint
from kinoray.train.events import Diverged, EpochDone, Event, Finished, Recalled, Started, StepsDone
from kinoray.train.history import History
from kinoray.train.learner import Learner
from kinoray.train.loop import MAX_ROLL_BACKS
from kinoray.train.store import Draft, RunStore

MakeRecipe = Callable[..., Recipe]
OFTEN = {"training.epochs": 3, "training.checkpoint_every_steps": 3, "model.dropout": 0.3, "training.keep_best": 3}


def timeless(event: StepsDone) -> StepsDone:
    return replace(event, videos_per_second=0.0, data_wait_fraction=0.0)


def steps_of(events: list[Event]) -> list[StepsDone]:
    return [timeless(event) for event in events if isinstance(event, StepsDone)]


def interrupted(recipe: Recipe, folder: Path, when: Callable[[Event], bool]) -> list[Event]:
    """What was told before; ``when`` says of an event that it is the one too much."""
    told: list[Event] = []

    def listen(event: Event) -> None:
        if when(event):
            raise KeyboardInterrupt
        told.append(event)

    with pytest.raises(KeyboardInterrupt):
        train_here(recipe, folder, listen)
    return told


@pytest.fixture(scope="module")
def unbroken_runs() -> dict[str, tuple[list[Event], Path]]:
    return {}


@pytest.fixture(params=["sgd", "average", "adamw"])
def recipe(toy_recipe: MakeRecipe, request: pytest.FixtureRequest) -> Recipe:
    values = toy_recipe(OFTEN | ({"training.ema_decay": 0.9} if request.param == "average" else {}))
    if request.param == "adamw":
        changed = {**values.model_dump(mode="json"), "optimizer": {"kind": "adamw", "lr": 0.01}}
        values = Recipe.from_mapping(changed, "test")
    return values


@pytest.mark.parametrize("step", [2, 4, 5, 6, 10, 11])
def test_no_step_is_lost_or_done_twice(recipe: Recipe, tmp_path: Path, unbroken_runs, step: int) -> None:
    """Checkpoints lie at steps 3, 4, 6, 8, 9 and 12: nothing, the middle of an epoch, or its end is gone on from."""
    key = recipe.digest()
    if key not in unbroken_runs:
        unbroken_runs[key] = train_here(recipe, tmp_path / "unbroken"), tmp_path / "unbroken"
    unbroken, whole = unbroken_runs[key]
    before = interrupted(recipe, tmp_path / "run", lambda event: isinstance(event, StepsDone) and event.step == step)
    after = train_here(recipe, tmp_path / "run")

    started = after[0]
    assert isinstance(started, Started)
    assert started.first_step == max(saved for saved in (0, 3, 4, 6, 8, 9) if saved < step)
    redone = [event for event in steps_of(before) if event.step <= started.first_step]
    assert redone + steps_of(after) == steps_of(unbroken)
    epochs = [event for event in before + after if isinstance(event, EpochDone)]
    expected = [event for event in unbroken if isinstance(event, EpochDone)]
    assert [event.train_loss for event in epochs] == [event.train_loss for event in expected]
    assert [event.evaluation.metrics for event in epochs if event.evaluation] == [
        event.evaluation.metrics for event in expected if event.evaluation
    ]
    for epoch in range(3):
        same(tmp_path / "run" / f"epoch-{epoch:04d}", whole / f"epoch-{epoch:04d}")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [f"epoch-{epoch:04d}" for epoch in range(3)]


def test_what_nobody_was_told_is_told_again(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    """The process ends when the epoch is stored, before anyone hears of it."""
    recipe = toy_recipe(OFTEN)
    told = interrupted(recipe, tmp_path / "run", lambda event: isinstance(event, EpochDone) and event.epoch == 1)
    unbroken = train_here(recipe, tmp_path / "unbroken")
    after = train_here(recipe, tmp_path / "run")
    recalled = after[1]
    assert isinstance(recalled, Recalled)
    assert [timeless(event) for event in recalled.events if isinstance(event, StepsDone)] == steps_of(unbroken)[:8]
    lost = [event for event in recalled.events if isinstance(event, EpochDone)][-1]
    whole = next(event for event in unbroken if isinstance(event, EpochDone) and event.epoch == 1)
    assert not any(isinstance(event, EpochDone) and event.epoch == 1 for event in told)
    assert lost.evaluation is not None
    assert whole.evaluation is not None
    assert lost.evaluation.metrics == whole.evaluation.metrics
    assert lost.evaluation.mistakes == whole.evaluation.mistakes
    assert np.array_equal(lost.evaluation.confusion, whole.evaluation.confusion)
    assert lost.checkpoint == str(tmp_path / "run" / "epoch-0001")


def test_a_history_keeps_the_whole_of_the_best_and_the_last(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    events = train_here(toy_recipe({"training.epochs": 1}), tmp_path)
    template = next(event for event in events if isinstance(event, EpochDone))
    history = History()
    for epoch, is_best in enumerate([True, False, True, False, False]):
        history.add(replace(template, epoch=epoch, is_best=is_best))
    state = torch.load(_saved(history.state(), tmp_path), weights_only=True)
    epochs = [event for event in History.of(state).recalled().events if isinstance(event, EpochDone)]
    has_pictures = [event.evaluation is not None and event.evaluation.confusion is not None for event in epochs]
    assert has_pictures == [False, False, True, False, True]
    assert all(event.evaluation.metrics == template.evaluation.metrics for event in epochs if event.evaluation)


def _saved(state: object, folder: Path) -> Path:
    torch.save(state, folder / "state.pt")
    return folder / "state.pt"


def test_an_epoch_of_other_videos_cannot_go_on(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = toy_recipe(OFTEN)
    interrupted(recipe, tmp_path, lambda event: isinstance(event, StepsDone) and event.step == 7)
    with pytest.raises(CheckpointError, match=r"in the middle of epoch 2 of seed 0, train manifest \w+, which cannot"):
        train_here(toy_recipe(OFTEN | {"seed": 1}), tmp_path)


def test_a_checkpoint_is_made_when_one_is_asked_for(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    from kinoray.train.local import LocalFeed
    from kinoray.train.loop import fit
    from kinoray.train.store import RunStore
    from kinoray.train.world import World

    recipe = toy_recipe({"training.epochs": 1, "training.log_every_steps": 1})
    asked: Iterator[bool] = iter([False, True, False, False])
    store = RunStore(str(tmp_path), monitor="top1", keep_best=1)
    feed, places = LocalFeed(recipe, load_data(recipe), num_threads=1), []

    def listen(event: Event) -> None:
        if isinstance(event, StepsDone) and event.step == 3:
            store.settle()
            places.append(newest_of_run(str(tmp_path)))

    fit(recipe, feed, store, World(), listen, save_asked=lambda: next(asked))
    assert places == [str(tmp_path / "epoch-0000-step-00000002")]


def test_a_checkpoint_takes_no_time_of_the_epoch(
    toy_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, save, waited = time.perf_counter, RunStore.save, [0.0]

    def slow(self: RunStore, draft: Draft, *, name: str) -> None:
        waited[0] += 1000
        save(self, draft, name=name)

    monkeypatch.setattr(time, "perf_counter", lambda: clock() + waited[0])
    monkeypatch.setattr(RunStore, "save", slow)
    events = train_here(toy_recipe({"training.epochs": 1, "training.checkpoint_every_steps": 1}), tmp_path)
    assert waited == [4000]
    assert all(event.videos_per_second > 1 for event in events if isinstance(event, StepsDone))
    assert all(event.seconds < 1000 for event in events if isinstance(event, EpochDone))


def test_callbacks_see_where_a_checkpoint_is_made(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    values = toy_recipe({"training.epochs": 1, "training.checkpoint_every_steps": 3}).model_dump(mode="json")
    callback = {"kind": "toy_callbacks:Places", "log": str(tmp_path / "log")}
    train_here(Recipe.from_mapping(values | {"callbacks": [callback]}, "test"), tmp_path / "run")
    assert (tmp_path / "log").read_text() == "epoch 0, step 3\nepoch 0, step 4\n"


def test_the_last_checkpoint_is_stored_when_all_is_done(
    toy_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, seen = Draft.write, []

    def slow(self: Draft, folder: Path) -> None:
        time.sleep(0.1)
        write(self, folder)

    def listen(event: Event) -> None:
        if isinstance(event, Finished):
            seen.append(newest_of_run(str(tmp_path)))

    monkeypatch.setattr(Draft, "write", slow)
    train_here(toy_recipe({"training.epochs": 1}), tmp_path, listen)
    assert seen == [str(tmp_path / "epoch-0000")]


def test_a_checkpoint_that_cannot_be_stored_is_asked_for_at_reports(
    toy_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only where the next one is due, which may be hours later."""
    told: list[Event] = []

    def check(self: RunStore) -> None:
        if told[-1:] and isinstance(told[-1], StepsDone):
            raise CheckpointError("no room")

    monkeypatch.setattr(RunStore, "check", check)
    with pytest.raises(CheckpointError, match="no room"):
        train_here(toy_recipe(), tmp_path, told.append)
    assert [event.step for event in told if isinstance(event, StepsDone)] == [1]


# ---------------------------------------------------------------- several workers


def run_workers(recipe: Recipe, folder: Path, turns: list[tuple[int, int | None]]) -> list[tuple[str, ...]]:
    """Groups of workers, one after the other: their number, and at which step they end, before it is stored.

    Returns:
        The videos of each step's global batch, in order.
    """
    batches: list[tuple[str, ...]] = []
    for number, (size, stop_after) in enumerate(turns):
        meeting = folder / str(number)
        meeting.mkdir(parents=True)
        (meeting / "recipe.yaml").write_text(recipe.yaml())
        if number:
            (folder / str(number - 1) / "run").rename(meeting / "run")
        mp.start_processes(
            worker,
            args=(size, str(meeting / "recipe.yaml"), meeting, stop_after),
            nprocs=size,
            start_method="spawn",
        )
        shares = [torch.load(meeting / f"seen-{rank}.pt", weights_only=False)["seen"] for rank in range(size)]
        steps = [tuple(name for part in parts for name in part) for parts in zip(*shares, strict=True)]
        newest = newest_of_run(str(meeting / "run"))
        assert newest is not None
        batches += steps[: open_checkpoint(newest).progress.step - len(batches)]
    return batches


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_go_on_to_the_bit(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    """Batch norm's statistics, which differ from worker to worker within an epoch, and dropout included."""
    recipe = toy_recipe(OFTEN)
    run_workers(recipe, tmp_path / "broken", [(2, 7), (2, None)])
    run_workers(recipe, tmp_path / "unbroken", [(2, None)])
    same(tmp_path / "broken" / "1" / "run" / "epoch-0002", tmp_path / "unbroken" / "0" / "run" / "epoch-0002")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_come_and_go_and_the_batches_stay(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    often = OFTEN | {"data.train.batch_size": 8, "training.checkpoint_every_steps": 2}
    recipe = toy_recipe(often | {"model.norm": "group", "model.dropout": 0.0})
    broken = run_workers(recipe, tmp_path / "broken", [(4, 3), (3, 5), (2, None)])
    unbroken = run_workers(recipe, tmp_path / "unbroken", [(4, None)])
    assert broken == unbroken
    plan = epoch_plan(load_data(recipe).train.table, seed=recipe.seed, epoch=1)["video_id"].to_pylist()
    assert [name for step in broken[3:6] for name in step] == plan
    assert Counter(name for step in broken for name in step) == dict.fromkeys(plan, 3)
    one, other = (open_checkpoint(tmp_path / name / "run" / "epoch-0002") for name in ("broken/2", "unbroken/0"))
    for name, value in one.weights().items():
        torch.testing.assert_close(value, other.weights()[name], rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- a batch of which no number comes


@pytest.fixture
def touchy(toy_recipe: MakeRecipe, tmp_path: Path) -> Callable[..., Recipe]:
    """Trains on the toy set and one white video, of which no number comes."""

    def touchy(**training: object) -> Recipe:
        root = Path(toy_recipe().data.train.source.path).parent
        white = tmp_path / "white.mp4"
        if not white.exists():
            write_video(white, np.full(NUM_FRAMES, 255), np.random.default_rng(0))
        rows = [(str(root / name), label) for name, label in read_rows(root / "train.csv")]
        write_manifest(tmp_path / "train.csv", [(str(white), "dim"), *rows[1:]])
        settings = {f"training.{name}": value for name, value in training.items()}
        return toy_recipe(
            {
                "model.kind": "toy_broken:TouchyConfig",
                "model.num_classes": 3,
                "data.train.source": str(tmp_path / "train.csv"),
            }
            | settings
        )

    return touchy


@pytest.mark.parametrize("every", [1, 3, 10])
def test_the_batch_that_diverges_is_named(touchy: Callable[..., Recipe], tmp_path: Path, every: int) -> None:
    recipe = touchy(log_every_steps=every)
    events: list[Event] = []
    with pytest.raises(DivergenceError, match=r"the loss is nan in epoch 1, step \d") as caught:
        train_here(recipe, tmp_path / "run", events.append)
    told = events[-1]
    assert isinstance(told, Diverged)
    assert str(tmp_path / "white.mp4") in [path for _, path in told.videos]
    assert len(told.videos) == recipe.data.train.batch_size
    assert not told.rolled_back
    plan = epoch_plan(load_data(recipe).train.table, seed=recipe.seed, epoch=0)["video_id"].to_pylist()
    assert [name for name, _ in told.videos] == plan[6 * told.step : 6 * told.step + 6]
    assert caught.value.step == told.step


def test_it_is_left_out_where_the_recipe_says_so(touchy: Callable[..., Recipe], tmp_path: Path) -> None:
    events = train_here(touchy(on_divergence="roll_back", epochs=2, checkpoint_every_steps=1), tmp_path / "run")
    told = [event for event in events if isinstance(event, Diverged)]
    assert [event.rolled_back for event in told] == [True, True]
    assert [event.epoch for event in told] == [0, 1]
    assert isinstance(events[-1], Finished)
    steps = [event.step for event in events if isinstance(event, StepsDone)]
    assert sorted({event.step + 1 for event in told} | set(steps)) == list(range(1, 9))
    assert len(steps) == 6
    last = open_checkpoint(tmp_path / "run")
    assert last.progress.step == 8
    assert all(value.isfinite().all() for value in last.weights().values())


def test_two_models_are_never_in_memory(
    touchy: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even of those that refer to themselves, as activation checkpointing makes them do."""
    start, nets, num_alive = loop.start_learner, [], []

    def noted(*arguments: Any, **named: Any) -> Learner:
        num_alive.append(sum(net() is not None for net in nets))
        learner = start(*arguments, **named)
        learner.net.__dict__["itself"] = learner.net
        nets.append(weakref.ref(learner.net))
        return learner

    monkeypatch.setattr(loop, "start_learner", noted)
    train_here(touchy(on_divergence="roll_back", epochs=1), tmp_path / "run")
    assert num_alive == [0, 0]


def test_what_diverges_again_and_again_ends(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    always = {"loss.kind": "toy_training:BrokenGradientLoss", "data.train.batch_size": 3}
    recipe = toy_recipe(always | {"training.on_divergence": "roll_back"})
    events: list[Event] = []
    with pytest.raises(DivergenceError, match="the gradient's norm is nan in epoch 1, step 6"):
        train_here(recipe, tmp_path, events.append)
    told = [event for event in events if isinstance(event, Diverged)]
    assert [(event.step, event.rolled_back) for event in told] == [(step, step < 5) for step in range(6)]


def test_a_batch_that_ruins_the_weights_is_left_out_too(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    """No loss tells of it before the next step, which is left out first; then no step behind it tells."""
    settings = {"on_divergence": "roll_back", "checkpoint_every_steps": 2, "epochs": 1}
    recipe = toy_recipe({f"training.{name}": value for name, value in settings.items()})
    ruined = {**recipe.model_dump(mode="json"), "callbacks": [{"kind": "toy_callbacks:Ruin", "step": 3}]}
    told: list[Diverged] = []

    def listen(event: Event) -> None:
        if isinstance(event, Diverged):
            told.append(event)
            assert len(told) <= MAX_ROLL_BACKS

    events = train_here(Recipe.from_mapping(ruined, "test"), tmp_path, listen)
    assert [event.step for event in told] == [3, 2]
    assert isinstance(events[-1], Finished)
    assert open_checkpoint(tmp_path).progress.step == 4
