"""Training that is ended from outside, as a sweep ends a trial."""

from pathlib import Path

from toy_training import load_data

from kinoray.train.events import EpochDone, Event, Finished
from kinoray.train.local import LocalFeed
from kinoray.train.loop import fit
from kinoray.train.store import RunStore
from kinoray.train.world import World


def test_it_ends_before_the_next_epoch_and_says_why(toy_recipe, tmp_path: Path) -> None:
    recipe = toy_recipe({"training.epochs": 4})
    events: list[Event] = []

    def reason_to_end() -> str:
        return "enough" if sum(isinstance(event, EpochDone) for event in events) == 2 else ""

    store = RunStore(str(tmp_path), monitor="top1", keep_best=1)
    progress = fit(
        recipe,
        LocalFeed(recipe, load_data(recipe), num_threads=2),
        store,
        World(),
        events.append,
        reason_to_end=reason_to_end,
    )
    assert progress.epoch == 1
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [0, 1]
    assert [event.stopped for event in events if isinstance(event, Finished)] == ["enough"]
