"""Code of the user's: the worked example of docs/extending.md, and every table of kinds."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from kinoray.cluster.sweep.decisions import build_scheduler
from kinoray.cluster.sweep.tuning import MERIT, TIME
from kinoray.config.text import flatten
from kinoray.recipe import Recipe
from kinoray.sweep.file import Sweep
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.events import EpochDone, Event, Finished
from kinoray.train.local import fit_locally

REPO = Path(__file__).resolve().parents[2]
PACKAGE = REPO / "docs" / "examples" / "my_package"
PAGE = (REPO / "docs" / "extending.md").read_text()
BLOCK = re.compile(r"^`my_package/([\w.]+)`(?:[^\n]+\n)+\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^(\w+) = KindTable\(", re.MULTILINE)
TABLES = {
    "AUGMENTATIONS": "data.train.augment.0.kind",
    "BOXES": "data.train.box.kind",
    "CALLBACKS": "callbacks.0.kind",
    "EVAL_SPLITS": "data.val.kind",
    "LOSSES": "loss.kind",
    "METRICS": "evaluation.metrics.0.kind",
    "MODELS": "model.kind",
    "OPTIMIZERS": "optimizer.kind",
    "SAMPLINGS": "data.train.sampling.kind",
    "SCHEDULES": "schedule.0.kind",
    "SOURCES": "data.train.source.kind",
    "TRAIN_SPLITS": "data.train.kind",
}
OF_SWEEPS = {"SCHEDULERS": "scheduler.kind", "SEARCHES": "search.kind"}
"""Tables that sweep files show."""


@pytest.fixture(autouse=True)
def users_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(PACKAGE.parent))
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "helpers"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for name in [name for name in sys.modules if name.split(".")[0] in ("my_package", "their_kinds")]:
        del sys.modules[name]


@pytest.fixture
def small(motion8: Path) -> dict[str, object]:
    """What makes the example train in a second: videos that are there, and few of them."""
    values: dict[str, object] = {"training.epochs": 1, "data.train.batch_size": 4}
    for source in ("data.train.source.of", "data.val.source"):
        values |= {f"{source}.root": str(motion8), f"{source}.num_train": 24, f"{source}.num_val": 16}
    return values


def train(recipe: Recipe, folder: Path) -> list[Event]:
    events: list[Event] = []
    fit_locally(recipe, recipe.data.load(recipe.model.num_classes), folder, num_threads=1, emit=events.append)
    return events


def test_the_page_shows_the_code_that_is_tested() -> None:
    shown = dict(BLOCK.findall(PAGE))
    files = {path.name: path.read_text() for path in PACKAGE.iterdir() if path.suffix in (".py", ".yaml")}
    del files["__init__.py"]
    assert shown == files


def test_the_example_trains(small: dict[str, object], tmp_path: Path) -> None:
    recipe = Recipe.load(PACKAGE / "recipe.yaml").replace(small)
    events = train(recipe, tmp_path)
    (epoch,) = [event for event in events if isinstance(event, EpochDone)]
    assert epoch.step == 2
    metrics = epoch.evaluation.metrics
    assert metrics["top1"] <= metrics["top3"] <= metrics["top5"]
    assert epoch.is_best
    opened = open_checkpoint(epoch.checkpoint)
    assert opened.progress.best == metrics["top3"]
    assert opened.recipe() == recipe
    (page,) = json.loads((Path(epoch.checkpoint) / "diary.json").read_text())
    assert (page["epoch"], page["train_loss"], page["top3"]) == (1, epoch.train_loss, metrics["top3"])
    assert opened.progress.callbacks["my_package.callbacks:Diary 0"] == {"num_videos": 8, "pages": [page]}


def test_the_example_stops_when_it_is_good_enough(small: dict[str, object], tmp_path: Path) -> None:
    recipe = Recipe.load(PACKAGE / "recipe.yaml").replace(
        small | {"callbacks.0.good_enough": 0.01, "training.epochs": 9}
    )
    events = train(recipe, tmp_path)
    assert isinstance(events[-1], Finished)
    assert events[-1].stopped.endswith("is good enough")


def test_every_table_takes_code_of_the_users(small: dict[str, object], tmp_path: Path) -> None:
    """A table that is new belongs into ``TABLES``, with a kind of the user's in the recipe below."""
    sources = (REPO / "platform" / "kinoray").rglob("*.py")
    assert {name for path in sources for name in TABLE.findall(path.read_text())} - set(OF_SWEEPS) == set(TABLES)
    values = yaml.safe_load((PACKAGE / "recipe.yaml").read_text())
    values["data"]["val"]["kind"] = "their_kinds:OwnViews"
    values["data"]["train"] |= {
        "kind": "their_kinds:OwnTrain",
        "sampling": {"kind": "their_kinds:FirstFrames", "clip_len": 8},
        "box": {"kind": "their_kinds:TopLeft"},
    }
    values |= {"optimizer": {"kind": "their_kinds:Signs", "lr": 0.01}, "loss": {"kind": "their_kinds:Hinge"}}
    recipe = Recipe.from_mapping(values, "test").replace(small)
    flat = recipe.flat()
    assert all(":" in str(flat[path]) for path in TABLES.values()), flat
    train(recipe, tmp_path)
    import their_kinds

    assert sorted(their_kinds.CALLED) == ["box", "loss", "optimizer", "sampling", "train split", "val split"]


def test_a_sweep_takes_code_of_the_users() -> None:
    sweep = Sweep.load(PACKAGE / "sweep.yaml")
    assert all(":" in str(flatten(sweep)[path]) for path in OF_SWEEPS.values())
    recipe = sweep.load_recipe()
    trials = sweep.planned(recipe)
    assert trials is not None
    assert [trial.labels["model.width"] for trial in trials] == [8, 16, 8, 8]
    rates = [trial.values["optimizer.lr"] for trial in trials]
    assert rates == pytest.approx([0.002236, 0.001057, 0.004729, 0.0007272], rel=1e-3)
    assert len(sweep.check(recipe)) == 4 + len(trials)
    watch = build_scheduler(sweep, recipe, num_epochs=4)
    decisions = [
        watch.on_trial_result(None, None, {TIME: epoch, MERIT: merit})
        for epoch, merit in [(1, 0.1), (2, 0.4), (2, 0.3)]
    ]
    assert decisions == [watch.CONTINUE, watch.CONTINUE, watch.STOP]
